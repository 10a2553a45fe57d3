"""``charloom compare``: runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from charloom.cli.flags import option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.insight.gradient_flow import Flow
    from charloom.runs import Run

COLUMNS = (
    "cell",
    "block",
    "hidden_size",
    "num_layers",
    "num_params",
    "steps",
    "train_time_s",
    "val_bits_per_char",
    "ngram_bits_per_char",
    "xz_bits_per_char",
    "corpus",
    "name",
)
MEASURED = ("memory_horizon_chars", "half_life_chars")


def compare(
    show: Show,
    run: Annotated[str, option("a run folder")],
    /,
    *others: Annotated[str, option("more run folders", name="RUN")],
    format: Annotated[  # noqa: A002 - the flag's name
        Literal["text", "markdown", "latex", "csv", "json"],
        option("how to write the table", show_default=True),
    ] = "text",
    plot: Annotated[Path | None, option("draw the loss curves to this .svg or .png file")] = None,
    gradients: Annotated[
        bool,
        option(
            "measure how far each run's gradients reach back (seconds a run), and draw that too", negative=""
        ),
    ] = False,
) -> None:
    """Compare.

    Bits per character are measured by the stream protocol on each run's held-out
    text; only figures on the same text can be compared. With --gradients, each
    run's memory horizon is added: the number of characters after which 1 % of
    the gradient of a mistake is left, in the state where it lives longest.
    """
    from charloom.cli.rows import run_row
    from charloom.cli.tables import FORMATS
    from charloom.runs import Run

    found = [Run.open(Path(name)) for name in (run, *others)]
    rows = [run_row(one) for one in found]
    flows = _flows(found, rows) if gradients else {}
    if format == "json":
        show.as_json = True
    else:
        show.line(FORMATS[format](rows, (*COLUMNS, *MEASURED) if gradients else COLUMNS))
    show.notes(_cautions(rows))
    if plot is not None:
        _draw(found, plot, flows)
        show.note(f"wrote {plot}")
    show.object({"runs": rows, **({} if plot is None else {"plot": str(plot)})})


def _cautions(rows: list[dict[str, object]]) -> list[str]:
    """What keeps the figures of these rows from being compared."""
    cautions = []
    if len({row["corpus_sha256"] for row in rows}) > 1:
        cautions.append("these runs have different texts: their bits per character are not comparable")
    if len({row["unit"] for row in rows}) > 1:
        cautions.append("bits per character and bits per byte are different figures")
    unfinished = [str(row["name"]) for row in rows if row["state"] != "finished"]
    if unfinished:
        cautions.append(f"not finished, so without figures: {', '.join(unfinished)}")
    return cautions


def _flows(runs: list[Run], rows: list[dict[str, object]]) -> dict[str, Flow]:
    """The gradients of every run as trained, under its name; their figures are added to the rows."""
    from charloom import api
    from charloom.insight.gradient_flow import farthest

    flows = {}
    for run, row in zip(runs, rows, strict=True):
        flow = api.gradients(run.path).trained
        reaching = farthest(flow)
        row |= {
            "memory_horizon_chars": flow.memory_horizon_chars,
            "half_life_chars": reaching.half_life_chars,
            "gradient_left_per_char": reaching.decay_per_char,
        }
        flows[str(row["name"])] = flow
    return flows


def _draw(runs: list[Run], path: Path, flows: Mapping[str, Flow]) -> None:
    from charloom.cli.failures import UsageError
    from charloom.plots import compared_lags, loss_curves, new_pair, save

    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise UsageError(
            f"--plot {path}", why="the ending chooses the kind of picture", fix="end it with .svg or .png"
        )
    if not flows:
        save(loss_curves(runs), path)
        return
    left, right = new_pair("loss curves and gradients")
    loss_curves(runs, ax=left)
    save(compared_lags(flows, ax=right), path)


app = verb(
    usage="compare RUN... [--format F] [--plot FILE] [--gradients]",
    examples="""
        charloom compare runs/tales runs/names
        charloom compare runs/tales runs/names --format markdown
        charloom compare runs/tales --plot curves.svg
        charloom compare runs/tales runs/names --gradients --plot why.svg
    """,
)(compare)
