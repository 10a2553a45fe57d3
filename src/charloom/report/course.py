"""How a training went, as a section of a page: its picture, its blow-ups and its stages, ours beside those that were published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charloom import plots
from charloom.insight.course import Course
from charloom.report.parts import picture, row, section, table


def course_section(course: Course, published: Sequence[tuple[int, int, str]] = ()) -> str:
    """Draw and tell a training.

    Args:
        course: what was recorded.
        published: its stages as somebody else read them: (first step, last step, name).
    """
    sentences = [
        f"{course.num_steps:,} updates, {course.num_steps / course.steps_per_epoch:.1f} passes over the text."
    ]
    if course.clip_rate is not None:
        sentences.append(
            f"The gradient was scaled down to {course.clip_norm:g} in {course.clip_rate:.1%} of them."
        )
    for one in course.blow_ups:
        whose = "" if one.parameter is None else f"; the gradient of {one.parameter} had grown most"
        sentences.append(
            f"Blow-up in steps {one.first_step:,} to {one.last_step:,}: the loss rose from {one.loss_before:.3g} "
            f"to {one.peak_loss:.3g} nats, the gradient norm to {one.peak_grad_norm:.3g}{whose}."
        )
    heads = ("stage", "first step", "last step", "loss from", "to", "gradient norm from", "to")
    rows = [
        row(
            one.kind,
            f"{one.first_step:,}",
            f"{one.last_step:,}",
            one.loss_from,
            one.loss_to,
            one.grad_norm_from,
            one.grad_norm_to,
        )
        for one in course.stages
    ]
    content = picture(
        "course",
        plots.training_course(course, published=published),
        "Loss and gradient norms over the training, medians of neighbouring steps with their range above.",
    ) + table("Stages, found by rule", heads, rows)
    if published:
        read = [
            row(f"{first:,} to {last:,}: {name}", _really(course, first, last))
            for first, last, name in published
        ]
        content += table(
            "The stages as they were published, and what they were here", ("published", "was"), read
        )
    return section("How did its training go?", sentences, content)


def _really(course: Course, first: int, last: int) -> str:
    """Our stages in these steps, with what the loss did."""
    parts = []
    for one in course.stages:
        begin, end = max(first, one.first_step), min(last, one.last_step)
        if end - begin >= 0.1 * (last - first) or (one.kind == "blown up" and end >= begin):
            losses = [
                float(course.loss.median[np.searchsorted(course.loss.steps, at)]) for at in (begin, end)
            ]
            parts.append(f"{one.kind} in steps {begin:,} to {end:,}, loss {losses[0]:.3g} → {losses[1]:.3g}")
    return "; ".join(parts)
