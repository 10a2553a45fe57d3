"""How the gates stand: shut, open or in between, and how long what they keep lasts.

    low = share of a gate's values below 0.1,  high = share above 0.9             (1)  over the characters read, unit by unit
    keep_t = f_t (lstm),  z_t (gru),  1 − z_t (mingru)                            (2)  the factor of the old state
    timescale = −1 / mean_t ln keep_t                                             (3)  characters until 1/e of it is left

What is left after k characters is the product of k factors, e^(k · mean ln keep): so (3) takes the geometric mean. −1 / ln of the
arithmetic mean is never smaller, and 1 / (1 − mean), often quoted, differs again: a gate that is 1 half of the time and 0 the other
half keeps nothing for longer than its next 0.

An Elman unit has no gate; its activation saturates. tanh a = 2 σ(2 a) − 1, so its bounds are −0.8 and 0.8, where its slope is
the same 36 % of its largest. A ReLU is low where it is 0 and never high.

Source: (1): Karpathy, Johnson & Li (2015), figure 3; (3): our form of the usual forget-gate timescale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.insight.unrolled import Layer, Unrolled

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

LOW, HIGH = 0.1, 0.9
"""Beyond them σ's slope is under 36 % of its largest: little gradient passes the gate's own weights."""

GATES = {"elman": (), "lstm": ("i", "f", "o"), "gru": ("r", "z"), "mingru": ("z",)}


@dataclass(frozen=True, slots=True, eq=False)
class Saturation:
    """One gate of one layer, or an Elman layer's activation; (1).

    Attributes:
        layer: from 0, the lowest.
        gate: i, f, o, r or z; "activation" in an Elman layer.
        low: of each unit, (H,).
        high: of each unit, (H,).
        mean: of each unit's values, (H,); an activation's as it stands.
        saturated_fraction: low + high, averaged over the units.
    """

    layer: int
    gate: str
    low: Float[Array, "H"]
    high: Float[Array, "H"]
    mean: Float[Array, "H"]
    saturated_fraction: float


@dataclass(frozen=True, slots=True, eq=False)
class Timescale:
    """How long one layer's units keep what they hold; (3).

    Attributes:
        layer: from 0, the lowest.
        chars: of each unit, (H,); infinite where a gate never lets go.
        median_chars: of the units.
        longest_chars: of the units.
    """

    layer: int
    chars: Float[Array, "H"]
    median_chars: float
    longest_chars: float


@dataclass(frozen=True, slots=True)
class Gates:
    """All gates of a network.

    Attributes:
        saturation: of every gate of every layer.
        timescales: of every layer; none for elman, which has no gate.
        num_chars: characters read.
    """

    saturation: tuple[Saturation, ...]
    timescales: tuple[Timescale, ...]
    num_chars: int


def gates(read: Unrolled) -> Gates:
    """Look at the gates over a text that was read."""
    cell, saturations, timescales = read.config.cell, [], []
    for i, layer in enumerate(read.layers):
        for gate in GATES[cell]:
            saturations.append(_saturation(i, gate, values_of(layer, gate)))
        if cell == "elman":
            saturations.append(_activation(i, layer.h, read.config.activation))
        else:
            timescales.append(_timescale(i, keep_of(layer, cell)))
    return Gates(tuple(saturations), tuple(timescales), read.ids.size)


def values_of(layer: Layer, gate: str) -> Float[Array, "N H"]:
    """A gate's values at every step of every row."""
    values = np.stack([getattr(step, gate) for step in layer.steps])
    return values.reshape(-1, values.shape[-1])  # (T·B, H)


def keep_of(layer: Layer, cell: str) -> Float[Array, "N H"]:
    """Equation (2)."""
    return {
        "lstm": lambda: values_of(layer, "f"),
        "gru": lambda: values_of(layer, "z"),
        "mingru": lambda: 1 - values_of(layer, "z"),
    }[cell]()


def timescale(keep: Float[Array, "N H"]) -> Float[Array, "H"]:
    """Equation (3).

    Example:
        >>> timescale(np.array([[0.5, 1.0, 0.9], [0.5, 1.0, 0.0]])).round(2).tolist()
        [1.44, inf, 0.0]
    """
    with np.errstate(divide="ignore"):
        chars: Array = np.abs(1 / np.log(keep).mean(axis=0))  # abs, not −: a gate that never lets go has 1/0
    return chars


def _saturation(layer: int, gate: str, values: Float[Array, "N H"], top: float = HIGH) -> Saturation:
    low, high = (values < LOW).mean(axis=0), (values > top).mean(axis=0)
    return Saturation(layer, gate, low, high, values.mean(axis=0), float((low + high).mean()))


def _activation(layer: int, h: Float[Array, "T B H"], activation: str) -> Saturation:
    values = h.reshape(-1, h.shape[-1])  # (T·B, H)
    if activation == "tanh":
        found = _saturation(layer, "activation", (values + 1) / 2)
    elif activation == "relu":
        found = _saturation(layer, "activation", (values > 0).astype(np.float64), np.inf)
    else:
        found = _saturation(layer, "activation", values)
    mean = values.mean(axis=0)
    return Saturation(layer, found.gate, found.low, found.high, mean, found.saturated_fraction)


def _timescale(layer: int, keep: Float[Array, "N H"]) -> Timescale:
    chars = timescale(keep)
    return Timescale(layer, chars, float(np.median(chars)), float(chars.max()))
