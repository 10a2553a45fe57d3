"""The inputs of the compiled update loops for a range of steps: text, states after resets, learning rates.

Only the text of these steps is accessed, as the ids may be a file larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import draws
from charloom.engines.fused.online.update_loops import StepRange
from charloom.schedule import Knots, learning_rate
from charloom.text.batching import Plan

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

_LONGEST = 65_536
"""Most characters of one compiled call, to bound its memory."""


def split_steps(plan: Plan, first_step: int, num_steps: int) -> Iterator[range]:
    """Split steps at the ends of epochs, within which `Plan.places` is a formula, and by length."""
    at, end, longest = first_step, first_step + num_steps, max(1, _LONGEST // plan.config.bptt_length)
    while at < end:
        stop = min(end, at + longest, (at // plan.steps_per_epoch + 1) * plan.steps_per_epoch)
        yield range(at, stop)
        at = stop


def gather_step_range(
    config: ModelConfig, train_config: TrainConfig, knots: Knots, plan: Plan, steps: range
) -> StepRange:
    """Gather the inputs of the updates `steps`, with space for their measurements."""
    places = plan.places(steps.start, len(steps))
    sizes = places.lengths + 1
    begins = np.cumsum(sizes) - sizes
    text = plan.ids[np.repeat(places.starts - begins, sizes) + np.arange(sizes.sum())].astype(np.int64)
    resets = np.zeros(len(text), np.bool_) if plan.boundary_id is None else text == plan.boundary_id
    resets[begins + places.lengths] = False  # the character after the window is only predicted
    resets[begins] |= places.reset_at_start
    reset_state, rows = _reset_state(config, train_config, steps, np.logical_or.reduceat(resets, begins))
    rates, weights = _rates(train_config, knots, steps), _average_weights(train_config, steps)
    results = np.empty((2, len(steps)))
    return StepRange(text, begins, places.lengths, resets, reset_state, rows, rates, weights, *results)


def empty_step_range(config: ModelConfig, train_config: TrainConfig) -> StepRange:
    """A range of no steps, to compile a loop or load it from disk before there is a text."""
    none = np.empty(0, np.int64)
    reset_state, rows = _reset_state(config, train_config, range(0), np.empty(0, np.bool_))
    return StepRange(none, none, none, np.empty(0, np.bool_), reset_state, rows, *np.empty((4, 0)))


def _reset_state(
    config: ModelConfig, train_config: TrainConfig, steps: range, resetting: Bool[Array, "S"]
) -> tuple[Float[Array, "R H"], Int[Array, "S"]]:
    """The states after resets, and the row of each step among them."""
    zeros = np.zeros((1, config.hidden_size))
    if train_config.initial_state == "zeros":
        return zeros.astype(train_config.precision), np.zeros(len(steps), np.int64)
    drawn = [
        draws.reset_state(config, train_config, steps[i], range(1))[0]["h"] for i in np.flatnonzero(resetting)
    ]
    return np.concatenate([zeros, *drawn]).astype(train_config.precision), np.cumsum(resetting)


def _rates(config: TrainConfig, knots: Knots, steps: range) -> Float[Array, "S"]:
    """The learning rate of each update."""
    if config.schedule == "constant" and steps.start >= config.warmup:
        return np.full(len(steps), learning_rate(config, knots, steps.start))
    return np.array([learning_rate(config, knots, step) for step in steps])


def _average_weights(config: TrainConfig, steps: range) -> Float[Array, "S"]:
    """The weight of the newest parameters in the average; young averages forget faster."""
    step = np.arange(steps.start, steps.stop)
    return 1 - np.minimum(config.average_decay or 0.0, (1 + step) / (10 + step))
