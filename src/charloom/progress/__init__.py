"""Progress of a training: live at a terminal, one cell that is rewritten in a notebook, otherwise plain lines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from charloom.progress.notebook import NotebookProgress, in_notebook
from charloom.progress.terminal import LiveProgress, PlainProgress, clock, is_live

if TYPE_CHECKING:
    from charloom.jobs import TrainingJob
    from charloom.training import Event

__all__ = ["clock", "is_live", "reporter"]

Report = Callable[["Event"], None]


@contextlib.contextmanager
def reporter(job: TrainingJob, *, quiet: bool = False) -> Iterator[Report]:
    """Choose how to show the events of a training: in a notebook, live, plain or not at all.

    Args:
        job: the training.
        quiet: show nothing.

    Yields:
        A function to call with every event.
    """
    if quiet:
        yield lambda _event: None
    elif in_notebook():
        yield NotebookProgress(job)
    elif not is_live(sys.stderr):
        yield PlainProgress(job)
    else:
        with LiveProgress(job) as live:
            yield live
