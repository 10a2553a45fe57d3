"""Training curves: losses over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from charloom.plots.figures import BLUE, COLOURS, CUT, INK, labelled, new_axes
from charloom.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_curves(runs: Sequence[Run], *, ax: Axes | None = None) -> Axes:
    """Draw the losses of each run: held-out as a line, training thin and dotted in the same colour.

    Runs without a validation are skipped. Steps are on x, bits per character on y.

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
    if ax.get_legend_handles_labels()[0]:
        ax.plot([], [], ":", linewidth=1, color=INK, label="training")
    return labelled(ax, "steps", "bits per character")


def published_and_measured(
    published: Sequence[tuple[float, float]],
    measured: Sequence[tuple[float, float]],
    unit: str,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a published curve and its replication in one plot: points (unit, nats), each possibly empty.

    The unit on x is epoch, step or iteration.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("published and measured curves") if ax is None else ax
    if published:
        ax.plot(*zip(*published, strict=True), "o", color=CUT, markersize=4, label="published")
    if measured:
        ax.plot(*zip(*measured, strict=True), color=BLUE, linewidth=1.4, label="measured here")
    return labelled(ax, unit, "nats")


def _bits(nats: float) -> float:
    return nats / math.log(2)
