"""Recipe files: read one by name or path, and refuse unknown settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from charloom.config import (
    ModelConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
    can_be_off,
    from_dict,
    nearest_name,
    stored_text_config,
    to_dict,
    unknown_key,
)
from charloom.errors import ConfigError
from charloom.files import text_of_file
from charloom.schema import MalformedError, Schema, json_value, toml_value
from charloom.schema.documents import RecipeDocument, RunConfig

_TABLES = {"text": TextConfig, "model": ModelConfig, "train": TrainConfig}
_FACTS = ("about", "source")
BUDGETS = ("epochs", "steps", "minutes", "plan")
"""Settings that say how long to train; ``max_epochs`` is not one, as it only stops a training early."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named set of settings.

    Attributes:
        name: name of the built-in recipe or of the file.
        about: one sentence.
        source: where its settings come from.
        settings: fields of `TextConfig`, `ModelConfig` and `TrainConfig`.
        sample: fields of `SampleConfig` and a ``prompt``: defaults of ``sample`` for models trained with it.
        as_published: mistakes of the published form that the recipe corrects, each with a description.
    """

    name: str
    about: str = ""
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)
    as_published: Mapping[str, str] = field(default_factory=dict)

    def overridden_by(self, other: Recipe) -> Recipe:
        """The other recipe, with this one's settings where it has none."""
        return replace(other, settings={**self.settings, **other.settings})


def named_recipes() -> list[Recipe]:
    """All built-in recipes, sorted by name."""
    return [parse_recipe(name, text_of_file(file)) for name, file in sorted(_named_files().items())]


def _named_files() -> dict[str, Traversable]:
    """{name: file} of the built-in recipes."""
    folder = resources.files("charloom.recipes") / "named"
    return {f.name.removesuffix(".toml"): f for f in folder.iterdir() if f.name.endswith(".toml")}


def find_recipe(name: str) -> Recipe:
    """Find a recipe by name (built-in) or path (a TOML file or an earlier run).

    Raises:
        ConfigError: there is no such recipe, or it has an unknown setting.
    """
    path = Path(name)
    if path.is_dir() or path.name == "config.json":
        return _from_run(path)
    if path.suffix == ".toml" or path.is_file():
        try:
            return parse_recipe(path.stem, text_of_file(path), source=str(path))
        except (OSError, UnicodeDecodeError) as error:
            what = f"cannot read the recipe {name}"
            raise ConfigError(what, why=str(error), fix="give a TOML file in UTF-8") from error
    known = _named_files()
    if "," in name:
        raise ConfigError(
            f"recipe {name!r} is several names",
            why="only the members of an ensemble train with several recipes, in turns",
            fix=f"name one recipe, or add --members {name.count(',') + 1} to charloom train",
        )
    if name not in known:
        near = nearest_name(name, known)
        raise ConfigError(
            f"unknown recipe {name!r}",
            why=f"the built-in recipes are {', '.join(sorted(known))}",
            fix=f"did you mean {near}?" if near else "see `charloom recipes`, or give a .toml file",
        )
    return parse_recipe(name, text_of_file(known[name]))


def parse_recipe(name: str, toml: str, *, source: str | None = None) -> Recipe:
    """Parse a recipe in TOML.

    Example:
        >>> parse_recipe("mine", 'cell = "lstm"\\n[train]\\nsteps = 10').settings
        {'cell': 'lstm', 'steps': 10}

    Raises:
        ConfigError: it is not valid TOML, or a key is not a setting.
    """
    where = f"recipe {source or name}"
    try:
        content = toml_value(toml)
    except MalformedError as error:
        fix = 'write settings as: cell = "gru"'
        raise ConfigError(f"{where} is not valid TOML", why=str(error), fix=fix) from error
    Schema(RecipeDocument, partial(_broken, "write it as the recipes in `charloom recipes` have it")).check(
        content, where
    )
    about, origin = (content.pop(key, "") for key in _FACTS)
    sample, as_published = content.pop("sample", {}), content.pop("as_published", {})
    settings = _flat(content, where)
    for cls in _TABLES.values():
        own = {spec.name for spec in fields(cls)}
        from_dict(cls, {k: v for k, v in settings.items() if k in own}, source=where)
    from_dict(SampleConfig, {k: v for k, v in sample.items() if k != "prompt"}, source=where)
    return Recipe(name, about, origin, settings, sample, as_published)


def _broken(fix: str, what: str, why: str) -> ConfigError:
    return ConfigError(what, why=why, fix=fix)


def _flat(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Merge the settings of all tables and of the top level; each must be in its own table."""
    owners = {spec.name: table for table, cls in _TABLES.items() for spec in fields(cls)}
    settings: dict[str, Any] = {}
    for key, value in content.items():
        inner = value if key in _TABLES and isinstance(value, dict) else {key: value}
        for name, setting in inner.items():
            if name not in owners or (inner is value and owners[name] != key):
                raise unknown_key(name, [*owners, *_TABLES, *_FACTS, "sample", "as_published"], where)
            is_off = setting == "none" and can_be_off(_TABLES[owners[name]], name)
            settings[name] = None if is_off else setting
    return settings


def _from_run(path: Path) -> Recipe:
    """Read an earlier run as a recipe: its settings, with its budget as the steps and the plan it took."""
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json_value(text_of_file(file), finite=False)
        Schema(RunConfig, partial(_broken, "name another run")).check(config, str(file))
        text = to_dict(stored_text_config(config["text"], source=str(file)))
        settings = {**text, **config["model"], **config["train"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot use {path} as a recipe",
            why=f"it does not contain a config.json of a run ({error})",
            fix="give a run folder, a TOML file or a recipe of `charloom recipes`",
        ) from error
    if "as_taken" in config:
        settings |= {"epochs": None, "minutes": None, **config["as_taken"]}
    return Recipe(path.name, f"the settings of {path}", str(path), settings)
