"""Convert settings to and from the names and plain values that recipes, flags, runs and model files hold."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from charloom.config.declare import nearest_name
from charloom.config.model import ModelConfig
from charloom.config.sampling import SampleConfig
from charloom.config.separators import escaped
from charloom.config.text import TextConfig
from charloom.config.training import TrainConfig
from charloom.errors import ConfigError

Config = TypeVar("Config", TextConfig, ModelConfig, TrainConfig, SampleConfig)


def setting_names() -> dict[str, type]:
    """Map every setting to the class that owns it; `SampleConfig`, which repeats some names, is left out."""
    return {spec.name: cls for cls in (TextConfig, ModelConfig, TrainConfig) for spec in fields(cls)}


def can_be_off(cls: type, name: str) -> bool:
    """Whether ``None``, which a recipe writes as ``"none"``, is a legal value of a setting.

    Example:
        >>> can_be_off(TrainConfig, "clip_norm"), can_be_off(TextConfig, "documents")
        (True, False)
    """
    return type(None) in typing.get_args(typing.get_type_hints(cls)[name])


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Copy `config` with the `settings` that are fields of it.

    Example:
        >>> with_settings(ModelConfig(), {"cell": "lstm", "steps": 3}).cell
        'lstm'
    """
    own = {spec.name for spec in fields(config)}
    return replace(config, **{name: value for name, value in settings.items() if name in own})


def without_dropout(config: ModelConfig) -> ModelConfig:
    """The same network with all dropout switched off."""
    off: dict[str, Any] = {spec.name: 0.0 for spec in fields(config) if spec.name.startswith("dropout_")}
    return replace(config, **off)


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values."""
    return asdict(config)


def from_dict(cls: type[Config], values: Mapping[str, Any], *, source: str) -> Config:
    """Build a configuration from JSON or TOML values; errors name `source` as their origin.

    Raises:
        ConfigError: a key is unknown or a value is out of bounds.
    """
    known = {spec.name for spec in fields(cls)}
    for key in values:
        if key not in known:
            raise unknown_key(key, known, source)
    return cls(**values)


def stored_text_config(values: Mapping[str, Any], *, source: str) -> TextConfig:
    """Build the text settings that a model, a run or a prepared text recorded, with the meaning they had then.

    Before `keep_separator` existed, a backslash could not be escaped, and unit byte had cleaned text.

    Raises:
        ConfigError: as `from_dict`.
    """
    if "keep_separator" not in values:
        documents = values.get("documents")
        values = {**values, "clean_bytes": values.get("unit") == "byte"}
        if isinstance(documents, str) and "\\\\" in documents:
            values["documents"] = escaped(documents.replace("\\n", "\n").replace("\\t", "\t"))
    return from_dict(TextConfig, values, source=source)


def unknown_key(key: str, known: Iterable[str], source: str) -> ConfigError:
    """The error for a key that is not a setting; it suggests the nearest one."""
    near = nearest_name(key[:100], known)
    return ConfigError(
        f"{source} sets {key[:100]!r}",
        why="no setting has that name",
        fix=f"did you mean {near}?" if near else "see `charloom train --help` for the settings",
    )
