"""The softmax of the tour: one distribution at three temperatures, and what each filter leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.generation.filters import next_distribution

if TYPE_CHECKING:
    from jaxtyping import Float64
    from numpy import ndarray as Array

TEMPERATURES = (0.5, 1.0, 2.0)
TOP_K, TOP_P = 5, 0.9


@dataclass(frozen=True, slots=True)
class Likely:
    """A character that may come next, and how likely."""

    char: str
    char_id: int
    probability: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the next character is drawn from.

    Attributes:
        name: how it was made.
        temperature: divides the logits.
        top_k: how many stay; None = all.
        top_p: the probability that those which stay reach; None = all.
        entropy_bits: its entropy.
        chars: every character of a probability above 0, likeliest first.
    """

    name: str
    temperature: float
    top_k: int | None
    top_p: float | None
    entropy_bits: float
    chars: tuple[Likely, ...]


def distributions(
    logits: Float64[Array, " V"], names: Sequence[str], *, top_k: int = TOP_K, top_p: float = TOP_P
) -> tuple[Distribution, ...]:
    """The softmax at each of `TEMPERATURES`, then after each filter at temperature 1.

    Example:
        >>> [[one.char for one in d.chars] for d in distributions(np.log([0.7, 0.2, 0.1]), "abc", top_k=2, top_p=0.6)]
        [['a', 'b', 'c'], ['a', 'b', 'c'], ['a', 'b', 'c'], ['a', 'b'], ['a']]
    """
    plain: list[dict[str, Any]] = [{"temperature": temperature} for temperature in TEMPERATURES]
    cuts: list[dict[str, Any]] = [{"temperature": 1.0, "top_k": top_k}, {"temperature": 1.0, "top_p": top_p}]
    named = [(f"temperature {how['temperature']:g}", how) for how in plain]
    named += [(f"top-k {top_k}", cuts[0]), (f"top-p {top_p:g}", cuts[1])]
    return tuple(_distribution(name, logits, names, **how) for name, how in named)


def _distribution(
    name: str,
    logits: Float64[Array, " V"],
    names: Sequence[str],
    *,
    temperature: float,
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
