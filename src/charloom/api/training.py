"""Train a model, or resume its training."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from charloom.api.keywords import refuse_unknown, takes_settings
from charloom.api.model import Model, load
from charloom.api.seeds import SeedModels
from charloom.api.settings import TrainSettings
from charloom.branching import branch_job
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.jobs import TrainingJob, new_job, new_jobs, resume_job
from charloom.progress import reporter
from charloom.recipes.set_up import Text
from charloom.run_corpus import Source
from charloom.runs import Run
from charloom.training import Event
from charloom.training.stop_signals import StopSignals, TrainingStopped


@overload
def train(*sources: Source, seeds: None = None, **settings: Any) -> Model: ...
@overload
def train(*sources: Source, seeds: int, **settings: Any) -> SeedModels: ...
@takes_settings(TextConfig, ModelConfig, TrainConfig)  # type: ignore[misc] # overloads name few parameters
def train(
    *sources: Source,
    text: Text | None = None,
    recipe: str | None = None,
    out: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    init_from: Source | None = None,
    teacher: Source | None = None,
    keep_text: bool | None = None,
    seeds: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    quiet: bool = False,
    log: Literal["tensorboard"] | None = None,
    **settings: Unpack[TrainSettings],
) -> Model | SeedModels:
    """Train a model and return the one with the best validation loss.

    Args:
        *sources: files, folders, globs, ``-``, a prepared corpus or the name of a known corpus; without any, the
            built-in corpus.
        text: a text in memory instead: a str, bytes or an open file, or a list, generator or other iterable of str,
            each a document.
        recipe: name of a recipe, a TOML file or an earlier run; None = the default for this corpus.
        out: the run folder; None = a new one under ``runs/``.
        val: file to validate on, instead of the end of the text.
        test: file set aside for ``evaluate(split="test")``.
        init_from: start from the weights of this run or model file; the network and, unless given, the settings are its.
        teacher: run, model file or ensemble whose probabilities are part of the targets, by `teacher_weight`.
        keep_text: whether the run folder keeps the text; None = up to 16 MB of one that cannot be read again.
        seeds: train that many models instead, with the seeds `seed`, `seed` + 1, …, each in its own run folder.
        on_event: called with every event of the training.
        quiet: show no progress; otherwise it is live in a notebook or at a terminal, else a line every few seconds.
        log: tensorboard, to write the events for it too, into the run folder.
        **settings: any field of `TextConfig`, `ModelConfig` and `TrainConfig`, listed below.

    Returns:
        The model with its run and its corpus; ``model.card["results"]`` contains the results. With `seeds`, all models,
        with the mean and standard deviation of their held-out loss.

    Raises:
        ConfigError: a setting is unknown, out of bounds, or does not fit another.
        DataError: a text is missing, empty or too short.
        MissingExtraError: `log` names a package that is not installed.
    """
    refuse_unknown(train, settings)
    places: dict[str, Any] = {
        "text": text,
        "recipe": recipe,
        "out": out,
        "val": val,
        "test": test,
        "init_from": init_from,
        "teacher": teacher,
        "keep_text": keep_text,
        "log": log,
    }
    if seeds is None:
        return _finish(new_job(*sources, **places, **settings), on_event, quiet=quiet)
    jobs = new_jobs(*sources, seeds=seeds, **places, **settings)
    trained = [(_finish(job, on_event, quiet=quiet), job.resolved.train_config.seed) for job in jobs]
    return SeedModels(*(tuple(column) for column in zip(*trained, strict=True)))


def resume(
    path: Source,
    *,
    settings: Mapping[str, Any] | None = None,
    out: Source | None = None,
    more_steps: int | None = None,
    text: Sequence[Source] | None = None,
    on_event: Callable[[Event], None] | None = None,
    quiet: bool = False,
    log: Literal["tensorboard"] | None = None,
) -> Model:
    """Continue a run from its newest valid checkpoint and return the model with the best validation loss.

    A finished run that is neither extended nor moved is returned as it is. With settings, or `out`, a new run branches off
    and the old one stays as it is: see `charloom.branching`.

    Args:
        path: the run folder.
        settings: what changes in a branch, such as ``{"learning_rate": 0.001}``.
        out: the folder of the branch; None = the run's name with the step, beside it.
        more_steps: extend the run by this many steps.
        text: where the corpus is now, if it moved.
        on_event: called with every event of the training.
        quiet: show no progress.
        log: as in `train`.

    Raises:
        ConfigError: a setting cannot change in a run that is continued.
        RunError: there is nothing to continue from, or nothing left to train.
    """
    if settings or out is not None:
        job = branch_job(path, out=out, more_steps=more_steps, text=text, log=log, **(settings or {}))
        return _finish(job, on_event, quiet=quiet)
    if more_steps is None and text is None and Run.open(Path(path)).is_finished:
        return load(path)
    job = resume_job(path, more_steps=more_steps, text=text, log=log)
    return _finish(job, on_event, quiet=quiet)


def _finish(job: TrainingJob, on_event: Callable[[Event], None] | None, *, quiet: bool) -> Model:
    """Train to the end; however it ends, a checkpoint is saved.

    Raises:
        KeyboardInterrupt: Ctrl-C, or a notebook's interrupt. Other signals then end the process as they would have.
    """
    try:
        with (
            reporter(job, quiet=quiet) as report,
            StopSignals() as signals,
            contextlib.closing(job.events()) as events,
        ):
            for event in events:
                report(event)
                if on_event is not None:
                    on_event(event)
                signals.check(event)
    except TrainingStopped as stopped:
        if stopped.number != signal.SIGINT:
            signal.raise_signal(stopped.number)
        kept = job.what_is_kept()
        how = f"; continue with charloom.resume({str(job.run.path)!r})" if kept else ""
        raise KeyboardInterrupt(f"{kept or 'nothing had been trained'}{how}") from stopped
    return replace(load(job.run.path), trained_on=job.corpus)
