"""The softmax of the tour: one distribution at three temperatures and after each filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.generation.filters import next_distribution
from charloom.summary import short_fields

if TYPE_CHECKING:
    from jaxtyping import Float64
    from numpy import ndarray as Array

TEMPERATURES = (0.5, 1.0, 2.0)
TOP_K, TOP_P = 5, 0.9


@dataclass(frozen=True, slots=True)
class Likely:
    """A possible next character and its probability."""

    char: str
    char_id: int
    probability: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of the next character after temperature and filters (None = off), without zero probabilities.

    The characters are in descending order of probability.
    """

    name: str
    temperature: float
    top_k: int | None
    top_p: float | None
    entropy_bits: float
    chars: tuple[Likely, ...]

    __repr__ = short_fields


def distributions(
    logits: Float64[Array, " V"], names: Sequence[str], *, top_k: int = TOP_K, top_p: float = TOP_P
) -> tuple[Distribution, ...]:
    """The softmax at each of `TEMPERATURES`, then after each filter at temperature 1.

    Example:
        >>> [[one.char for one in d.chars] for d in distributions(np.log([0.7, 0.2, 0.1]), "abc", top_k=2, top_p=0.6)]
        [['a', 'b', 'c'], ['a', 'b', 'c'], ['a', 'b', 'c'], ['a', 'b'], ['a']]
    """
    return (
        *(_distribution(f"temperature {one:g}", logits, names, temperature=one) for one in TEMPERATURES),
        _distribution(f"top-k {top_k}", logits, names, top_k=top_k),
        _distribution(f"top-p {top_p:g}", logits, names, top_p=top_p),
    )


def _distribution(
    name: str,
    logits: Float64[Array, " V"],
    names: Sequence[str],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Distribution:
    probs = next_distribution(logits[None], temperature=temperature, top_k=top_k, top_p=top_p)[0]
    order = np.argsort(-probs, kind="stable")
    kept = order[probs[order] > 0]
    return Distribution(
        name=name,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        entropy_bits=float(0.0 - (probs[kept] * np.log2(probs[kept])).sum()),
        chars=tuple(Likely(names[i], int(i), float(probs[i])) for i in kept),
    )
