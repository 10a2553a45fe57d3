"""A training set up or taken up again: settings checked, corpus read, run folder made.

`begin` starts a run and `resume` goes on with one; both give a `Training`, whose events are the training itself. What a run was begun with
stands in its ``config.json``, and everything here reads it from there.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from charloom import __version__
from charloom.config import ModelConfig, TextConfig, TrainConfig, from_dict, to_dict
from charloom.engines import auto_engine, load_engine
from charloom.errors import DataError, RunError
from charloom.insight.inspection import FEWEST_CHARS
from charloom.insight.watching import watcher
from charloom.modelfile import read_model
from charloom.recipes import Recipe, Resolved, find_recipe, resolve
from charloom.recipes.resolve import check_settings, text_config
from charloom.runs import Run, new_run_path
from charloom.text import Corpus, corpus_from_text, read_corpus
from charloom.training import Event, extend
from charloom.training import train as run_training

RUNS_FOLDER = "runs"

WITHOUT_TORCH = (
    "PyTorch is not installed, so the scratch engine trains; "
    "pip install 'charloom[train]' brings residual networks and GPUs"
)

Source = str | Path


@dataclass(frozen=True)
class Training:
    """A training that is set up: its corpus, its settings and its run folder.

    Attributes:
        corpus: what it learns from.
        resolved: its settings and where they come from.
        run: where everything is recorded.
        resume: whether it goes on from a checkpoint.
    """

    corpus: Corpus
    resolved: Resolved
    run: Run
    resume: bool = False

    def events(self) -> Iterator[Event]:
        """Train; see `charloom.training.train`."""
        config = self.run.config()
        card = {
            "corpus": {key: config["corpus"][key] for key in ("name", "sha256", "num_chars")},
            "recipe": self.resolved.recipe,
            "sample": dict(self.resolved.sample),
            "train": config["train"],
            "versions": config["versions"],
            "created": config["created"],
        }
        return run_training(
            self.corpus,
            self.resolved.model_config,
            self.resolved.train_config,
            self.run,
            resume=self.resume,
            card=card,
            look=self._watcher(),
        )

    def _watcher(self) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
        """What `watch` asks for, on held-out text where there is some."""
        if self.resolved.train_config.watch is None:
            return None
        held_out, train = self.corpus.validation, self.corpus.train
        text = held_out if held_out is not None and len(held_out) >= FEWEST_CHARS else train
        return watcher(self.resolved.model_config, text, boundary_id=self.corpus.vocab.boundary_id)


def begin(
    *sources: Source,
    text: str | None = None,
    recipe: str | None = None,
    out: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    **settings: Any,
) -> Training:
    """Set up a training: settings checked, corpus read, run folder made; arguments as in `train`."""
    named, corpus = _read(sources, text=text, recipe=recipe, val=val, test=test, settings=settings)
    recipe_settings = named.settings if named else {}
    asked = {key: settings.get(key) or recipe_settings.get(key) or "auto" for key in ("engine", "device")}
    engine = load_engine(asked["engine"])
    resolved = resolve(
        named,
        settings | {"engine": engine.name},
        num_chars=len(corpus.train),
        device=engine.resolve_device(asked["device"]),
    )
    if asked["engine"] == "auto" and engine.name == "scratch":
        resolved = replace(resolved, reason=f"{resolved.reason}; {WITHOUT_TORCH}")
    engine.check(resolved.model_config, resolved.train_config)
    place = Path(out) if out is not None else new_run_path(Path(RUNS_FOLDER), corpus.name)
    run = Run.create(place, _record(corpus, resolved, val, test))
    return Training(corpus, resolved, run)


def settle(
    *sources: Source,
    text: str | None = None,
    recipe: str | None = None,
    val: Source | None = None,
    test: Source | None = None,
    **settings: Any,
) -> tuple[Corpus, Resolved]:
    """The corpus and the settings that `begin` would train with on a processor; nothing is made, and no engine is loaded."""
    named, corpus = _read(sources, text=text, recipe=recipe, val=val, test=test, settings=settings)
    asked = settings.get("engine") or (named.settings if named else {}).get("engine") or "auto"
    engine = auto_engine() if asked == "auto" else asked
    return corpus, resolve(named, settings | {"engine": engine}, num_chars=len(corpus.train))


def _read(
    sources: Sequence[Source],
    *,
    text: str | None,
    recipe: str | None,
    val: Source | None,
    test: Source | None,
    settings: Mapping[str, Any],
) -> tuple[Recipe | None, Corpus]:
    """The recipe and the corpus; every setting is checked before any text is read."""
    named = None if recipe is None else find_recipe(recipe)
    reading = text_config(named, settings)
    check_settings(named, settings)
    if text is not None:
        return named, corpus_from_text(text, reading)
    return named, read_corpus([str(source) for source in sources], reading, val=val, test=test)


def resume(path: Source, *, more_steps: int | None = None, text: Sequence[Source] | None = None) -> Training:
    """Set up the continuation of a run: the same settings and corpus, from its newest valid checkpoint.

    Args:
        path: the run folder.
        more_steps: extend the run by this many steps.
        text: where the corpus is now, if it moved.

    Raises:
        RunError: there is no such run, or its corpus is not the one it was trained on.
    """
    run = Run.open(Path(path))
    config = run.config()
    train_config = from_dict(TrainConfig, config["train"], source=str(run.config_path))
    if more_steps is not None:
        checkpoint, _ = run.newest_checkpoint()
        train_config = extend(train_config, more_steps, 0 if checkpoint is None else checkpoint.step)
        run.write_config(config | {"train": to_dict(train_config)})
    model_config = from_dict(ModelConfig, config["model"], source=str(run.config_path))
    reason = f"as {run.path} was begun"
    resolved = Resolved(
        model_config, train_config, config.get("recipe", "default"), reason, config.get("sample", {})
    )
    return Training(corpus_of(run, text), resolved, run, resume=True)


def corpus_of(run: Run, text: Sequence[Source] | None = None) -> Corpus:
    """Read the corpus of a run again and check that it is the same.

    Args:
        run: the run.
        text: where the corpus is now, if it moved.

    Raises:
        RunError: the text is another one, or was given in memory.
    """
    config = run.config()
    facts, reading = config["corpus"], from_dict(TextConfig, config["text"], source=str(run.config_path))
    if text is None and facts["in_memory"]:
        raise RunError(
            f"the corpus of {run.path} was given in memory",
            why="it stands in no file",
            fix="write it to one and name it with --text",
        )
    try:
        corpus = read_corpus(
            [str(s) for s in text] if text is not None else facts["sources"],
            reading,
            val=facts["val"],
            test=facts["test"],
        )
    except DataError as error:
        raise RunError(
            f"the corpus of {run.path} cannot be read: {error.what}",
            why=error.why,
            fix="name where it is now with --text PATH",
        ) from error
    if corpus.sha256 != facts["sha256"]:
        raise RunError(
            f"{', '.join(corpus.sources) or corpus.name} is not the text that {run.path} was trained on",
            why=f"its SHA-256 is {corpus.sha256[:12]}…, the run's is {facts['sha256'][:12]}…",
            fix="name the same text with --text PATH",
        )
    return corpus


def _record(corpus: Corpus, resolved: Resolved, val: Source | None, test: Source | None) -> dict[str, Any]:
    """What ``config.json`` says when a run begins."""
    return {
        "schema": 1,
        "text": to_dict(corpus.config),
        "model": to_dict(resolved.model_config),
        "train": to_dict(resolved.train_config),
        "sample": dict(resolved.sample),
        "recipe": resolved.recipe,
        "corpus": {
            "name": corpus.name,
            "sources": list(corpus.sources),
            "in_memory": not corpus.sources and corpus.name == "text",
            "val": None if val is None else str(Path(val).resolve()),
            "test": None if test is None else str(Path(test).resolve()),
            "sha256": corpus.sha256,
            "num_chars": corpus.num_chars,
            "vocab_size": len(corpus.vocab),
            "unit": corpus.vocab.unit,
        },
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"charloom": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("numpy", "torch", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def results_json(run: Run) -> dict[str, Any]:
    """What ``train --json`` prints: the keys of the contract, from the run's own record."""
    config = run.config()
    results = config["results"]
    model = read_model(run.model_path)
    chars, seconds = results["chars_seen"], results["train_time_s"]
    return {
        "run": str(run.path),
        "model": str(run.model_path),
        "steps": results["steps"],
        "chars_seen": chars,
        "train_time_s": seconds,
        "chars_per_s": chars / seconds if seconds > 0 else math.nan,
        "num_params": sum(int(np.prod(p.shape)) for p in model.parameters.values()),
        "vocab_size": len(model.vocab),
        "protocol": results["protocol"],
        "val_loss_nats": results["val_loss_nats"],
        "val_bits_per_char": results["val_bits_per_char"],
        "ngram_bits_per_char": results["ngram_bits_per_char"],
        "ngram_order": results["ngram_order"],
        "xz_bits_per_char": results["xz_bits_per_char"],
        "best_step": results["best_step"],
        "wall_time_s": results["wall_time_s"],
        "recipe": config["recipe"],
        "unit": config["corpus"]["unit"],
        "verdicts": results["verdicts"],
    }
