"""A section of a page about training: its figure, blow-ups and stages, compared with published ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charloom import plots
from charloom.insight.training_curve import TrainingCurve, TrainingStage
from charloom.report.elements import picture, row, section, table


def training_curve_section(course: TrainingCurve, published: Sequence[tuple[int, int, str]] = ()) -> str:
    """Render the recorded training; `published` has its stages as published: (first step, last step, name)."""
    epochs = course.num_steps / course.steps_per_epoch
    sentences = [f"{course.num_steps:,} updates, {epochs:.1f} passes over the text."]
    if course.clip_rate is not None:
        sentences.append(
            f"The gradient was clipped to {course.clip_norm:g} in {course.clip_rate:.1%} of them."
        )
    for one in course.blow_ups:
        whose = "" if one.parameter is None else f"; the gradient of {one.parameter} grew most"
        sentences.append(
            f"Blow-up in steps {one.first_step:,} to {one.last_step:,}: the loss rose from {one.loss_before:.3g} "
            f"to {one.peak_loss:.3g} nats, the gradient norm to {one.peak_grad_norm:.3g}{whose}."
        )
    heads = ("stage", "first step", "last step", "loss from", "to", "gradient norm from", "to")
    rows = [
        row(one.kind, f"{one.first_step:,}", f"{one.last_step:,}", *_from_to(one)) for one in course.stages
    ]
    caption = (
        "Loss and gradient norms during training: medians of neighbouring steps, with the range above shaded."
    )
    content = picture("course", plots.training_curve(course, published=published), caption)
    content += table("Stages, found by rule", heads, rows)
    if published:
        rows = [row(f"{a:,} to {b:,}: {name}", _stages_in(course, a, b)) for a, b, name in published]
        content += table(
            "Published stages, and the stages found in this run", ("published", "this run"), rows
        )
    return section("How did its training go?", sentences, content)


def _from_to(stage: TrainingStage) -> tuple[float, ...]:
    return stage.loss_from, stage.loss_to, stage.grad_norm_from, stage.grad_norm_to


def _stages_in(course: TrainingCurve, first: int, last: int) -> str:
    """The stages found in these steps, with the change of the loss."""
    parts = []
    for one in course.stages:
        begin, end = max(first, one.first_step), min(last, one.last_step)
        if end - begin >= 0.1 * (last - first) or (one.kind == "blown up" and end >= begin):
            before, after = course.loss.median[np.searchsorted(course.loss.steps, (begin, end))]
            parts.append(f"{one.kind} in steps {begin:,} to {end:,}, loss {before:.3g} → {after:.3g}")
    return "; ".join(parts)
