"""The default recipe: a row of ``defaults.toml``, chosen by corpus size, device, engine and time allowed.

The first row that fits is used; each states what was measured with it. Its settings override those of a recipe (without the recipe's
budget) or the table's common ones. If a device has no row for a size of text, the CPU's row is used and the
reason says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from charloom.files import text_of_file
from charloom.recipes.files import BUDGETS, find_recipe
from charloom.schema import toml_value

_LARGEST = 10**12


@dataclass(frozen=True, slots=True)
class DefaultRow:
    """One row of the table.

    Attributes:
        up_to_chars: size of the largest training part it applies to.
        from_minutes: the shortest budget for which it is the best choice.
        device: cpu or cuda.
        engines: the engines that use it.
        recipe: the recipe its settings come from, or None.
        settings: as in a recipe.
        reason: why these settings, in a sentence.
        measured: the results measured with them, with text and budget.
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
    """All rows, in the order of the file, of which the first that fits is used."""
    table = toml_value(text_of_file(resources.files("charloom.recipes") / "defaults.toml"))
    return tuple(
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
    )


def choose_default(
    num_chars: int, device: str, engine: str = "torch", minutes: float | None = None
) -> tuple[DefaultRow, str]:
    """Choose the row for a corpus, a device, an engine and a budget; return it with the reason as a sentence.

    Args:
        num_chars: characters in the training part.
        device: the resolved device, such as ``cuda:1``.
        engine: the resolved engine; ``auto`` uses the rows of torch.
        minutes: the time allowed; None if the budget is not a time, which selects the rows for any time.
    """
    kind = device.partition(":")[0]
    if not any(engine in row.engines for row in default_rows()):
        engine = "torch"
    budget = minutes if minutes is not None and minutes > 0 else 0.0  # `TrainConfig` refuses any other
    row = next(
        row
        for row in default_rows()
        if engine in row.engines
        and row.device in (kind, "cpu")
        and num_chars <= row.up_to_chars
        and budget >= row.from_minutes
    )
    if engine == "scratch":  # NumPy has float32 and float64
        row = replace(row, settings={k: v for k, v in row.settings.items() if k != "precision"})
    note = "" if row.device == kind else f"; no row was measured on {kind}, so the CPU's is used"
    time = f" in {minutes:g} minutes" if row.from_minutes else ""
    return row, f"{num_chars:,} characters to train on{time}: {row.reason} ({row.measured}){note}"


def _without_budget(recipe: str) -> dict[str, Any]:
    return {name: value for name, value in find_recipe(recipe).settings.items() if name not in BUDGETS}
