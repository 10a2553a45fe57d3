"""Resolve the settings of a run: flags override the recipe, which overrides the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charloom.config import (
    DECOUPLED_DECAY,
    ModelConfig,
    TextConfig,
    TrainConfig,
    setting_names,
    unknown_key,
    with_settings,
)
from charloom.errors import ConfigError
from charloom.recipes.defaults import choose_default, default_rows
from charloom.recipes.files import BUDGETS, Recipe

_OF_ONE_BLOCK = ("embedding_size", "dropout_branch", "dropout_layer")
"""Settings that belong to one kind of block: dropped from the base if a flag chooses the other kind."""

DEFAULT_MINUTES = 2.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of a run and where they come from.

    Attributes:
        model_config: the network.
        train_config: the training.
        recipe: the recipe's name, or ``default``.
        reason: why these settings, a sentence for the user.
        sample: the recipe's defaults for ``sample``.
        notes: on settings that have no effect or were left out.
    """

    model_config: ModelConfig
    train_config: TrainConfig
    recipe: str
    reason: str
    sample: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def text_config(recipe: Recipe | None, flags: Mapping[str, Any]) -> TextConfig:
    """How to read the text; needed before its size, and so the default recipe, is known."""
    if {"val_fraction", "val_count"} <= {name for name in flags if flags[name] is not None}:
        raise ConfigError(
            f"val_fraction is {flags['val_fraction']} and val_count is {flags['val_count']}",
            why="both say how much is held out",
            fix="keep only one of --val-fraction and --val-count",
        )
    base = dict(recipe.settings) if recipe else {}
    if "val_count" in flags:
        base.pop("val_fraction", None)
    if "val_fraction" in flags:
        base.pop("val_count", None)
    return with_settings(TextConfig(), {**base, **flags})


def resolve(
    recipe: Recipe | None, flags: Mapping[str, Any], *, num_chars: int, device: str = "cpu"
) -> Resolved:
    """Combine explicit settings with a recipe or, without one, with the default for this corpus.

    Args:
        recipe: the recipe that was named, if any.
        flags: settings that were given explicitly.
        num_chars: characters in the training part.
        device: the resolved device.

    Raises:
        ConfigError: a flag is not a setting, or the combination is not allowed.
    """
    known = setting_names()
    for name in flags:
        if name not in known:
            raise unknown_key(name, known, "the call")
    if recipe is None:
        minutes = flags.get("minutes") if _has_budget(flags) else DEFAULT_MINUTES
        with_settings(TrainConfig(), {"minutes": minutes})  # which is checked before it chooses
        row, reason = choose_default(num_chars, device, flags.get("engine") or "auto", minutes)
        recipe = Recipe("default", settings=row.settings)
    else:
        reason = f"recipe {recipe.name}: {recipe.about}"
    base, notes = _for_optimiser(recipe.settings, flags)
    settings = _with_budget(base, flags)
    model, training = with_settings(ModelConfig(), settings), with_settings(TrainConfig(), settings)
    return Resolved(model, training, recipe.name, reason, recipe.sample, notes)


def check_settings(recipe: Recipe | None, flags: Mapping[str, Any]) -> None:
    """Refuse, before any text is read, settings that are not allowed for a text of any size.

    Without a named recipe the size of the text chooses the base, and a flag may fit only one base:
    `dropout_branch` needs a residual block, for example.

    Raises:
        ConfigError: `resolve` raises one for every size in the table.
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


def _for_optimiser(
    base: Mapping[str, Any], flags: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The base for the optimiser that a flag chooses, without a weight decay of the other kind; and what to tell of it.

    Adam with an L2 penalty of 0.05 hardly learns, where AdamW with a decay of 0.05 does, and SGD hardly learns at the
    rates of the others (lab log 69).
    """
    own = base.get("optimizer", TrainConfig().optimizer)
    chosen = flags.get("optimizer", own)
    decay, notes = base.get("weight_decay", 0.0), []
    if chosen == "sgd" != own and "learning_rate" in base and "learning_rate" not in flags:
        rate = f"{base['learning_rate']:g}"
        notes.append(
            f"learning_rate {rate} of the recipe is for {own}, and too small for sgd: try --learning-rate 1"
        )
    if "weight_decay" not in flags and decay > 0 and (chosen in DECOUPLED_DECAY) != (own in DECOUPLED_DECAY):
        does = {True: "decays the weights themselves", False: "adds the decay to the gradient"}
        notes.append(
            f"weight_decay {decay} of the recipe is left out: it is for {own}, which {does[own in DECOUPLED_DECAY]}, and "
            f"{chosen} {does[chosen in DECOUPLED_DECAY]}; --weight-decay sets one"
        )
        base = {name: value for name, value in base.items() if name != "weight_decay"}
    return base, tuple(notes)


def _with_budget(base: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Override the base with the flags; a budget in the flags replaces the base's, whatever its unit."""
    if flags.get("block", base.get("block", "plain")) != base.get("block", "plain"):
        base = {name: value for name, value in base.items() if name not in _OF_ONE_BLOCK}
    if "embedding_size" in flags and flags["embedding_size"] is None:
        base = {name: value for name, value in base.items() if name not in ("dropout_char", "dropout_input")}
    if _has_budget(flags):
        base = {name: value for name, value in base.items() if name not in BUDGETS}
    settings = {**base, **flags}
    return settings if _has_budget(settings) else {**settings, "minutes": DEFAULT_MINUTES}


def _has_budget(settings: Mapping[str, Any]) -> bool:
    return any(settings.get(name) is not None for name in BUDGETS)
