"""The inputs and measurements of the compiled updates for a range of steps: text, states after resets, learning rates.

Only the text of these steps is accessed, as the ids may be a file larger than memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import draws
from charloom.engines.fused.online.layout import padded
from charloom.kernels.library import struct
from charloom.schedule import Knots, learning_rate
from charloom.text.batching import Plan

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

_LONGEST = 65_536
"""Most characters of one compiled call, to bound its memory."""


class StepRange(NamedTuple):
    """The inputs and the measurements of S steps."""

    text: Int[Array, "N"]  # the characters of each window and the one after it, window after window
    begins: Int[Array, "S"]  # where each window begins in `text`
    lengths: Int[Array, "S"]  # characters read
    resets: Bool[Array, "N"]  # whether the state is reset before a character of `text` is read
    reset_state: Float[Array, "R H'"]  # states after resets, padded
    reset_rows: Int[Array, "S"]  # each step's row of `reset_state`
    rates: Float[Array, "S"]  # learning rates
    average_weights: Float[Array, "S"]  # weights of the newest parameters in the average
    loss: Float[Array, "S"]  # output: mean nats per predicted character
    grad_norm: Float[Array, "S"]  # output: L2 before clipping

    def struct(self) -> ctypes.Structure:
        """The range as the compiled functions take it."""
        return struct("StepRange", S=len(self.begins), **self._asdict())


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
    lengths = np.ascontiguousarray(places.lengths, np.int64)
    return StepRange(text, begins, lengths, resets, reset_state, rows, rates, weights, *results)


def _reset_state(
    config: ModelConfig, train_config: TrainConfig, steps: range, resetting: Bool[Array, "S"]
) -> tuple[Float[Array, "R H"], Int[Array, "S"]]:
    """The states after resets, and the row of each step among them."""
    rows = np.zeros(len(steps), np.int64)
    states = np.zeros((1, padded(config.hidden_size)), train_config.precision)
    if train_config.initial_state == "zeros":
        return states, rows
    drawn = [draws.reset_state(config, train_config, steps[i], range(1)) for i in np.flatnonzero(resetting)]
    states = np.zeros((1 + len(drawn), states.shape[1]), states.dtype)
    for row, state in zip(states[1:], drawn, strict=True):
        row[: config.hidden_size] = state[0]["h"][0]
    return states, np.cumsum(resetting, dtype=np.int64)


def _rates(config: TrainConfig, knots: Knots, steps: range) -> Float[Array, "S"]:
    """The learning rate of each update."""
    if config.schedule == "constant" and steps.start >= config.warmup:
        return np.full(len(steps), learning_rate(config, knots, steps.start))
    return np.array([learning_rate(config, knots, step) for step in steps])


def _average_weights(config: TrainConfig, steps: range) -> Float[Array, "S"]:
    """The weight of the newest parameters in the average; young averages forget faster."""
    step = np.arange(steps.start, steps.stop)
    return 1 - np.minimum(config.average_decay or 0.0, (1 + step) / (10 + step))
