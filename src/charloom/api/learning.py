"""Training, and going on with it, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from charloom.api.model import Model, load
from charloom.launch import Source, Training, begin
from charloom.launch import resume as take_up
from charloom.training import Event


def train(
    *sources: Source,
    text: str | None = None,
    recipe: str | None = None,
    out: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> Model:
    """Train a model and return the best by validation.

    Args:
        *sources: files, folders, globs, ``-`` or a prepared corpus; none takes the built-in corpus.
        text: a text in memory instead.
        recipe: a recipe's name, a TOML file or an earlier run; None chooses the default for this corpus.
        out: the run folder; None makes one under ``runs/``.
        val: a file to validate on instead of the text's tail.
        test: a file kept for ``evaluate(split="test")``.
        on_event: called with every event of the training.
        **settings: any field of `TextConfig`, `ModelConfig` and `TrainConfig`.

    Returns:
        The model with its run; ``model.card["results"]`` holds the figures.
    """
    return _finish(
        begin(*sources, text=text, recipe=recipe, out=out, val=val, test=test, **settings), on_event
    )


def resume(
    path: Source,
    *,
    more_steps: int | None = None,
    text: Sequence[Source] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Model:
    """Go on with a run from its newest valid checkpoint and return the best model by validation.

    Args:
        path: the run folder.
        more_steps: extend a finished run by this many steps.
        text: where the corpus is now, if it moved.
        on_event: called with every event of the training.
    """
    return _finish(take_up(path, more_steps=more_steps, text=text), on_event)


def _finish(job: Training, on_event: Callable[[Event], None] | None) -> Model:
    for event in job.events():
        if on_event is not None:
            on_event(event)
    return load(job.run.path)
