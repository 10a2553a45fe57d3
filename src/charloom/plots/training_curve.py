"""Training curve: loss and gradient norms over steps, annotated with stages, blow-ups and clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.insight.training_curve import TrainingCurve
from charloom.plots.figures import COLOURS, CUT, FAINT, INK, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADES = {
    "learning": COLOURS[0],
    "overfitting": COLOURS[3],
    "memorising": COLOURS[4],
    "unstable": COLOURS[5],
    "settled": FAINT,
    "blown up": CUT,
}
_FLOOR = 1e-9
_WIDTH_OF_LETTER = 0.02  # as a share of the axes


def training_curve(
    course: TrainingCurve, *, published: Sequence[tuple[int, int, str]] = (), ax: Axes | None = None
) -> Axes:
    """Draw loss, gradient norms, held-out loss, stages, blow-ups and clipping on one logarithmic axis.

    Per-step values are drawn as medians over neighbouring steps, with the range above shaded. Steps are on x,
    epochs on a second x axis on top.

    Args:
        course: the recorded training.
        published: stages as published for the same training: (first step, last step, name).
        ax: the Axes to draw on; None makes a new figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("training curves") if ax is None else ax
    ax.set_yscale("log")
    for name, seen in course.parameters.items():
        steps, norms, _ = zip(*seen, strict=True)
        ax.plot(steps, np.maximum(norms, _FLOOR), color=FAINT, linewidth=0.6, alpha=0.6, gid=name)
    for curve, colour, name in (
        (course.grad_norm, COLOURS[2], "gradient norm, all"),
        (course.loss, COLOURS[0], "training loss (nats)"),
    ):
        ax.fill_between(curve.steps, curve.median, curve.top, color=colour, alpha=0.25, linewidth=0)
        ax.plot(curve.steps, curve.median, color=colour, linewidth=1.3, label=name)
    if course.validations:
        steps, losses = zip(*course.validations, strict=True)
        style: dict[str, Any] = {"color": COLOURS[3], "linewidth": 1, "markersize": 4}
        ax.plot(steps, losses, ".-", label="held-out loss (nats)", **style)
    if course.parameters:
        ax.plot([], [], color=FAINT, linewidth=0.6, label="gradient norm, each parameter")
    if course.clip_norm is not None:
        says = f"clipped above {course.clip_norm:g}: {course.clip_rate:.0%} of updates"
        ax.axhline(course.clip_norm, color=CUT, linestyle=(0, (3, 2)), linewidth=0.8, label=says)
    _extend_below(ax, 0.35 if published else 0.12)
    _name_stages(ax, course)
    _name_published(ax, course, published)
    _name_blow_ups(ax, course)
    per = course.steps_per_epoch
    epochs_of, steps_of = (lambda x: np.divide(x, per)), (lambda x: np.multiply(x, per))
    ax.secondary_xaxis("top", functions=(epochs_of, steps_of)).set_xlabel("passes over the text")
    ax.set_xlim(0, course.num_steps)
    ax.set_xlabel("steps")
    ax.set_ylabel("loss (nats) and gradient norm")
    legend(ax)
    return ax


def _extend_below(ax: Axes, share: float) -> None:
    """Reserve a share of the height below the curves for stage names."""
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom * (bottom / top) ** (share / (1 - share)), top)


def _name_stages(ax: Axes, course: TrainingCurve) -> None:
    """A band along the bottom for each stage, in the colour of its kind."""
    across = ax.get_xaxis_transform()
    for stage in course.stages:
        first, last = stage.first_step, stage.last_step
        ax.axvspan(first, last, 0, 0.035, color=_SHADES[stage.kind], alpha=0.9, linewidth=0)
        if last - first > _WIDTH_OF_LETTER * len(stage.kind) * course.num_steps:
            middle = (first + last) / 2
            ax.text(middle, 0.042, stage.kind, transform=across, ha="center", fontsize="small", color=INK)


def _name_published(ax: Axes, course: TrainingCurve, published: Sequence[tuple[int, int, str]]) -> None:
    """A line for each published stage, each on its own row."""
    style: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": FAINT}
    for row, (first, last, name) in enumerate(published):
        height = 0.11 + 0.055 * row
        ax.plot([first, last], [height, height], linewidth=2, solid_capstyle="butt", **style)
        x, align = (last, "right") if first > 0.8 * course.num_steps else (first, "left")
        ax.text(x, height + 0.008, f"published: {name}", ha=align, fontsize="small", **style)


def _name_blow_ups(ax: Axes, course: TrainingCurve) -> None:
    """Shade each blow-up; the legend names it, so that no text covers a curve."""
    for one in course.blow_ups:
        whose = "" if one.parameter is None else f", {one.parameter}"
        label = f"blow-up at {one.first_step:,}{whose}"
        ax.axvspan(one.first_step, one.last_step, color=CUT, alpha=0.15, linewidth=0, label=label)
