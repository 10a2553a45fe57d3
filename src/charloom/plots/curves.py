"""The course of a training: losses over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from charloom.plots.figures import BLUE, COLOURS, CUT, legend, new_axes
from charloom.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_curves(runs: Sequence[Run], *, ax: Axes | None = None) -> Axes:
    """Draw the course of each run: held-out loss as a line, training loss thin and dotted in the same colour.

    Args:
        runs: run folders with at least one validation each; one without is left out.
        ax: where to draw; None makes a figure of one.

    Returns:
        The Axes; steps across, bits per character up.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("loss curves") if ax is None else ax
    for run, colour in zip(runs, cycle(COLOURS), strict=False):
        points = [event for event in run.events() if event.get("event") == "validation"]
        if not points:
            continue
        steps = [point["step"] for point in points]
        ax.plot(steps, [_bits(p["loss"]) for p in points], marker=".", color=colour, label=run.path.name)
        ax.plot(steps, [_bits(p["train_loss"]) for p in points], ":", linewidth=1, color=colour)
    ax.set_xlabel("steps")
    ax.set_ylabel("bits per character (line: held out, dotted: training)")
    ax.grid(visible=True, alpha=0.3)
    legend(ax)
    return ax


def published_and_measured(
    published: Sequence[tuple[float, float]],
    measured: Sequence[tuple[float, float]],
    unit: str,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a published curve and its repetition in one plot.

    Args:
        published: points (unit, nats); may be none.
        measured: ours.
        unit: epoch, step or iteration.
        ax: where to draw; None makes a figure of one.

    Returns:
        The Axes; the unit across, nats up.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("published and measured curves") if ax is None else ax
    if published:
        ax.plot(*zip(*published, strict=True), "o", color=CUT, markersize=4, label="published")
    if measured:
        ax.plot(*zip(*measured, strict=True), color=BLUE, linewidth=1.4, label="measured here")
    ax.set_xlabel(unit)
    ax.set_ylabel("nats")
    ax.grid(visible=True, alpha=0.3)
    legend(ax)
    return ax


def _bits(nats: float) -> float:
    return nats / math.log(2)
