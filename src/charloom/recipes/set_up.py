"""The corpus and the settings of a training: everything is checked before the text is read or a folder is created."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charloom.config import without_effect
from charloom.distributed import Launch
from charloom.engines import auto_engine, load_engine
from charloom.errors import ConfigError
from charloom.recipes.files import Recipe, find_recipe
from charloom.recipes.fine_tune import StartingModel
from charloom.recipes.resolve import Resolved, check_settings, resolve, text_config
from charloom.text import Corpus, corpus_from_text, is_documents, read_corpus
from charloom.training.ranks import for_ranks

Source = str | Path

WITHOUT_TORCH = (
    "PyTorch is not installed, so the scratch engine trains; "
    "pip install 'charloom[train]' adds residual networks and GPUs"
)

Text = str | bytes | Iterable[str]
"""A text in memory, or documents."""


def set_up(
    sources: Sequence[Source],
    recipe: str | None,
    settings: Mapping[str, Any],
    start: StartingModel | None,
    *,
    text: Text | None,
    val: Source | None,
    test: Source | None,
    is_taught: bool = False,
    launch: Launch | None = None,
) -> tuple[Corpus, Resolved]:
    """The corpus, and the settings for it and for this machine, or for the processes of a launch."""
    named, corpus = _read(sources, recipe, settings, start, text=text, val=val, test=test)
    resolved = settings_for(corpus, named, settings, launch=launch)
    if start is not None:
        start.check(resolved.model_config)
        corpus = start.widened(corpus)
    idle = without_effect(
        {**(named.settings if named else {}), **settings},
        corpus.config,
        resolved.model_config,
        resolved.train_config,
        validates_on_file=val is not None,
        is_taught=is_taught,
    )
    return corpus, replace(resolved, notes=(*resolved.notes, *idle))


def settings_for(
    corpus: Corpus, recipe: Recipe | None, settings: Mapping[str, Any], *, launch: Launch | None = None
) -> Resolved:
    """Resolve all settings for a corpus and this machine, or the processes of a launch, and check that the engine can train them.

    Raises:
        ConfigError: they are not allowed, or the engine cannot train such a network.
    """
    recipe_settings = recipe.settings if recipe else {}
    asked = {key: settings.get(key) or recipe_settings.get(key) or "auto" for key in ("engine", "device")}
    engine = load_engine(asked["engine"])
    resolved = resolve(
        recipe,
        {**settings, "engine": engine.name},
        num_chars=len(corpus.train),
        device=engine.resolve_device(asked["device"]),
    )
    if asked["engine"] == "auto" and engine.name == "scratch":
        resolved = replace(resolved, reason=f"{resolved.reason}; {WITHOUT_TORCH}")
    if launch is not None:
        device = resolved.train_config.device
        device = engine.resolve_device(device).partition(":")[0]
        resolved = replace(resolved, train_config=for_ranks(resolved.train_config, launch, device=device)[0])
    engine.check(resolved.model_config, resolved.train_config)
    return resolved


def check_job(
    *sources: Source,
    recipe: str | None = None,
    val: Source | None = None,
    test: Source | None = None,
    is_taught: bool = False,
    **settings: Any,
) -> tuple[Corpus, Resolved]:
    """Return the corpus and settings that `new_job` would use, with all its checks but the teacher's; no folder is created."""
    return set_up(sources, recipe, settings, None, text=None, val=val, test=test, is_taught=is_taught)


def resolve_job(source: Source, *, recipe: str | None = None, **settings: Any) -> tuple[Corpus, Resolved]:
    """Return the corpus and settings that `new_job` would use on a CPU; no folder is created, no engine loaded."""
    named, corpus = _read([source], recipe, settings)
    engine = settings.get("engine") or (named.settings if named else {}).get("engine") or "auto"
    engine = auto_engine() if engine == "auto" else engine
    return corpus, resolve(named, settings | {"engine": engine}, num_chars=len(corpus.train))


def _read(
    sources: Sequence[Source],
    recipe: str | None,
    settings: Mapping[str, Any],
    start: StartingModel | None = None,
    *,
    text: Text | None = None,
    val: Source | None = None,
    test: Source | None = None,
) -> tuple[Recipe | None, Corpus]:
    """Return the recipe and the corpus; every setting is checked before any text is read."""
    named = None if recipe is None else find_recipe(recipe)
    if start is not None:
        named = start.recipe if named is None else start.recipe.overridden_by(named)
    _check_sources(sources, text)
    chosen = {**(named.settings if named else {}), **settings}
    documents = {"documents": "file"} if is_documents(text) and "documents" not in chosen else {}
    config = text_config(named, {**documents, **settings} if text is not None else settings)
    check_settings(named, settings)
    if text is not None:
        return named, corpus_from_text(text, config, val=val, test=test)
    return named, read_corpus([str(source) for source in sources], config, val=val, test=test)


def _check_sources(sources: Sequence[Source], text: Text | None) -> None:
    """Refuse a text in memory given as a source, and a text given twice."""
    for source in sources:
        if not isinstance(source, str | Path):
            raise ConfigError(
                f"a source is {source!r:.60}, of type {type(source).__name__}",
                why="sources are names of files and folders",
                fix="pass documents as text=, for example charloom.train(text=documents)",
            )
    if sources and text is not None:
        what, why = f"{sources[0]} and a text in memory are both given", "a run has one corpus"
        raise ConfigError(what, why=why, fix="keep one of them")
