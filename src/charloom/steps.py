"""Work in steps: a generator that yields its progress and returns its result, taken to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

Progress = TypeVar("Progress")
Result = TypeVar("Result")
Changed = TypeVar("Changed")


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


def mapped(
    steps: Generator[Progress, None, Result], change: Callable[[Progress], Changed]
) -> Generator[Changed, None, Result]:
    """Take all steps, yield `change` of what each yields, and return their result.

    Example:
        >>> def halves():
        ...     yield 0.5
        ...     yield 1.0
        ...     return "done"
        >>> result_of(mapped(halves(), "{:.0%}".format), print)
        50%
        100%
        'done'
    """
    results: list[Result] = []

    def kept() -> Generator[Progress, None, None]:
        results.append((yield from steps))

    for progress in kept():
        yield change(progress)
    return results[0]
