"""The figures of a search: how its best value fell, the front of two objectives, and the importance of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from charloom.plots.figures import BLUE, CUT, FAINT, labelled, new_axes
from charloom.tuning.findings import Findings
from charloom.tuning.plan import OBJECTIVES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS: Mapping[str, str] = {
    "loss": "held-out loss, nats per character",
    "chars_per_s": "characters generated per second",
    "size": "parameters",
}


def history(found: Findings) -> Axes:
    """Every complete trial and the best value so far, of the first objective.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax, name = new_axes("the figures of a search"), found.plan.objectives[0]
    points = [
        (row.number, row.values[name])
        for row in found.trials
        if row.state == "complete" and name in row.values
    ]
    ax.plot(*zip(*points, strict=True), "o", color=FAINT, markersize=4, label="a trial")
    better, best, line = min if OBJECTIVES[name] == "minimize" else max, points[0][1], []
    for number, value in points:
        best = better(best, value)
        line.append((number, best))
    ax.step(*zip(*line, strict=True), color=BLUE, where="post", label="best so far")
    return labelled(ax, "trial", UNITS[name])


def front(found: Findings) -> Axes:
    """Every complete trial by two objectives, with the front as a line."""
    ax, (across, up) = new_axes("the figures of a search"), found.plan.objectives
    rows = [row for row in found.trials if row.state == "complete" and {across, up} <= set(row.values)]
    ax.plot(
        [r.values[across] for r in rows],
        [r.values[up] for r in rows],
        "o",
        color=FAINT,
        markersize=4,
        label="a trial",
    )
    ax.plot(
        [r.values[across] for r in found.best],
        [r.values[up] for r in found.best],
        ".-",
        color=CUT,
        label="front",
    )
    return labelled(ax, UNITS[across], UNITS[up])


def importance(found: Findings) -> Axes:
    """How much each setting decides which trials are the best by the first objective."""
    ax = new_axes("the figures of a search")
    names = list(found.importance)[::-1]
    ax.barh(names, [found.importance[name] for name in names], color=BLUE)
    ax.set_xlabel("importance (PED-ANOVA)")
    return ax
