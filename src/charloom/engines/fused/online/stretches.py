"""A stretch of steps as the compiled walks read it: text, initial states, learning rates, gathered from the plan.

A piece of text that the stretch does not read is never touched: the ids may be a file larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import draws
from charloom.engines.fused.online.walks import Stretch
from charloom.schedule import Knots, learning_rate
from charloom.text.windows import Plan

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

_LONGEST = 65_536
"""Characters of one compiled call at most: bounds the memory that a stretch takes."""


def pieces(plan: Plan, first_step: int, num_steps: int) -> Iterator[range]:
    """Cut a stretch at the epochs' ends (inside one, `Plan.places` is a formula) and where it grows long."""
    at, end, longest = first_step, first_step + num_steps, max(1, _LONGEST // plan.config.bptt_length)
    while at < end:
        stop = min(end, at + longest, (at // plan.steps_per_epoch + 1) * plan.steps_per_epoch)
        yield range(at, stop)
        at = stop


def gather(config: ModelConfig, train_config: TrainConfig, knots: Knots, plan: Plan, steps: range) -> Stretch:
    """All that the updates `steps` read, with room for what they measure."""
    places = plan.places(steps.start, len(steps))
    sizes = places.lengths + 1
    begins = np.cumsum(sizes) - sizes
    text = plan.ids[np.repeat(places.starts - begins, sizes) + np.arange(sizes.sum())].astype(np.int64)
    resets = np.zeros(len(text), np.bool_) if plan.boundary_id is None else text == plan.boundary_id
    resets[begins + places.lengths] = False  # behind the window, only to be predicted
    resets[begins] |= places.fresh
    fresh, rows = _fresh(config, train_config, steps, np.logical_or.reduceat(resets, begins))
    return Stretch(
        text,
        begins,
        places.lengths,
        resets,
        fresh,
        rows,
        _rates(train_config, knots, steps),
        _average_weights(train_config, steps),
        *np.empty((2, len(steps))),
    )


def nothing(config: ModelConfig, train_config: TrainConfig) -> Stretch:
    """A stretch of no steps: what compiles a walk, or finds it on disk, before there is a text."""
    none = np.empty(0, np.int64)
    fresh, rows = _fresh(config, train_config, range(0), np.empty(0, np.bool_))
    return Stretch(none, none, none, np.empty(0, np.bool_), fresh, rows, *np.empty((4, 0)))


def _fresh(
    config: ModelConfig, train_config: TrainConfig, steps: range, resetting: Bool[Array, "S"]
) -> tuple[Float[Array, "R H"], Int[Array, "S"]]:
    """The states that resets return to, and each step's row among them."""
    zeros = np.zeros((1, config.hidden_size))
    if train_config.initial_state == "zeros":
        return zeros.astype(train_config.precision), np.zeros(len(steps), np.int64)
    drawn = [
        draws.fresh_state(config, train_config, steps[i], range(1))[0]["h"] for i in np.flatnonzero(resetting)
    ]
    return np.concatenate([zeros, *drawn]).astype(train_config.precision), np.cumsum(resetting)


def _rates(config: TrainConfig, knots: Knots, steps: range) -> Float[Array, "S"]:
    """Each update's learning rate."""
    if config.schedule == "constant" and steps.start >= config.warmup:
        return np.full(len(steps), learning_rate(config, knots, steps.start))
    return np.array([learning_rate(config, knots, step) for step in steps])


def _average_weights(config: TrainConfig, steps: range) -> Float[Array, "S"]:
    """What the newest weights count in the average: young averages forget faster."""
    step = np.arange(steps.start, steps.stop)
    return 1 - np.minimum(config.average_decay or 0.0, (1 + step) / (10 + step))
