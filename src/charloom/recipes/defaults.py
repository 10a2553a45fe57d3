"""The default recipe: a row of a measured table, chosen by the size of the corpus, the device and the time allowed.

The table is ``defaults.toml``; each row says what was measured with it. A row's settings are those of a recipe but for its budget, or
the table's common ones, with its own over them. Where a device has no row of its own for a size of text it takes the CPU's, and the
reason says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from charloom.recipes.files import BUDGETS, find_recipe

_LARGEST = 10**12


@dataclass(frozen=True, slots=True)
class DefaultRow:
    """One row of the table.

    Attributes:
        up_to_chars: the largest training part it is for.
        from_minutes: the least time it needs to win.
        device: cpu or cuda.
        engines: who trains with them.
        recipe: whose settings they are, or None.
        settings: as in a recipe.
        reason: why these, in a sentence.
        measured: what was measured with them, with the text and the budget.
    """

    up_to_chars: int
    from_minutes: float
    device: str
    engines: tuple[str, ...]
    recipe: str | None
    settings: Mapping[str, Any]
    reason: str
    measured: str


@cache
def default_rows() -> tuple[DefaultRow, ...]:
    """Every row, smallest corpus first, of one size another device's before the CPU's and then the longest first."""
    table = tomllib.loads((resources.files("charloom.recipes") / "defaults.toml").read_text("utf-8"))
    rows = [
        DefaultRow(
            row.get("up_to_chars", _LARGEST),
            row.get("from_minutes", 0.0),
            row["device"],
            tuple(row.get("engines", ["torch"])),
            row.get("recipe"),
            (_without_budget(row["recipe"]) if "recipe" in row else table["common"])
            | row.get("settings", {}),
            row["reason"],
            row["measured"],
        )
        for row in table["row"]
    ]
    return tuple(sorted(rows, key=lambda row: (row.up_to_chars, row.device == "cpu", -row.from_minutes)))


def choose_default(
    num_chars: int, device: str, engine: str = "torch", minutes: float | None = None
) -> tuple[DefaultRow, str]:
    """The row for a corpus, a device, an engine and a budget, and the sentence that gives the reason.

    Args:
        num_chars: characters of the training part.
        device: the resolved device, as ``cuda:1``.
        engine: the resolved engine; ``auto`` takes the rows of torch.
        minutes: the time allowed; None where the budget is no time, which the rows for any time then serve.
    """
    kind = device.partition(":")[0]
    engine = "torch" if engine == "auto" else engine
    known = {name for row in default_rows() for name in row.engines}
    rows = [row for row in default_rows() if (engine if engine in known else "torch") in row.engines]
    row = next(
        row
        for row in rows
        if row.device in (kind, "cpu")
        and num_chars <= row.up_to_chars
        and (minutes or 0.0) >= row.from_minutes
    )
    note = "" if row.device == kind else f"; no row was measured on {kind} for it, so the CPU's is used"
    time = f" in {minutes:g} minutes" if row.from_minutes else ""
    return row, f"{num_chars:,} characters to train on{time}: {row.reason} ({row.measured}){note}"


def _without_budget(recipe: str) -> dict[str, Any]:
    return {name: value for name, value in find_recipe(recipe).settings.items() if name not in BUDGETS}
