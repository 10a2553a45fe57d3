"""``charloom export``: share a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from charloom.cli.failures import UsageError
from charloom.cli.flags import ModelPath, option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.page import PagePrecision

Html = Annotated[Path | None, option("write one page that generates text in a browser, offline")]
Precision = Annotated[
    Literal["float16", "float32", "int8"],
    option("with --html, how the page stores the weights", show_default=True),
]
Onnx = Annotated[Path | None, option("write the network to this file for ONNX runtimes")]
Hub = Annotated[Path | None, option("write a folder for the Hugging Face Hub: weights, config.json, card")]
Push = Annotated[
    str | None, option("upload the folder of --hub to this repository, NAME/MODEL", metavar="REPO")
]
Card = Annotated[Path | None, option("write a model card to this file, in Markdown")]


class Form(NamedTuple):
    """One form of a model that was asked for.

    Attributes:
        name: its flag without dashes.
        path: the file or folder to write.
        check: refuses what cannot be written; called for every form before the first is written.
        write: writes it and returns the files.
        facts: more that is known of it, for the JSON object.
    """

    name: str
    path: Path
    check: Callable[[], None]
    write: Callable[[Model], Sequence[Path]]
    facts: dict[str, Any]


def export(
    show: Show,
    model: ModelPath,
    /,
    *,
    html: Html = None,
    precision: Precision = "float16",
    onnx: Onnx = None,
    hub: Hub = None,
    push: Push = None,
    card: Card = None,
) -> None:
    """Share a model.

    Several forms may be written at once. The model file is one already: it can be shared as it is, and charloom
    reads it.

    The page holds the weights and the compiled kernels: it needs no server and no network, and sends nothing. With
    --precision float32 or int8 it writes the text of `charloom sample --portable` with the same seed.

    A card has recorded facts only, and what is measured for it: a sample, and the longest passage in 20 samples that
    stands in the training text, if that is available. --push needs huggingface_hub and `hf auth login`; a repository
    that does not exist yet is created, and is private.
    """
    from charloom import api
    from charloom.export import check_hub_library, push_hub_folder

    if push is not None and hub is None:
        what, why = f"--push {push} without --hub", "the folder of --hub is what is uploaded"
        raise UsageError(what, why=why, fix="add --hub DIR")
    if html is None and precision != "float16":
        what, why = f"--precision {precision} without --html", "the other forms have the weights as they are"
        raise UsageError(what, why=why, fix="add --html FILE, or leave --precision out")
    forms = [*_page(show, html, precision), *_forms(show, onnx=onnx, hub=hub, card=card)]
    _check_places(forms, model)
    for form in forms:
        form.check()
    if push is not None:
        check_hub_library()
    loaded = api.load(model)
    files = []
    for form in forms:
        paths = form.write(loaded)
        size = sum(path.stat().st_size for path in paths)
        files.append({"form": form.name, "path": str(form.path), "bytes": size, **form.facts})
        about = "".join(f", {name} {value}" for name, value in form.facts.items())
        show.line(f"wrote {form.path}: {size:,} bytes{about}")
    result: dict[str, Any] = {"path": files[0]["path"], "bytes": files[0]["bytes"], "files": files}
    if push is not None and hub is not None:
        show.progress("uploading")
        result["pushed"] = push_hub_folder(hub, push)
        show.line(f"uploaded {hub}: {result['pushed']}")
    show.object(result)


def _page(show: Show, html: Path | None, precision: PagePrecision) -> Iterator[Form]:
    from charloom.page import check_page

    def write(model: Model, path: Path) -> list[Path]:
        model.export_html(path, precision=precision, on_note=show.notes)
        return [path]

    if html is not None:
        yield Form("html", html, check_page, lambda model: write(model, html), {"precision": precision})


def _forms(show: Show, *, onnx: Path | None, hub: Path | None, card: Path | None) -> Iterator[Form]:
    """The forms that were asked for, in this order; each needs a flag, a check and a method of `Model`."""
    from charloom.export import check_hub_folder, check_onnx
    from charloom.export.onnx import OPSET

    def one_file(method: Callable[[Path], object], path: Path) -> list[Path]:
        method(path)
        return [path]

    if onnx is not None:
        yield Form(
            "onnx", onnx, check_onnx, lambda model: one_file(model.export_onnx, onnx), {"opset": OPSET}
        )
    if hub is not None:
        yield Form(
            "hub",
            hub,
            lambda: check_hub_folder(hub),
            lambda model: model.export_hub(hub, on_note=show.notes),
            {},
        )
    if card is not None:
        yield Form(
            "card",
            card,
            lambda: None,
            lambda model: one_file(lambda path: model.export_card(path, on_note=show.notes), card),
            {},
        )


def _check_places(forms: Sequence[Form], model: str) -> None:
    """Refuse an export of nothing, one over the model or inside its run, and two to one place."""
    if not forms:
        what, why = "nothing to export", "no form is named"
        raise UsageError(what, why=why, fix="add --html FILE, --onnx FILE, --hub DIR or --card FILE")
    taken = {Path(model).resolve(): "MODEL", (Path(model) / "model.safetensors").resolve(): "MODEL"}
    for form in forms:
        place = form.path.resolve()
        if (other := taken.get(place)) is not None:
            what, why = f"--{form.name} {form.path} is also the path of {other}", "it would be overwritten"
            raise UsageError(what, why=why, fix="name another path")
        taken[place] = f"--{form.name}"


app = verb(
    usage="export MODEL [--html FILE] [--onnx FILE] [--hub DIR [--push REPO]] [--card FILE]",
    examples="""
        charloom export runs/tales --html tales.html
        charloom export runs/tales --html tales.html --precision int8
        charloom export runs/tales --onnx tales.onnx
        charloom export runs/tales --hub hub/tales --card tales.md
        charloom export runs/names --card names.md --json
    """,
)(export)
