"""The settings of a trial as a recipe, which ``train --recipe`` repeats to the digit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from charloom.config import ModelConfig, TextConfig, TrainConfig

_TABLES = {"text": TextConfig, "model": ModelConfig, "train": TrainConfig}
_OF_THIS_COMPUTER = ("device",)


def recipe_toml(settings: Mapping[str, Any], *, about: str, source: str) -> str:
    """Write settings as a recipe in TOML, those that differ from the defaults.

    Args:
        settings: all settings of a run.
        about: one sentence.
        source: where they come from.

    Example:
        >>> print(recipe_toml({"cell": "lstm", "steps": 40, "clip_norm": None}, about="a trial", source="a search"))
        about = "a trial"
        source = "a search"
        <BLANKLINE>
        [model]
        cell = "lstm"
        <BLANKLINE>
        [train]
        clip_norm = "none"
        steps = 40
        <BLANKLINE>
    """
    lines = [f"about = {_toml(about)}", f"source = {_toml(source)}", ""]
    for table, cls in _TABLES.items():
        own = {spec.name: spec.default for spec in fields(cls)}
        rows = [
            f"{name} = {_toml(settings[name])}"
            for name, default in own.items()
            if name in settings and settings[name] != default and name not in _OF_THIS_COMPUTER
        ]
        lines += [f"[{table}]", *rows, ""] if rows else []
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """One value; a setting that is off is written as "none", and a float keeps all its digits."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return str(value) if isinstance(value, int) else json.dumps(str(value))
