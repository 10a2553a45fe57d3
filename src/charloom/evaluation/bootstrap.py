"""Whether two models differ on the same held-out text: a paired block bootstrap of their losses.

    d_t = loss_A(t) − loss_B(t)      paired: both models predict the same character after the same text      (1)
    d   = mean of d_t                                                                                         (2)

Losses of neighbouring characters are alike, so whole blocks of text are drawn with replacement, not characters. A model
that was trained with several seeds contributes the mean of its runs, and the uncertainty of that mean over seeds: its
standard error times a draw from Student's t with R − 1 degrees of freedom, R the number of runs.

Source: Künsch (1989) for blocks; Koehn (2004) for pairs; the sum of two t-distributed errors is Fisher's (1935).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import EngineModel
from charloom.errors import DataError
from charloom.evaluation.protocols import iterate_segments
from charloom.rng import Purpose, normals, uniforms

if TYPE_CHECKING:
    from jaxtyping import Float64, Int
    from numpy import ndarray as Array

CONFIDENCE = 0.95
BLOCK_CHARS = 1000
FEWEST_BLOCKS = 20
_FEWEST_CHARS_PER_BLOCK = 10
_NUM_RESAMPLES = 4000
_SEGMENT_CHARS = 2048
_MAX_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more the first of two models loses than the second, in bits per prediction.

    Attributes:
        bits: the difference of their mean losses; negative if the first is better.
        low_bits, high_bits: its interval of `CONFIDENCE`.
        num_chars: predictions compared.
        num_blocks: blocks of the held-out text that were drawn from.
    """

    bits: float
    low_bits: float
    high_bits: float
    num_chars: int
    num_blocks: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low_bits > 0 or self.high_bits < 0


def losses_by_position(
    model: EngineModel, ids: Int[Array, "N"], *, boundary_id: int | None = None
) -> Float64[Array, "M"]:
    """The loss of each prediction of a text in nats, M = N − 1.

    The text is read in up to 64 segments in parallel, each after the 1,024 characters before it, so the mean differs
    from `stream_loss` in its fourth decimal at most.
    """
    num = len(ids) - 1
    edges = np.linspace(0, num, max(1, min(_MAX_SEGMENTS, num // _SEGMENT_CHARS)) + 1).astype(np.int64)
    segments = edges[:-1], edges[1:]
    losses = np.zeros(num)
    state = model.initial_state(len(segments[0]))
    for positions, scored, nats in iterate_segments(
        model.losses, state, ids, segments, boundary_id=boundary_id
    ):
        losses[positions[scored]] = nats[scored]
    return losses


def paired_difference(
    first: Float64[Array, "R M"], second: Float64[Array, "S M"], *, seed: int = 0
) -> Difference:
    """Estimate the difference of two models by (1) and (2), with its interval.

    Args:
        first: nats of each prediction by each run of the first model, (R, M).
        second: of the second model on the same text, (S, M).
        seed: of the draws.

    Raises:
        DataError: the text is too short for blocks.
    """
    num_chars = first.shape[1]
    if num_chars < FEWEST_BLOCKS * _FEWEST_CHARS_PER_BLOCK:
        raise DataError(
            f"the held-out text has {num_chars:,} characters",
            why=f"at least {FEWEST_BLOCKS * _FEWEST_CHARS_PER_BLOCK} are needed to tell how certain a difference is",
            fix="hold out more text with --val-fraction",
        )
    num_blocks = max(FEWEST_BLOCKS, num_chars // BLOCK_CHARS)
    edges = np.linspace(0, num_chars, num_blocks + 1).astype(np.int64)
    by_char = (first.mean(axis=0) - second.mean(axis=0)) / math.log(2)
    totals, sizes = np.add.reduceat(by_char, edges[:-1]), np.diff(edges)
    drawn = (uniforms(seed, Purpose.BOOTSTRAP, 0, range(_NUM_RESAMPLES), num_blocks) * num_blocks).astype(
        np.int64
    )
    resampled = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    resampled += _error_of_seeds(first, seed, 1) - _error_of_seeds(second, seed, 2)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(float(by_char.mean()), float(low), float(high), num_chars, num_blocks)


def _error_of_seeds(losses: Float64[Array, "R M"], seed: int, step: int) -> Float64[Array, " n"]:
    """Draws of the error of a mean over seeds, in bits; zeros for a single run, whose seed is part of the model."""
    runs = len(losses)
    if runs < 2:
        return np.zeros(_NUM_RESAMPLES)
    standard_error = losses.mean(axis=1).std(ddof=1) / math.sqrt(runs) / math.log(2)
    z = normals(seed, Purpose.BOOTSTRAP, step, range(_NUM_RESAMPLES), runs)
    drawn: Array = standard_error * z[:, 0] / np.sqrt((z[:, 1:] ** 2).mean(axis=1))
    return drawn
