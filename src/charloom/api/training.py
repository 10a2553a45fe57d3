"""Train a model, or resume its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from charloom.api.model import Model, load
from charloom.api.seeds import SeedModels
from charloom.jobs import Source, TrainingJob, new_job, new_jobs, resume_job
from charloom.runs import Run
from charloom.training import Event


@overload
def train(*sources: Source, seeds: None = None, **settings: Any) -> Model: ...
@overload
def train(*sources: Source, seeds: int, **settings: Any) -> SeedModels: ...
def train(
    *sources: Source,
    text: str | None = None,
    recipe: str | None = None,
    out: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    seeds: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> Model | SeedModels:
    """Train a model and return the one with the best validation loss.

    Args:
        *sources: files, folders, globs, ``-``, a prepared corpus or the name of a known corpus; without any, the
            built-in corpus.
        text: a text in memory instead.
        recipe: name of a recipe, a TOML file or an earlier run; None = the default for this corpus.
        out: the run folder; None = a new one under ``runs/``.
        val: file to validate on, instead of the end of the text.
        test: file set aside for ``evaluate(split="test")``.
        seeds: train that many models instead, with the seeds `seed`, `seed` + 1, …, each in its own run folder.
        on_event: called with every event of the training.
        **settings: any field of `TextConfig`, `ModelConfig` and `TrainConfig`.

    Returns:
        The model with its run; ``model.card["results"]`` contains the results. With `seeds`, all models, with the mean
        and standard deviation of their held-out loss.
    """
    if seeds is not None:
        jobs = new_jobs(
            *sources, seeds=seeds, text=text, recipe=recipe, out=out, val=val, test=test, **settings
        )
        trained = [(_finish(job, on_event), job.resolved.train_config.seed) for job in jobs]
        return SeedModels(*(tuple(column) for column in zip(*trained, strict=True)))
    job = new_job(*sources, text=text, recipe=recipe, out=out, val=val, test=test, **settings)
    return _finish(job, on_event)


def resume(
    path: Source,
    *,
    more_steps: int | None = None,
    text: Sequence[Source] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Model:
    """Continue a run from its newest valid checkpoint and return the model with the best validation loss.

    A finished run that is neither extended nor moved is returned as it is.

    Args:
        path: the run folder.
        more_steps: extend the run by this many steps.
        text: where the corpus is now, if it moved.
        on_event: called with every event of the training.
    """
    if more_steps is None and text is None and Run.open(Path(path)).is_finished:
        return load(path)
    return _finish(resume_job(path, more_steps=more_steps, text=text), on_event)


def _finish(job: TrainingJob, on_event: Callable[[Event], None] | None) -> Model:
    for event in job.events():
        if on_event is not None:
            on_event(event)
    return load(job.run.path)
