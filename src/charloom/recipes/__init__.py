"""Named settings: recipes in TOML, the table of measured defaults, and how flags override both.

A flag overrides the recipe, and the recipe overrides the default. A recipe is a TOML file with the tables
``[text]``, ``[model]``, ``[train]`` and ``[sample]`` (or the same keys without tables), or an earlier run:
its folder or ``config.json``.
"""

from charloom.recipes.defaults import DefaultRow, choose_default, default_rows
from charloom.recipes.files import Recipe, find_recipe, named_recipes
from charloom.recipes.resolve import Resolved, resolve

__all__ = [
    "DefaultRow",
    "Recipe",
    "Resolved",
    "choose_default",
    "default_rows",
    "find_recipe",
    "named_recipes",
    "resolve",
]
