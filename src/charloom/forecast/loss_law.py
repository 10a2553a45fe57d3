"""The loss law: the bits per character that a network will need, from the text's n-gram and the characters it will read.

    ln(bits / n-gram bits) = c · x                                                    (1)
    interval = n-gram bits · exp(c · x ± √(s² + (z r ∂(c · x) / ∂ ln read)²))   (2)

x are the predictors of `predictors`; c and s belong to one kind of network (`network_kind`) and are fitted by
``python -m benchmarks laws`` on measured trainings. The residuals on texts that were left out of the fit give s: an
interval holds for four in five of them. r is the relative uncertainty of the speed, z the normal quantile of the level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from charloom.config import ModelConfig
from charloom.files import text_of_file
from charloom.forecast.text_facts import TextFacts
from charloom.schema import json_value

LAW_FILE = "law.json"
LEVEL = 0.8
SPEED_SPREAD = 0.3
"""Relative uncertainty of the speed: another program may want the cores."""

_Z = 1.2816

_KINDS = {
    ("lstm", "plain", 1, 256): "small",
    ("lstm", "plain", 1, 384): "medium",
    ("mingru", "residual", 2, 128): "flash",
    ("lstm", "residual", 2, 256): "best",
    ("lstm", "residual", 3, 256): "record",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bits per held-out character, stream protocol.

    Attributes:
        bits_per_char: expected.
        low: lower end of the 80 % interval.
        high: its upper end.
        is_extrapolated: whether the text or the number of characters is outside what was measured.
    """

    bits_per_char: float
    low: float
    high: float
    is_extrapolated: bool


@dataclass(frozen=True, slots=True)
class KindLaw:
    """The law of one kind of network.

    Attributes:
        coefficients: c of (1), by predictor.
        spread: s of (2).
        read_chars: the fewest and the most characters read in the measurements.
        train_chars: sizes of the smallest and the largest training part.
    """

    coefficients: Mapping[str, float]
    spread: float
    read_chars: tuple[float, float]
    train_chars: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LossLaw:
    """The laws of all kinds, and where and when they were measured."""

    kinds: Mapping[str, KindLaw]
    measured: Mapping[str, Any]

    def estimate(self, kind: str, facts: TextFacts, read_chars: float) -> Estimate:
        """Expected bits per character after reading a number of characters, with the interval (2)."""
        law = self.kinds[kind]
        centre = _product(law.coefficients, facts, read_chars)
        slope = _product(law.coefficients, facts, read_chars * math.exp(0.1)) - centre
        width = math.hypot(law.spread, _Z * SPEED_SPREAD * 10 * slope)
        bits = facts.best_bits
        within = _is_within(read_chars, law.read_chars) and _is_within(facts.train_chars, law.train_chars)
        width *= 1.0 if within else 2.0
        return Estimate(
            bits * math.exp(centre),
            bits * math.exp(centre - width),
            bits * math.exp(centre + width),
            not within,
        )


def network_kind(config: ModelConfig) -> str | None:
    """The kind of network that a law was measured for: one of the default table or of its recipes; None for any other."""
    return _KINDS.get((config.cell, config.block, config.num_layers, config.hidden_size))


def predictors(facts: TextFacts, read_chars: float) -> dict[str, float]:
    """The x of (1); logarithms are natural, of millions of characters.

    ``gain`` is how much the n-gram gains by context: of bits of single characters over bits of the best order.
    """
    read = math.log(read_chars / 1e6)
    text = math.log(facts.train_chars / 1e6)
    bits = facts.best_bits
    gain = math.log(facts.ngram_bits[0] / bits)
    return {
        "one": 1.0,
        "read": read,
        "text": text,
        "gain": gain,
        "gain·read": gain * read,
        "gain·text": gain * text,
    }


def _product(coefficients: Mapping[str, float], facts: TextFacts, read_chars: float) -> float:
    x = predictors(facts, read_chars)
    return sum(c * x[name] for name, c in coefficients.items())


def _is_within(value: float, bounds: tuple[float, float]) -> bool:
    low, high = bounds
    return low / 1.3 <= value <= 1.3 * high


@cache
def fitted_law() -> LossLaw:
    """The law that this version carries."""
    found = json_value(text_of_file(resources.files("charloom.forecast") / LAW_FILE))
    kinds = {
        name: KindLaw(law["coefficients"], law["spread"], (*law["read_chars"],), (*law["train_chars"],))
        for name, law in found["kinds"].items()
    }
    return LossLaw(kinds, found["measured"])
