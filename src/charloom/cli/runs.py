"""``charloom runs``: list the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from charloom.cli.flags import option, verb
from charloom.cli.output import Show

COLUMNS = (
    "state",
    "cell",
    "num_params",
    "steps",
    "val_bits_per_char",
    "ngram_bits_per_char",
    "corpus",
    "name",
)


def runs(
    show: Show, folder: Annotated[Path, option("the folder to list", show_default=True)] = Path("runs"), /
) -> None:
    """List runs.

    The list is read from the run folders themselves, so it is always current. Bits per character are measured on each
    run's own held-out text (stream protocol).
    """
    from charloom.cli.run_table import safe_row
    from charloom.cli.tables import text_table
    from charloom.runs import list_runs

    rows = [safe_row(run) for run in list_runs(folder)]
    if rows:
        show.line(text_table(rows, COLUMNS))
    else:
        show.note(f"no runs in {folder}: train one with charloom train TEXT")
    show.object({"folder": str(folder), "runs": rows})


app = verb(
    usage="runs [FOLDER] [options]",
    examples="""
        charloom runs
        charloom runs runs --json
    """,
)(runs)
