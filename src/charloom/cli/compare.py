"""``charloom compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from charloom.cli.flags import option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
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
) -> None:
    """Compare.

    Bits per character are measured by the stream protocol on each run's held-out text; only figures on the same text can
    be compared.
    """
    from charloom.cli.rows import run_row
    from charloom.cli.tables import FORMATS
    from charloom.runs import Run

    found = [Run.open(Path(name)) for name in (run, *others)]
    rows = [run_row(one) for one in found]
    if format == "json":
        show.as_json = True
    else:
        show.line(FORMATS[format](rows, COLUMNS))
    show.notes(_cautions(rows))
    if plot is not None:
        _draw(found, plot)
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


def _draw(runs: list[Run], path: Path) -> None:
    from charloom.cli.failures import UsageError
    from charloom.plots import loss_curves, save

    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise UsageError(
            f"--plot {path}", why="the ending chooses the kind of picture", fix="end it with .svg or .png"
        )
    save(loss_curves(runs), path)


app = verb(
    usage="compare RUN... [--format F] [--plot FILE]",
    examples="""
        charloom compare runs/tales runs/names
        charloom compare runs/tales runs/names --format markdown
        charloom compare runs/tales --plot curves.svg
    """,
)(compare)
