"""``charloom recipes``: the named recipes and the measured table of default settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from charloom.cli.flags import path_option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.recipes import DefaultRow, Recipe


def recipes(
    show: Show,
    name: Annotated[
        str | None, path_option("a recipe, TOML file or earlier run whose settings to print")
    ] = None,
    /,
) -> None:
    """List recipes.

    Without --recipe, train uses the row of the table that fits the training text, the time and the device.
    """
    from charloom.recipes import default_rows, find_recipe, named_recipes

    if name is not None:
        recipe = find_recipe(name)
        _print_recipe(show, recipe)
        show.object({"recipe": asdict(recipe)})
        return
    named, rows = named_recipes(), default_rows()
    if named:
        show.line("recipes, for charloom train --recipe NAME:")
        width = max(len(recipe.name) for recipe in named)
        for recipe in named:
            show.line(f"  {recipe.name:<{width}}  {recipe.about}")
    show.line("the default recipe, by the length of the training text, the time allowed and the device:")
    for row in rows:
        _print_row(show, row)
    defaults = [asdict(row) | {"up_to_chars": _largest(row)} for row in rows]
    show.object({"recipes": [*map(asdict, named)], "defaults": defaults})


def _print_recipe(show: Show, recipe: Recipe) -> None:
    show.line(f"# {recipe.name}: {recipe.about}".rstrip(": "))
    for setting, value in recipe.settings.items():
        show.line(f"{setting} = {json.dumps('none' if value is None else value, ensure_ascii=False)}")
    for title, values in (("sample", recipe.sample), ("as_published", recipe.as_published)):
        if values:
            show.line(f"[{title}]")
        for name, value in values.items():
            show.line(f"{name} = {json.dumps(value, ensure_ascii=False)}")


def _largest(row: DefaultRow) -> int | None:
    return row.up_to_chars if row.up_to_chars < 10**12 else None


def _print_row(show: Show, row: DefaultRow) -> None:
    largest = _largest(row)
    limit = "larger" if largest is None else f"up to {largest:,} characters"
    time = f", at least {row.from_minutes:g} minutes" if row.from_minutes else ""
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in row.settings.items())
    show.line(f"  {limit}{time}, {row.device}, {' or '.join(row.engines)}: {row.reason}")
    show.line(f"    measured: {row.measured}\n    {flags}")


app = verb(
    usage="recipes [NAME] [options]",
    examples="""
        charloom recipes
        charloom recipes runs/tales
        charloom recipes --json
    """,
)(recipes)
