"""``charloom inspect``: why a model learns, and why it forgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.flags import option, verb
from charloom.cli.output import SCHEMA, Show

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.insight import Inspection


def inspect(
    show: Show,
    model: Annotated[str, option("a run folder or a model file")],
    text: Annotated[
        str | None,
        option("a text that it has not learnt; - is standard input [default: what its run held out]"),
    ] = None,
    /,
    *,
    out: Annotated[
        Path | None, option("write report.html and inspection.json to this folder [default: the run's]")
    ] = None,
    png: Annotated[bool, option("write every picture as a PNG file too", negative="")] = False,
    seed: Annotated[int, option("of whatever is shuffled or dealt out", metavar="N", show_default=True)] = 0,
) -> None:
    """Inspect.

    Measured in float64 on text that the model has not learnt: how far the
    gradient of a mistake reaches back (and how far it did before training),
    the Jacobian of a step, the loss by the context given, how the gates stand,
    which characters a prediction leans on, what single units stand for, what
    was learnt of the characters, and where the bits are lost. Verdicts say what
    that means and what to do; the page draws it all.
    """
    from charloom import api
    from charloom.plots import needs_matplotlib

    loaded = api.load(model)
    folder = loaded.run.path if out is None and loaded.run is not None else out
    if folder is not None:
        needs_matplotlib("inspect's page; without --out a model file is looked at and nothing is drawn")
    found = api.inspect(loaded, text, seed=seed, on_note=lambda note: show.note(f"note: {note}"))
    numbers = found.to_json()
    for line in _lines(found):
        show.line(line)
    written = (
        []
        if folder is None
        else _write(folder, loaded, found, numbers, name=Path(model).name, text=text, png=png)
    )
    for path in written:
        show.note(f"wrote {path}")
    show.object({**numbers, "written": [str(path) for path in written]})


def _lines(found: Inspection) -> list[str]:
    lines = []
    for one in found.verdicts:
        lines += [f"{one.kind}: {one.says}", f"  advice: {one.advice}"]
    horizon = found.memory_horizon_chars
    reach = f"more than {found.gradient_flow.num_lags}" if horizon is None else f"{horizon}"
    enough = found.context_curve.enough_chars
    lines.append(f"memory horizon: {reach} characters (the gradient falls to 1 %)")
    lines.append(
        f"context used: {'unknown' if enough is None else f'{enough} characters'} (more gain under 1 %)"
    )
    train = "" if found.train_nats is None else f", on what it learnt {found.train_nats:.4f}"
    lines.append(f"loss on {found.num_chars:,} characters held out: {found.held_out_nats:.4f} nats{train}")
    return lines


def _write(
    folder: Path,
    model: Model,
    found: Inspection,
    numbers: dict[str, Any],
    *,
    name: str,
    text: str | None,
    png: bool,
) -> list[Path]:
    import json

    from charloom.files import atomic_write, make_folder
    from charloom.plots import save
    from charloom.report import inspection_page, pictures

    make_folder(folder)
    published = _published(model)
    document = {"schema": SCHEMA, **numbers}
    page = inspection_page(
        found,
        title=f"Why {name} learns, and why it forgets",
        summary=_summary(model, found, text),
        numbers=document,
        published=published,
    )
    atomic_write(folder / "report.html", page)
    atomic_write(folder / "inspection.json", json.dumps(document, ensure_ascii=False) + "\n")
    written = [folder / "report.html", folder / "inspection.json"]
    for title, ax in pictures(found, published) if png else ():
        written.append(folder / f"{title}.png")
        save(ax, written[-1])
    return written


def _published(model: Model) -> list[tuple[int, int, str]]:
    """The stages that the authors of a published system read off their plot, of a model trained by its recipe."""
    from charloom.reproduce.systems import systems

    system = systems().get(model.card.get("recipe", ""))
    return [] if system is None else [(stage.first, stage.last, stage.reads) for stage in system.stages]


def _summary(model: Model, found: Inspection, text: str | None) -> list[str]:
    config = model.file.model_config
    network = f"{config.block} {config.cell}, {config.num_layers} × {config.hidden_size}"
    where = (
        "what its run held out" if text is None else ("standard input" if text == "-" else Path(text).name)
    )
    losses = f"{found.held_out_nats:.4f} nats a character"
    if found.train_nats is not None:
        losses += f", on the end of what it learnt {found.train_nats:.4f}"
    return [network, f"looked at on {found.num_chars:,} characters of {where}: {losses}"]


app = verb(
    usage="inspect MODEL [TEXT] [--out DIR] [--png]",
    examples="""
        charloom inspect runs/tales
        charloom inspect runs/tales more.txt --out why --png
        charloom inspect runs/tales/model.safetensors more.txt --json
    """,
)(inspect)
