"""Gate saturation and timescales: how often each gate is closed or open, and how long units retain their state.

    low = share of a gate's values below 0.1,  high = share above 0.9        (1)  over the characters read, per unit
    keep_t = f_t (lstm),  z_t (gru),  1 − z_t (mingru)                       (2)  the factor of the old state
    timescale = −1 / mean_t ln keep_t                                        (3)  characters until 1/e of it is left

The share left after k characters is the product of k factors, e^(k · mean ln keep), so (3) uses the geometric mean.
−1 / ln of the arithmetic mean is never smaller, and the often-quoted 1 / (1 − mean) differs again: a gate that is 1
half of the time and 0 the other half keeps nothing past its next 0.

An Elman unit has no gate; its activation saturates. tanh a = 2 σ(2 a) − 1, so its bounds are −0.8 and 0.8, at which
its slope is the same 36 % of its maximum. A ReLU is low when it is 0 and never high.

Source: (1): Karpathy, Johnson & Li (2015), figure 3; (3): our form of the usual forget-gate timescale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from charloom.insight.bptt import Layer, Unrolled
from charloom.summary import short_fields

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

LOW, HIGH = 0.1, 0.9
"""Beyond these values σ's slope is under 36 % of its maximum, so little gradient reaches the gate's own weights."""

GATES = {"elman": (), "lstm": ("i", "f", "o"), "gru": ("r", "z"), "mingru": ("z",)}


@dataclass(frozen=True, slots=True, eq=False)
class Saturation:
    """Saturation of one gate of one layer, or of an Elman layer's activation: (1) per unit.

    Attributes:
        layer: from 0, the lowest.
        gate: i, f, o, r or z; "activation" in an Elman layer.
        mean: of each unit's values, not rescaled for an activation, (H,).
        saturated_fraction: low + high, averaged over the units.
    """

    layer: int
    gate: str
    low: Float[Array, "H"]
    high: Float[Array, "H"]
    mean: Float[Array, "H"]
    saturated_fraction: float

    __repr__ = short_fields


@dataclass(frozen=True, slots=True, eq=False)
class Timescale:
    """How long a layer's units retain their state, (3): per unit (∞ if a gate never forgets), median, maximum."""

    layer: int
    chars: Float[Array, "H"]
    median_chars: float
    longest_chars: float

    __repr__ = short_fields


@dataclass(frozen=True, slots=True)
class Gates:
    """Saturation of each gate and timescales of each layer (none for elman), over `num_chars` characters."""

    saturation: tuple[Saturation, ...]
    timescales: tuple[Timescale, ...]
    num_chars: int

    __repr__ = short_fields


def gates(read: Unrolled) -> Gates:
    """Measure the gates over an unrolled text."""
    cell, saturations, timescales = read.config.cell, [], []
    for i, layer in enumerate(read.layers):
        for gate in GATES[cell]:
            saturations.append(_saturation(i, gate, gate_values(layer, gate)))
        if cell == "elman":
            saturations.append(_activation(i, layer.h, read.config.activation))
        else:
            timescales.append(_timescale(i, keep_of(layer, cell)))
    return Gates(tuple(saturations), tuple(timescales), read.ids.size)


def gate_values(layer: Layer, gate: str) -> Float[Array, "N H"]:
    """A gate's values at every step of every row, N = T·B."""
    return np.concatenate([getattr(step, gate) for step in layer.steps])


def keep_of(layer: Layer, cell: str) -> Float[Array, "N H"]:
    """Equation (2)."""
    values = gate_values(layer, "f" if cell == "lstm" else "z")
    return 1 - values if cell == "mingru" else values


def timescale(keep: Float[Array, "N H"]) -> Float[Array, "H"]:
    """Equation (3).

    Example:
        >>> timescale(np.array([[0.5, 1.0, 0.9], [0.5, 1.0, 0.0]])).round(2).tolist()
        [1.44, inf, 0.0]
    """
    with np.errstate(divide="ignore"):
        chars: Array = np.abs(
            1 / np.log(keep).mean(axis=0)
        )  # abs, not −: a gate that never forgets gives 1/0
    return chars


def _saturation(layer: int, gate: str, values: Float[Array, "N H"], top: float = HIGH) -> Saturation:
    low, high = (values < LOW).mean(axis=0), (values > top).mean(axis=0)
    return Saturation(layer, gate, low, high, values.mean(axis=0), float((low + high).mean()))


def _activation(layer: int, h: Float[Array, "T B H"], activation: str) -> Saturation:
    values, top = h.reshape(-1, h.shape[-1]), HIGH  # (T·B, H)
    scaled = values
    if activation == "tanh":
        scaled = (values + 1) / 2
    elif activation == "relu":
        scaled, top = (values > 0).astype(np.float64), np.inf
    return replace(_saturation(layer, "activation", scaled, top), mean=values.mean(axis=0))


def _timescale(layer: int, keep: Float[Array, "N H"]) -> Timescale:
    chars = timescale(keep)
    return Timescale(layer, chars, float(np.median(chars)), float(chars.max()))
