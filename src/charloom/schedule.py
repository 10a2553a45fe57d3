"""The learning rate as a function of the step and of progress, and progress as a function of the step.

Progress p runs from 0 to 1. A budget in steps gives p = step / total; a budget in minutes gives a piecewise linear
map, with one knot per revision of the plan. Either way the learning rate is a pure function, so a resumed or repeated
run uses the same one.
"""

from __future__ import annotations

import bisect
import math

from charloom.config import TrainConfig

Knots = tuple[tuple[int, float], ...]


def progress_at(knots: Knots, step: int) -> float:
    """Interpolate progress linearly between the knots around `step`; constant after the last.

    Example:
        >>> progress_at(((0, 0.0), (100, 0.5), (200, 1.0)), 50)
        0.25
    """
    if step >= knots[-1][0]:
        return knots[-1][1]
    right = bisect.bisect_right(knots, (step, math.inf))
    (step_a, p_a), (step_b, p_b) = knots[right - 1], knots[right]
    return p_a + (p_b - p_a) * (step - step_a) / (step_b - step_a)


def average_decay(config: TrainConfig, step: int) -> float:
    """The decay of the weight average after `step` updates: `config.average_decay`, less in the first updates."""
    assert config.average_decay is not None
    return min(config.average_decay, (1 + step) / (10 + step))


def learning_rate(config: TrainConfig, knots: Knots, step: int) -> float:
    """The learning rate of the update that follows `step` updates.

        warm-up   η · (step + 1) / warmup                     while step < warmup
        constant  η
        cosine    η · (f + (1 − f) · ½ (1 + cos π p))
        wsd       η while p ≤ 1 − d, then linearly to f η     (Hu et al. 2024, MiniCPM, §4)

    with η = `learning_rate`, f = `final_lr_fraction`, d = `decay_fraction` and `warmup` from `config`, and progress p
    from `knots`.
    """
    peak, floor = config.learning_rate, config.final_lr_fraction
    if step < config.warmup:
        return peak * (step + 1) / config.warmup
    p = progress_at(knots, step)
    if config.schedule == "cosine":
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * p)))
    if config.schedule == "wsd":
        left = min(1.0, (1 - p) / config.decay_fraction)
        return peak * (floor + (1 - floor) * left)
    return peak
