"""A learning-rate plan as text: knots of step and progress, recorded by one run and repeated by another."""

from __future__ import annotations

from collections.abc import Iterable

from charloom.errors import ConfigError


def parse_plan(text: str) -> tuple[tuple[int, float], ...]:
    """Parse a learning-rate plan: knots of step and progress, both rising from 0:0.

    Example:
        >>> parse_plan("0:0,100:0.4,300:1")
        ((0, 0.0), (100, 0.4), (300, 1.0))
    """
    try:
        pairs = (knot.split(":") for knot in text.split(","))
        knots = tuple((int(step), float(progress)) for step, progress in pairs)
    except ValueError:
        knots = ()
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(knots, knots[1:]))
    if len(knots) < 2 or knots[0] != (0, 0.0) or not 0 < knots[-1][1] <= 1 or not rising:
        raise ConfigError(
            f"plan is {text!r}",
            why="it must have the form step:progress,... and rise from 0:0 to a last progress of at most 1",
            fix="copy `plan` from the config.json of the run to repeat",
        )
    return knots


def format_plan(knots: Iterable[tuple[int, float]]) -> str:
    """Format a learning-rate plan so that `parse_plan` returns the same numbers."""
    return ",".join(f"{step}:{progress!r}" for step, progress in knots)
