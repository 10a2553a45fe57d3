"""A pen holds samples in the middle of being written: it chooses and reads characters for all of them, side by side.

A model that chooses by itself (`engines.Writer`) is given a stretch of many characters at a time; any other is asked for the logits of
each step, and NumPy chooses (`filters`). The uniform number of a sample's character is a function of seed, sample and position
alone, so neither the way nor the batch nor the length of a stretch can change a draw.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from charloom.engines import Choice, Rows, Writer
from charloom.generation.filters import draw, next_distribution
from charloom.generation.reading import join_rows, take_rows
from charloom.rng import Purpose, uniforms_at

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int, Int64
    from numpy import ndarray as Array

    from charloom.engines import Model

SECONDS_A_STRETCH = 0.02
"""About how long a compiled stretch takes: short for a reader who watches or interrupts, long beside the call itself."""

LONGEST = 4096
"""Characters of a stretch at most."""


class Pen(Protocol):
    """Samples in the middle of being written."""

    def write(self, most: int) -> tuple[Int64[Array, "B n"], Int64[Array, "B"], Float[Array, "B n"]]:
        """Write at least one character in each row and at most `most`: ids, how many of each row count, log-probabilities."""

    def rows(self) -> Rows:
        """The rows as they stand, every character read."""

    def keep(self, which: Int64[Array, "R"]) -> None:
        """Go on with these rows alone."""

    def add(self, rows: Rows) -> None:
        """Take further rows up, behind the others."""


def new_pen(model: Model, rows: Rows, choice: Choice, *, log_probs: bool = False) -> Pen:
    """The pen that suits a model.

    Args:
        model: any engine's.
        rows: what to go on with.
        choice: how characters are chosen.
        log_probs: whether to ask for the model's log-probability of each.
    """
    if isinstance(model, Writer):
        return CompiledPen(model, rows, choice, log_probs)
    return SteppingPen(model, rows, choice, log_probs)


class CompiledPen:
    """A pen for a model that writes whole stretches by itself."""

    def __init__(self, model: Writer, rows: Rows, choice: Choice, log_probs: bool) -> None:
        self._model, self._rows, self._choice, self._log_probs = model, rows, choice, log_probs
        self._length = 1

    def write(self, most: int) -> tuple[Int64[Array, "B n"], Int64[Array, "B"], Float[Array, "B n"]]:
        """Write a stretch that takes about `SECONDS_A_STRETCH`."""
        began, length = time.perf_counter(), min(most, self._length)
        written = self._model.write(self._rows, self._choice, length, log_probs=self._log_probs)
        if length == self._length:
            shorter = time.perf_counter() - began > SECONDS_A_STRETCH
            self._length = max(1, length // 2) if shorter else min(2 * length, LONGEST)
        self._rows = written.rows
        return written.ids, written.lengths, written.log_probs

    def rows(self) -> Rows:
        """The rows as they stand."""
        return self._rows

    def keep(self, which: Int64[Array, "R"]) -> None:
        """Go on with these rows alone."""
        self._rows = take(self._rows, which)

    def add(self, rows: Rows) -> None:
        """Take further rows up."""
        self._rows = join(self._model, [self._rows, rows])  # type: ignore[arg-type]


class SteppingPen:
    """A pen for any other model: a step of the model, a choice of NumPy, a step of the model, and so on."""

    def __init__(self, model: Model, rows: Rows, choice: Choice, log_probs: bool) -> None:
        self._model, self._rows, self._choice, self._log_probs = model, rows, choice, log_probs
        self._unread: Int64[Array, "B"] | None = None

    def write(self, most: int) -> tuple[Int64[Array, "B 1"], Int64[Array, "B"], Float[Array, "B n"]]:
        """Write one character in each row; the model reads it when the next one is asked for."""
        del most
        rows = self.rows()
        ids = choose(rows, self._choice)
        scores = log_probabilities(rows.logits, ids) if self._log_probs else np.empty((len(ids), 0))
        recent = rows.recent.copy()
        if recent.shape[1] > 0:
            recent[np.arange(len(ids)), rows.positions % recent.shape[1]] = ids
        self._rows = replace(rows, recent=recent, positions=rows.positions + 1)
        self._unread = ids
        return ids[:, None], np.ones(len(ids), np.int64), scores

    def rows(self) -> Rows:
        """The rows as they stand, the last character read."""
        if self._unread is not None:
            logits, state = self._model.step(self._unread, self._rows.state)
            self._rows, self._unread = replace(self._rows, logits=logits, state=state), None
        return self._rows

    def keep(self, which: Int64[Array, "R"]) -> None:
        """Go on with these rows alone."""
        self._rows = take(self._rows, which)
        self._unread = None if self._unread is None else self._unread[which]

    def add(self, rows: Rows) -> None:
        """Take further rows up."""
        self._rows = join(self._model, [self.rows(), rows])


def choose(rows: Rows, choice: Choice) -> Int64[Array, "B"]:
    """The next character of each row: the arithmetic of `filters`, the draws of `rng`."""
    probs = distribution(rows.logits, rows.recent, choice)
    return draw(probs, uniforms_at(choice.seed, Purpose.SAMPLE, rows.positions, rows.samples))


def distribution(
    logits: Float[Array, "B V"], recent: Int64[Array, "B W"], choice: Choice
) -> Float64[Array, "B V"]:
    """The probabilities that a choice draws from."""
    return next_distribution(
        logits,
        temperature=choice.temperature,
        top_k=choice.top_k,
        top_p=choice.top_p,
        min_p=choice.min_p,
        banned=choice.banned,
        repetition_penalty=choice.repetition_penalty,
        recent=recent,
    )


def log_probabilities(logits: Float[Array, "B V"], ids: Int[Array, "B"]) -> Float[Array, "B 1"]:
    """The model's own log-probability of each id in nats: of all characters, at temperature 1."""
    scores = np.asarray(logits, np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    found: Array = scores[np.arange(len(ids)), ids] - np.log(np.exp(scores).sum(axis=1))
    return found[:, None]


def take(rows: Rows, which: Int64[Array, "R"]) -> Rows:
    """These rows alone, in this order."""
    return Rows(
        np.asarray(rows.logits)[which],
        take_rows(rows.state, which),
        rows.recent[which],
        rows.positions[which],
        rows.samples[which],
    )


def join(model: Model, parts: list[Rows]) -> Rows:
    """The rows of all parts, one part behind the other."""
    parts = [part for part in parts if len(part.positions) > 0]
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.logits for part in parts]),
        join_rows(model, [part.state for part in parts]),
        np.concatenate([part.recent for part in parts]),
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.samples for part in parts]),
    )
