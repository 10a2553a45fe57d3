"""``charloom recipes``: named settings, and the measured table behind the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.flags import option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.recipes import DefaultRow, Recipe


def recipes(
    show: Show,
    name: Annotated[str | None, option("show the settings of this recipe, TOML file or earlier run")] = None,
    /,
) -> None:
    """List.

    Where train is given no recipe, the row of the table that fits the training text, the time and the device is taken.
    """
    from charloom.recipes import default_rows, find_recipe, named_recipes

    if name is not None:
        recipe = find_recipe(name)
        _print_recipe(show, recipe)
        show.object({"recipe": _recipe_object(recipe)})
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
    show.object(
        {"recipes": [_recipe_object(recipe) for recipe in named], "defaults": [_row_object(r) for r in rows]}
    )


def _print_recipe(show: Show, recipe: Recipe) -> None:
    show.line(f"# {recipe.name}: {recipe.about}".rstrip(": "))
    for setting, value in recipe.settings.items():
        show.line(f"{setting} = {_toml('none' if value is None else value)}")
    if recipe.sample:
        show.line("[sample]")
        for setting, value in recipe.sample.items():
            show.line(f"{setting} = {_toml(value)}")
    if recipe.as_published:
        show.line("[as_published]")
        for mistake, was in recipe.as_published.items():
            show.line(f"{mistake} = {_toml(was)}")


def _print_row(show: Show, row: DefaultRow) -> None:
    limit = f"up to {row.up_to_chars:,} characters" if row.up_to_chars < 10**12 else "larger"
    time = f", from {row.from_minutes:g} minutes on" if row.from_minutes else ""
    show.line(f"  {limit}{time}, {row.device}, {' or '.join(row.engines)}: {row.reason}")
    show.line(f"    measured: {row.measured}")
    show.line(
        "    " + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in row.settings.items())
    )


def _toml(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _recipe_object(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "about": recipe.about,
        "source": recipe.source,
        "settings": dict(recipe.settings),
        "sample": dict(recipe.sample),
        "as_published": dict(recipe.as_published),
    }


def _row_object(row: DefaultRow) -> dict[str, Any]:
    return {
        "up_to_chars": row.up_to_chars if row.up_to_chars < 10**12 else None,
        "from_minutes": row.from_minutes,
        "device": row.device,
        "engines": list(row.engines),
        "recipe": row.recipe,
        "settings": dict(row.settings),
        "reason": row.reason,
        "measured": row.measured,
    }


app = verb(
    usage="recipes [NAME] [options]",
    examples="""
        charloom recipes
        charloom recipes runs/tales
        charloom recipes --json
    """,
)(recipes)
