"""``charloom inspect``: find out why a model learns, and why it forgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.flags import ModelPath, option, path_option, verb
from charloom.cli.output import SCHEMA, Show
from charloom.cli.train_summary import next_command

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.insight import Inspection


def inspect(
    show: Show,
    model: ModelPath,
    text: Annotated[
        str | None,
        path_option(
            "a text it was not trained on; - reads standard input [default: the run's held-out text]"
        ),
    ] = None,
    /,
    *,
    out: Annotated[
        Path | None, option("folder for report.html and inspection.json [default: the run folder]")
    ] = None,
    png: Annotated[bool, option("also save every plot as a PNG file")] = False,
    seed: Annotated[int, option("seed of shuffling and random splits", metavar="N", show_default=True)] = 0,
) -> None:
    """Inspect a model.

    Measures, in float64 and on text the model was not trained on: how far back gradients reach, before and after
    training; the Jacobian of one step; the loss by length of the context; gate saturation; which characters a
    prediction depends on; what single units represent; what the model has learnt about the characters; and which
    characters cost the most bits. Verdicts say what the results mean and what to do. The page has all the plots.
    """
    from charloom import api
    from charloom.plots import needs_matplotlib

    loaded = api.load(model)
    folder = loaded.run.path if out is None and loaded.run is not None else out
    if folder is not None:
        needs_matplotlib("the page of inspect; a model file without --out is inspected without one")
    show.progress("inspecting")
    found = api.inspect(loaded, text, seed=seed, on_note=show.notes)
    numbers = found.to_json()
    show.line("\n".join(_lines(found, _source(text))))
    if loaded.run is not None:
        command = next_command(numbers["verdicts"], loaded.run.path, loaded.run.complete_config()["corpus"])
        if command is not None:
            show.line(f"next:\n  {command}")
    written: list[Path] = []
    if folder is not None:
        written = _write(show, folder, loaded, found, numbers, name=Path(model).name, text=text, png=png)
    for path in written:
        show.note(f"wrote {path}")
    show.object({**numbers, "written": [str(path) for path in written]})


def _lines(found: Inspection, where: str) -> list[str]:
    lines = []
    for one in found.verdicts:
        lines += [f"{one.kind}: {one.says}", f"  advice: {one.advice}"]
    if found.memory not in found.verdicts:
        lines.append(f"memory: {found.memory.kind}: {found.memory.says}")
    horizon = found.memory_horizon_chars
    reach = f"more than {found.gradient_flow.num_lags}" if horizon is None else f"{horizon}"
    enough = found.context_curve.enough_chars
    lines.append(f"memory horizon: {reach} characters (the gradient falls to 1 %)")
    context = "unknown" if enough is None else f"{enough} characters"
    lines.append(f"context used: {context} (more gain under 1 %)")
    lines.append(_loss(found, where))
    return lines


def _loss(found: Inspection, where: str) -> str:
    train = "" if found.train_nats is None else f"; on the end of the training text {found.train_nats:.4f}"
    return f"loss on the {found.num_chars:,} characters of {where}: {found.held_out_nats:.4f} nats, stream protocol{train}"


def _source(text: str | None) -> str:
    if text is None:
        return "its run's held-out text"
    return "standard input" if text == "-" else Path(text).name


def _write(
    show: Show,
    folder: Path,
    model: Model,
    found: Inspection,
    numbers: dict[str, Any],
    *,
    name: str,
    text: str | None,
    png: bool,
) -> list[Path]:

    from charloom.files import atomic_write, json_text, make_folder
    from charloom.plots import save
    from charloom.report import inspection_page, pictures

    published = _published(model)
    document = {"schema": SCHEMA, **numbers}
    title, summary = f"Why {name} learns, and why it forgets", _summary(model, found, text)
    page = inspection_page(found, title=title, summary=summary, numbers=document, published=published)
    written = [folder / "report.html", folder / "inspection.json"]
    make_folder(folder)
    atomic_write(written[0], page)
    atomic_write(written[1], json_text(document) + "\n")
    notes: dict[str, None] = {}
    for title, ax in pictures(found, published) if png else ():
        written.append(folder / f"{title}.png")
        notes |= dict.fromkeys(save(ax, written[-1]))
    show.notes(*notes)
    return written


def _published(model: Model) -> list[tuple[int, int, str]]:
    """Return the stages in the published plot of the system whose recipe trained this model, if there is one."""
    from charloom.reproduce.systems import systems

    system = systems().get(model.card.get("recipe", ""))
    return [] if system is None else [(stage.first, stage.last, stage.reads) for stage in system.stages]


def _summary(model: Model, found: Inspection, text: str | None) -> list[str]:
    config = model.network.model_config
    network = f"{config.block} {config.cell}, {config.num_layers} × {config.hidden_size}"
    return [network, _loss(found, _source(text))]


app = verb(
    computes=True,
    usage="inspect MODEL [TEXT] [--out DIR] [--png]",
    examples="""
        charloom inspect runs/tales
        charloom inspect runs/tales more.txt --out why --png
        charloom inspect runs/tales/model.safetensors more.txt --json
    """,
)(inspect)
