"""Work in steps: a generator that yields its progress and returns its result, taken to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

Progress = TypeVar("Progress")
Result = TypeVar("Result")


def result_of(
    steps: Generator[Progress, None, Result], on_progress: Callable[[Progress], object] | None = None
) -> Result:
    """Take all steps, call `on_progress` with what each yields, and return the result.

    Example:
        >>> def halves():
        ...     yield 0.5
        ...     yield 1.0
        ...     return "done"
        >>> result_of(halves(), print)
        0.5
        1.0
        'done'
    """
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if on_progress is not None:
            on_progress(progress)
