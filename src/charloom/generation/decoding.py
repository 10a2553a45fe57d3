"""Samplers: draw the next characters for a batch of samples and feed them back to the model.

A model with its own sampling loop (`engines.BatchDecoder`) generates many characters per call. Any other model returns
the logits of one step at a time, and NumPy draws from them (`filters`). The uniform number of a character depends only
on seed, sample and position, so the choice of sampler, the batch and the length of a call cannot change a draw.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import BatchDecoder, DecodeState, SamplingParams
from charloom.generation.filters import draw, log_softmax, next_distribution
from charloom.generation.prefill import concat_rows, select_rows
from charloom.rng import Purpose, uniforms_at

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int, Int64
    from numpy import ndarray as Array

    from charloom.engines import EngineModel

CALL_S = 0.02
"""Target time per compiled call: short enough to watch or interrupt, long compared with the call's overhead."""

MAX_CALL_CHARS = 4096


class CompiledSampler:
    """A sampler for a model that generates many characters per call."""

    def __init__(
        self, model: BatchDecoder, samples: DecodeState, params: SamplingParams, log_probs: bool
    ) -> None:
        self._model, self._samples, self._params, self._log_probs = model, samples, params, log_probs
        self._call_chars = 1

    def decode(self, max_chars: int) -> tuple[Int64[Array, "B n"], Int64[Array, "B"], Float[Array, "B n"]]:
        """Generate 1 to `max_chars` characters per sample, as many as take about `CALL_S` seconds.

        Returns the ids, the number of valid ids per row, and the log-probabilities.
        """
        began, num_chars = time.perf_counter(), min(max_chars, self._call_chars)
        output = self._model.decode(self._samples, self._params, num_chars, log_probs=self._log_probs)
        if num_chars == self._call_chars:
            too_long = time.perf_counter() - began > CALL_S
            self._call_chars = max(1, num_chars // 2) if too_long else min(2 * num_chars, MAX_CALL_CHARS)
        self._samples = output.after
        return output.ids, output.lengths, output.log_probs

    def current(self) -> DecodeState:
        """The samples after the model has read every generated character."""
        return self._samples

    def keep(self, rows: Int64[Array, "R"]) -> None:
        """Continue with these rows only."""
        self._samples = select(self._samples, rows)

    def add(self, samples: DecodeState) -> None:
        """Append samples to the batch."""
        self._samples = concat(self._model, [self._samples, samples])  # type: ignore[arg-type]


class StepwiseSampler:
    """A sampler for any other model: one model step and one NumPy draw per character."""

    def __init__(
        self, model: EngineModel, samples: DecodeState, params: SamplingParams, log_probs: bool
    ) -> None:
        self._model, self._samples, self._params, self._log_probs = model, samples, params, log_probs
        self._unread: Int64[Array, "B"] | None = None

    def decode(self, max_chars: int) -> tuple[Int64[Array, "B 1"], Int64[Array, "B"], Float[Array, "B n"]]:
        """Generate one character per sample; the model reads it only when the next one is needed."""
        del max_chars
        samples = self.current()
        ids = choose_ids(samples, self._params)
        scores = log_probabilities(samples.logits, ids) if self._log_probs else np.empty((len(ids), 0))
        recent = samples.recent.copy()
        if recent.shape[1] > 0:
            recent[np.arange(len(ids)), samples.positions % recent.shape[1]] = ids
        self._samples = replace(samples, recent=recent, positions=samples.positions + 1)
        self._unread = ids
        return ids[:, None], np.ones(len(ids), np.int64), scores

    def current(self) -> DecodeState:
        """The samples after the model has read every generated character."""
        if self._unread is not None:
            logits, state = self._model.step(self._unread, self._samples.state)
            self._samples, self._unread = replace(self._samples, logits=logits, state=state), None
        return self._samples

    def keep(self, rows: Int64[Array, "R"]) -> None:
        """Continue with these rows only."""
        self._samples = select(self._samples, rows)
        self._unread = None if self._unread is None else self._unread[rows]

    def add(self, samples: DecodeState) -> None:
        """Append samples to the batch."""
        self._samples = concat(self._model, [self.current(), samples])


BatchSampler = CompiledSampler | StepwiseSampler
"""A batch of samples during generation."""


def new_sampler(
    model: EngineModel, samples: DecodeState, params: SamplingParams, *, log_probs: bool = False
) -> BatchSampler:
    """Make the fastest sampler that the model supports, with the log-probability of each character if asked."""
    if isinstance(model, BatchDecoder):
        return CompiledSampler(model, samples, params, log_probs)
    return StepwiseSampler(model, samples, params, log_probs)


def choose_ids(samples: DecodeState, params: SamplingParams) -> Int64[Array, "B"]:
    """Draw each sample's next character."""
    probs = distribution(samples.logits, samples.recent, params)
    return draw(probs, uniforms_at(params.seed, Purpose.SAMPLE, samples.positions, samples.samples))


def distribution(
    logits: Float[Array, "B V"], recent: Int64[Array, "B W"], params: SamplingParams
) -> Float64[Array, "B V"]:
    """`next_distribution` with the settings in `params`."""
    return next_distribution(
        logits,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        banned=params.banned,
        repetition_penalty=params.repetition_penalty,
        recent=recent,
        logit_bias=params.logit_bias,
    )


def log_probabilities(logits: Float[Array, "B V"], ids: Int[Array, "B"]) -> Float[Array, "B 1"]:
    """The model's log-probability of each id in nats, over all characters and at temperature 1."""
    return log_softmax(logits)[np.arange(len(ids)), ids, None]


def select(samples: DecodeState, rows: Int64[Array, "R"]) -> DecodeState:
    """The samples in these rows, in this order."""
    return DecodeState(
        np.asarray(samples.logits)[rows],
        select_rows(samples.state, rows),
        samples.recent[rows],
        samples.positions[rows],
        samples.samples[rows],
    )


def concat(model: EngineModel, parts: list[DecodeState]) -> DecodeState:
    """The samples of all parts, in order."""
    parts = [part for part in parts if len(part.positions) > 0]
    if len(parts) == 1:
        return parts[0]
    return DecodeState(
        np.concatenate([part.logits for part in parts]),
        concat_rows(model, [part.state for part in parts]),
        np.concatenate([part.recent for part in parts]),
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.samples for part in parts]),
    )
