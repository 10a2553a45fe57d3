"""Flags over recipe over default: the settings a run will have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charloom.config import ModelConfig, TextConfig, TrainConfig, setting_names, unknown_key, with_settings
from charloom.errors import ConfigError
from charloom.recipes.defaults import choose_default, default_rows
from charloom.recipes.files import BUDGETS, Recipe

_OF_ONE_BLOCK = ("embedding_size", "dropout_branch", "dropout_layer")
"""What a base sets for its own block alone: left out where a flag chooses the other."""

DEFAULT_MINUTES = 2.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of a run and where they come from.

    Attributes:
        model_config: the network.
        train_config: how it is trained.
        recipe: the recipe's name, or ``default``.
        reason: a sentence for the user.
        sample: the recipe's defaults for ``sample``.
    """

    model_config: ModelConfig
    train_config: TrainConfig
    recipe: str
    reason: str
    sample: Mapping[str, Any]


def text_config(recipe: Recipe | None, flags: Mapping[str, Any]) -> TextConfig:
    """How to read the text: needed before its size, and so before the default recipe, is known."""
    return with_settings(TextConfig(), {**(recipe.settings if recipe else {}), **flags})


def resolve(
    recipe: Recipe | None, flags: Mapping[str, Any], *, num_chars: int, device: str = "cpu"
) -> Resolved:
    """Combine what was asked for with a recipe or, where none was named, the default for this corpus.

    Args:
        recipe: the named one.
        flags: settings that were given explicitly.
        num_chars: characters of the training part.
        device: the resolved device.

    Raises:
        ConfigError: a flag is no setting, or the combination is illegal.
    """
    known = setting_names()
    for name in flags:
        if name not in known:
            raise unknown_key(name, known, "the call")
    if recipe is not None:
        base, label, reason, sample = (
            recipe.settings,
            recipe.name,
            f"recipe {recipe.name}: {recipe.about}",
            recipe.sample,
        )
    else:
        other = any(flags.get(name) is not None for name in BUDGETS)
        minutes = flags.get("minutes") if other else DEFAULT_MINUTES
        row, reason = choose_default(num_chars, device, flags.get("engine") or "auto", minutes)
        base, label, sample = row.settings, "default", {}
    settings = _with_budget(base, flags)
    return Resolved(
        model_config=with_settings(ModelConfig(), settings),
        train_config=with_settings(TrainConfig(), settings),
        recipe=label,
        reason=reason,
        sample=sample,
    )


def check_settings(recipe: Recipe | None, flags: Mapping[str, Any]) -> None:
    """Refuse, before any text is read, what no text would make legal.

    Without a named recipe the size of the text chooses the base, and a flag may fit one base alone: the branches of a residual block, say.

    Raises:
        ConfigError: as `resolve`, for every size that a row of the table is for.
    """
    refused: ConfigError | None = None
    for num_chars in [1] if recipe is not None else sorted({row.up_to_chars for row in default_rows()}):
        try:
            resolve(recipe, flags, num_chars=num_chars)
        except ConfigError as error:
            refused = refused or error
        else:
            return
    assert refused is not None
    raise refused


def _with_budget(base: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags over the base; a budget among the flags replaces the base's, whatever its unit."""
    if flags.get("block", base.get("block", "plain")) != base.get("block", "plain"):
        base = {name: value for name, value in base.items() if name not in _OF_ONE_BLOCK}
    if "embedding_size" in flags and flags["embedding_size"] is None:
        base = {name: value for name, value in base.items() if name not in ("dropout_char", "dropout_input")}
    asked = any(flags.get(name) is not None for name in BUDGETS)
    settings = {name: value for name, value in base.items() if not (asked and name in BUDGETS)} | dict(flags)
    if all(settings.get(name) is None for name in BUDGETS):
        settings["minutes"] = DEFAULT_MINUTES
    return settings
