"""A training as its first users wanted to see it: loss and gradient norms over steps, with what happened where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.insight.course import Course
from charloom.plots.figures import COLOURS, CUT, FAINT, INK, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADES = {"learning": COLOURS[0], "memorising": COLOURS[4], "settled": FAINT, "blown up": CUT}
_FLOOR = 1e-9


def training_course(
    course: Course, *, published: Sequence[tuple[int, int, str]] = (), ax: Axes | None = None
) -> Axes:
    """Draw a training: loss, gradient norms, held-out loss, stages, blow-ups and clipping, all on one logarithmic axis.

    Args:
        course: what was recorded; one number a step is drawn as its median over neighbouring steps, with their range shaded.
        published: stages that somebody else read off such a picture: (first step, last step, name).
        ax: where to draw; None makes a figure of one.

    Returns:
        The Axes; steps across, epochs on a second axis above.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = new_axes("the course of a training") if ax is None else ax
    ax.set_yscale("log")
    for name, seen in course.parameters.items():
        steps, norms, _ = zip(*seen, strict=True)
        ax.plot(steps, np.maximum(norms, _FLOOR), color=FAINT, linewidth=0.6, alpha=0.6, gid=name)
    for curve, colour, name in (
        (course.grad_norm, COLOURS[2], "gradient norm, all parameters"),
        (course.loss, COLOURS[0], "training loss (nats)"),
    ):
        ax.fill_between(curve.steps, curve.median, curve.top, color=colour, alpha=0.25, linewidth=0)
        ax.plot(curve.steps, curve.median, color=colour, linewidth=1.3, label=name)
    if course.validations:
        steps, losses = zip(*course.validations, strict=True)
        ax.plot(
            steps, losses, ".-", color=COLOURS[3], linewidth=1, markersize=4, label="held-out loss (nats)"
        )
    if course.parameters:
        ax.plot([], [], color=FAINT, linewidth=0.6, label="gradient norm, each parameter")
    if course.clip_norm is not None:
        ax.axhline(course.clip_norm, color=CUT, linestyle=(0, (3, 2)), linewidth=0.8)
        says = f" clipped above {course.clip_norm:g}: {course.clip_rate:.0%} of the updates"
        ax.annotate(says, (0, course.clip_norm), va="bottom", color=CUT, fontsize="small")
    _make_room(ax, 0.35 if published else 0.12)
    _name_stages(ax, course)
    _name_published(ax, course, published)
    _name_blow_ups(ax, course)
    _epochs_above(ax, course)
    ax.set_xlim(0, course.num_steps)
    ax.set_xlabel("steps")
    ax.set_ylabel("nats, and gradient norm")
    legend(ax, below=True)
    return ax


def _make_room(ax: Axes, share: float) -> None:
    """Leave a share of the height below the curves for the names of stages."""
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom * (bottom / top) ** (share / (1 - share)), top)


def _name_stages(ax: Axes, course: Course) -> None:
    """A band along the bottom for every stage, in the colour of its kind."""
    across = ax.get_xaxis_transform()
    for stage in course.stages:
        ax.axvspan(
            stage.first_step, stage.last_step, 0, 0.035, color=_SHADES[stage.kind], alpha=0.9, linewidth=0
        )
        if stage.last_step - stage.first_step > 0.06 * course.num_steps:
            middle = (stage.first_step + stage.last_step) / 2
            ax.text(middle, 0.042, stage.kind, transform=across, ha="center", fontsize="small", color=INK)


def _name_published(ax: Axes, course: Course, published: Sequence[tuple[int, int, str]]) -> None:
    """A line for each stage as it was published, one above the other where they overlap."""
    across = ax.get_xaxis_transform()
    for row, (first, last, name) in enumerate(published):
        height = 0.11 + 0.055 * row
        ax.plot(
            [first, last], [height, height], transform=across, color=FAINT, linewidth=2, solid_capstyle="butt"
        )
        late = first > 0.8 * course.num_steps
        ax.text(
            last if late else first,
            height + 0.008,
            f"published: {name}",
            transform=across,
            ha="right" if late else "left",
            fontsize="x-small",
            color=FAINT,
        )


def _name_blow_ups(ax: Axes, course: Course) -> None:
    for one in course.blow_ups:
        ax.axvspan(one.first_step, one.last_step, color=CUT, alpha=0.15, linewidth=0)
        whose = "" if one.parameter is None else f"\n{one.parameter}"
        ax.annotate(
            f"blow-up at {one.first_step:,}{whose}",
            (one.first_step, one.peak_loss),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize="small",
            color=CUT,
        )


def _epochs_above(ax: Axes, course: Course) -> None:
    per = course.steps_per_epoch

    def epochs_of(steps: Any) -> Any:
        return steps / per

    def steps_of(epochs: Any) -> Any:
        return epochs * per

    ax.secondary_xaxis("top", functions=(epochs_of, steps_of)).set_xlabel("passes over the text")
