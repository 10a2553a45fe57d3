"""Batching as a pure function of the step: the characters that a step reads do not depend on earlier steps.

    stream    lane b reads its own contiguous segment; state is carried from window to window
    random    every row is a window at a random position, from the initial state
    sliding   windows every `stride` characters, from the initial state

A window's targets are its inputs shifted by one character. `resets` marks the positions before which a row's state is
reset; in documents mode, these include every boundary symbol.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import TrainConfig
from charloom.errors import DataError
from charloom.rng import Purpose, permutation, permuted, uniforms, uniforms_at
from charloom.text.checksums import verify_windows

if TYPE_CHECKING:
    from jaxtyping import Bool, Float16, Float64, Int
    from numpy import ndarray as Array

_BLOCK = 64
STORED_ORDER = 1 << 20
"""The most windows whose shuffled order is stored; of more, each is computed (see `charloom.rng.permuted`)."""


@dataclass(frozen=True, slots=True)
class Window:
    """One step's batch: ids to read, ids to predict, and whether the state is reset before inputs[:, t]; L lanes.

    With a teacher, `soft_targets` has the probabilities to learn of all V symbols, in the place of each target.
    """

    inputs: Int[Array, "L T"]
    targets: Int[Array, "L T"]
    resets: Bool[Array, "L T"]
    soft_targets: Float16[Array, "L T V"] | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """A lane's windows, one per step: first position read, characters read, and whether the state is reset first."""

    starts: Int[Array, " S"]
    lengths: Int[Array, " S"]
    reset_at_start: Bool[Array, " S"]


def fit_batch(num_ids: int, config: TrainConfig) -> tuple[TrainConfig, tuple[str, ...]]:
    """Shrink batch and window to what a training part of `num_ids` characters can fill.

    Returns:
        The settings that fit, and a sentence for each change.

    Raises:
        DataError: not even one character can be predicted.
    """
    if num_ids < 2:
        raise DataError(
            f"the training part has {num_ids} character{'s' * (num_ids != 1)}",
            why="one prediction needs two characters: one to read, one to predict",
            fix="give a longer text, or lower --val-fraction",
        )
    T = min(config.bptt_length, num_ids - 1)
    if config.batching == "stream":
        B = max(1, min(config.batch_size, (num_ids - 1) // T))
    elif config.batching == "sliding":
        B = min(config.batch_size, _num_sliding(num_ids, T, config.stride))
    else:
        B = config.batch_size
    changes = (("bptt_length", T, config.bptt_length), ("batch_size", B, config.batch_size))
    notes = tuple(
        f"{name} reduced from {before} to {now}: the training text has only {num_ids:,} characters"
        for name, now, before in changes
        if now != before
    )
    return replace(config, bptt_length=T, batch_size=B), notes


def _num_sliding(num_ids: int, T: int, stride: int) -> int:
    return (num_ids - 1 - T) // stride + 1


class Plan:
    """The windows of a training run.

    Args:
        ids: the training part, (N,).
        config: batching, sizes, offsets, resets and seed; must fit (see `fit_batch`).
        boundary_id: the symbol that begins a document, or None.
        soft_targets: the probabilities to learn of the character after each but the last, (N − 1, V), or None.

    Attributes:
        batch_size: rows of a full window.
        steps_per_epoch: windows in one pass over the text.
        carries: whether state is carried from window to window.

    Example:
        >>> plan = Plan(np.arange(9), TrainConfig(batch_size=2, bptt_length=2, stream_offset="fixed"))
        >>> plan.window(1, range(2)).inputs.tolist()
        [[2, 3], [6, 7]]
    """

    def __init__(
        self,
        ids: Int[Array, " N"],
        config: TrainConfig,
        *,
        boundary_id: int | None = None,
        soft_targets: Float16[Array, "M V"] | None = None,
    ) -> None:
        self.ids, self.config, self.boundary_id, self.soft_targets = ids, config, boundary_id, soft_targets
        self.batch_size, self.carries = config.batch_size, config.batching == "stream"
        N, B, T = len(ids), config.batch_size, config.bptt_length
        assert N > T, "call fit_batch first"
        shifts = config.stream_offset == "random" and config.state_reset == "epoch"
        self._offset_of = -1, 0
        self._resets, self._orders = _Blocks(self._reset_draws), _Blocks(self._computed_order)
        self._slack = max(0, min(T - 1, N - 1 - B * T)) if shifts else 0
        self._lane_length = (N - 1 - self._slack) // B
        self._num_windows = _num_sliding(N, T, config.stride)
        if config.batching == "stream":
            self.steps_per_epoch = _divide(self._lane_length, T, drop_last=config.drop_last)
        elif config.batching == "sliding":
            self.steps_per_epoch = _divide(self._num_windows, B, drop_last=config.drop_last)
        else:
            self.steps_per_epoch = max(1, N // (B * T))
        self._blocked_epoch = math.ceil(self.steps_per_epoch / _BLOCK) * _BLOCK  # whole blocks

    def window(self, step: int, lanes: range) -> Window:
        """The inputs, targets and resets of a step for a range of global lanes.

        Args:
            step: updates taken before this one.
            lanes: rows of the global batch; a sliding epoch's last batch may hold fewer.

        Returns:
            Arrays of (lanes, T); a stream epoch's last window may be shorter.
        """
        starts, length, reset_at_start = self._rows(step, lanes)
        verify_windows(self.ids, starts, length + 1)
        positions = starts[:, None] + np.arange(length + 1)
        block = self.ids[positions].astype(np.int64)
        inputs, targets = block[:, :-1], block[:, 1:]
        resets = np.zeros(inputs.shape, bool) if self.boundary_id is None else inputs == self.boundary_id
        resets[:, 0] |= reset_at_start
        if self.config.wrap_targets and (step + 1) % self.steps_per_epoch == 0:
            firsts, _, _ = self._rows(step + 1 - self.steps_per_epoch, lanes)
            targets = np.concatenate([targets[:, :-1], self.ids[firsts][:, None].astype(np.int64)], axis=1)
        soft = None if self.soft_targets is None else self.soft_targets[positions[:, :-1]]
        return Window(inputs, targets, resets, soft)

    def num_rows(self, step: int) -> int:
        """The rows of a step's batch: `batch_size`, or fewer in the last batch of a sliding epoch.

        Example:
            >>> plan = Plan(np.arange(9), TrainConfig(batch_size=4, bptt_length=2, batching="sliding"))
            >>> [plan.num_rows(step) for step in range(2)]
            [4, 3]
        """
        if self.config.batching != "sliding":
            return self.batch_size
        return min(self.batch_size, self._num_windows - step % self.steps_per_epoch * self.batch_size)

    def places(self, first_step: int, num_steps: int, lane: int = 0) -> Places:
        """The positions of one lane's windows over a range of steps: what `window` would read, without reading it.

        Example:
            >>> plan = Plan(np.arange(9), TrainConfig(batch_size=1, bptt_length=3, stream_offset="fixed"))
            >>> plan.places(0, 3).starts.tolist(), plan.places(0, 3).lengths.tolist()
            ([0, 3, 6], [3, 3, 2])
        """
        steps = np.arange(first_step, first_step + num_steps)
        epochs, order = np.divmod(steps, self.steps_per_epoch)
        if self.carries:
            found = [
                self._places_in_epoch(int(epoch) * self.steps_per_epoch, order[epochs == epoch], lane)
                for epoch in np.unique(epochs)
            ]
            starts, lengths, resets = (
                np.concatenate([getattr(part, name) for part in found])
                for name in ("starts", "lengths", "reset_at_start")
            )
        else:
            starts = self._starts_of_lane(steps, epochs, order, lane)
            lengths = np.full(len(starts), self.config.bptt_length, np.int64)
            resets = np.ones(len(starts), bool)
        if len(lengths):
            verify_windows(self.ids, starts, int(lengths.max()) + 1)
        return Places(starts, lengths, resets)

    def _starts_of_lane(
        self, steps: Int[Array, " S"], epochs: Int[Array, " S"], order: Int[Array, " S"], lane: int
    ) -> Int[Array, " R"]:
        """The first position of one lane's window in each step that has one; random and sliding."""
        seed, N = self.config.seed, len(self.ids)
        if self.config.batching == "random":
            u = uniforms_at(seed, Purpose.WINDOW, steps, np.full(len(steps), lane))
            return (u * (N - self.config.bptt_length)).astype(np.int64)
        rows = lane + order * self.batch_size
        epochs, rows = epochs[rows < self._num_windows], rows[rows < self._num_windows]
        if self.config.order == "shuffled":
            for epoch in np.unique(epochs):
                inside = epochs == epoch
                rows[inside] = _in_order(seed, int(epoch), self._num_windows, rows[inside])
        return rows * self.config.stride

    def _places_in_epoch(self, epoch_start: int, order: Int[Array, " S"], lane: int) -> Places:
        config, T, lanes = self.config, self.config.bptt_length, range(lane, lane + 1)
        starts, _, _ = self._stream(epoch_start, lanes)
        resets = (order == 0) & self._begins(epoch_start, lanes)[0]
        if config.state_reset_probability > 0:
            draws = uniforms_at(config.seed, Purpose.RESET, epoch_start + order, np.full(len(order), lane))
            resets |= draws < config.state_reset_probability
        return Places(starts[0] + order * T, np.minimum(T, self._lane_length - order * T), resets)

    def _rows(self, step: int, lanes: range) -> tuple[Int[Array, " L"], int, Bool[Array, " L"]]:
        """The start of each lane's window, the length of all, and which lanes begin from the initial state."""
        batching = {"stream": self._stream, "sliding": self._sliding, "random": self._random}
        return batching[self.config.batching](step, lanes)

    def _stream(self, step: int, lanes: range) -> tuple[Int[Array, " L"], int, Bool[Array, " L"]]:
        config, T = self.config, self.config.bptt_length
        epoch, place = divmod(step, self.steps_per_epoch)
        distance = self.steps_per_epoch * T if config.drop_last else self._lane_length
        segment = np.arange(lanes.start, lanes.stop)
        if config.state_reset == "wrap":
            segment = (segment + epoch) % self.batch_size
        reset_at_start = self._begins(step, lanes)
        if config.state_reset_probability > 0:
            reset_at_start |= self._resets(step, lanes) < config.state_reset_probability
        starts = self._offset(epoch) + segment * distance + place * T
        return starts, min(T, self._lane_length - place * T), reset_at_start

    def _begins(self, step: int, lanes: range) -> Bool[Array, " L"]:
        """The lanes whose text begins at this step: in each epoch, or only when the text wraps round."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self.config.state_reset == "epoch":
            return np.full(len(lanes), place == 0)
        first = (np.arange(lanes.start, lanes.stop) + epoch) % self.batch_size == 0
        begins: Array = np.full(len(lanes), step == 0) | (first & (place == 0))
        return begins

    def _offset(self, epoch: int) -> int:
        if not self._slack:
            return 0
        if self._offset_of[0] != epoch:
            drawn = uniforms(self.config.seed, Purpose.OFFSET, epoch, [0], 1)[0, 0]
            self._offset_of = epoch, int(drawn * (self._slack + 1))
        return self._offset_of[1]

    def _reset_draws(self, block: int, lanes: range) -> Float64[Array, "K L"]:
        """A uniform number for each step of a block and each lane."""
        steps = np.repeat(np.arange(block * _BLOCK, (block + 1) * _BLOCK), len(lanes))
        drawn = uniforms_at(self.config.seed, Purpose.RESET, steps, np.tile(lanes, _BLOCK))
        return drawn.reshape(_BLOCK, len(lanes))

    def _random(self, step: int, lanes: range) -> tuple[Int[Array, " L"], int, Bool[Array, " L"]]:
        T = self.config.bptt_length
        u = uniforms(self.config.seed, Purpose.WINDOW, step, lanes, 1)[:, 0]
        starts = (u * (len(self.ids) - T)).astype(np.int64)
        return starts, T, np.ones(len(lanes), bool)

    def _sliding(self, step: int, lanes: range) -> tuple[Int[Array, " L"], int, Bool[Array, " L"]]:
        epoch, place = divmod(step, self.steps_per_epoch)
        rows = np.array(lanes, np.int64) + place * self.batch_size
        rows = rows[rows < self._num_windows]
        if self.config.order == "shuffled":
            if self._num_windows <= STORED_ORDER:
                rows = _in_order(self.config.seed, epoch, self._num_windows, rows)
            else:
                rows = self._orders(epoch * self._blocked_epoch + place, lanes)[: len(rows)]
        return rows * self.config.stride, self.config.bptt_length, np.ones(len(rows), bool)

    def _computed_order(self, block: int, lanes: range) -> Int[Array, "K L"]:
        """`_in_order` of a block of steps, counted without the incomplete batches at the ends of epochs."""
        epoch, first = divmod(block * _BLOCK, self._blocked_epoch)
        rows = np.arange(first, first + _BLOCK)[:, None] * self.batch_size + np.arange(
            lanes.start, lanes.stop
        )
        last = self._num_windows - 1
        found = _in_order(self.config.seed, epoch, last + 1, np.minimum(rows, last).ravel())
        return found.reshape(_BLOCK, len(lanes))


class _Blocks:
    """A row for each step, of which `compute` makes a block at once: that takes little longer than one row."""

    def __init__(self, compute: Callable[[int, range], Array]) -> None:
        self._compute = compute
        self._key, self._rows = (-1, range(0)), np.empty((0, 0))

    def __call__(self, step: int, lanes: range) -> Array:
        """The numbers of a step, (lanes,)."""
        block, row = divmod(step, _BLOCK)
        if self._key != (block, lanes):
            self._key, self._rows = (block, lanes), self._compute(block, lanes)
        found: Array = self._rows[row]
        return found


def _in_order(seed: int, epoch: int, size: int, rows: Int[Array, " R"]) -> Int[Array, " R"]:
    """The windows at some places of an epoch's order: stored if they are few, computed if they are many."""
    if size <= STORED_ORDER:
        found: Array = _shuffled(seed, epoch, size)[rows]
        return found
    return permuted(seed, Purpose.ORDER, epoch, size, rows)


@functools.lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, size: int) -> np.ndarray:
    return permutation(seed, Purpose.ORDER, epoch, size)


def _divide(count: int, size: int, *, drop_last: bool) -> int:
    return max(1, count // size if drop_last else math.ceil(count / size))
