"""What single units stand for: how far each is explained by a feature of the text that a reader can see.

    η² = Σ_b n_b (mean_b − mean)² / Σ_t (u_t − mean)²           (1)  of a unit's values u, over the classes b of a feature

(1) is the share of the unit's variance between the classes: with a feature of yes and no, the squared correlation. A count (the
place in the line) is cut into at most 16 classes of equal size, so that any curve over it counts, not a straight line alone.

    null = η² of the same values with the labels shifted around the text         (2)

A shift keeps what a permutation of single characters would destroy: that neighbours are alike, in the unit and in the feature. Half of
the shifts set the threshold, the largest η² of any unit; the others are counted against it. That is the false-positive rate.

Source: (1): Fisher (1925), the correlation ratio; units read off a text: Karpathy, Johnson & Li (2015).
Shapes: N characters, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.insight.features import features
from charloom.insight.unrolled import Unrolled

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

NUM_CLASSES = 16
NUM_SHIFTS = 20
NUM_SHOWN = 12
EXCERPT_CHARS = 400
STILL = 1e-12
"""A unit that moves less than this is rounding, and is explained by nothing."""


class Unit(NamedTuple):
    """A unit's place: its layer, its array (h, or c for tanh c_t) and its number there."""

    layer: int
    array: str
    number: int


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of the text and the units that follow it.

    Attributes:
        name: as in `features`.
        best: units from the best explained on, with their η².
        threshold: the largest η² of any unit under the first half of the shifts.
        num_units_above: units above it.
        false_positive_rate: units above it under the other half of the shifts, as a share.
    """

    name: str
    best: tuple[tuple[Unit, float], ...]
    threshold: float
    num_units_above: int
    false_positive_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An interpretable unit on the excerpt.

    Attributes:
        unit: which.
        feature: what explains it best.
        explained: its η².
        values: at every character of the excerpt.
    """

    unit: Unit
    feature: str
    explained: float
    values: Float[Array, "E"]


@dataclass(frozen=True, slots=True)
class Units:
    """What the units stand for.

    Attributes:
        num_units: looked at.
        num_chars: characters read.
        features: those that the text has.
        excerpt: the beginning of the first passage.
        shown: the units best explained, above their feature's threshold.
    """

    num_units: int
    num_chars: int
    features: tuple[Feature, ...]
    excerpt: str
    shown: tuple[Shown, ...]


def units(read: Unrolled, chars: Sequence[str]) -> Units:
    """Compare every unit of a network with every feature of what it read.

    Args:
        read: passages, one column each.
        chars: what each id stands for, (V,).
    """
    passages = [[chars[i] for i in column] for column in read.ids.T]
    places, values = values_of(read)
    labels = [features(passage) for passage in passages]
    joined = {name: np.concatenate([part[name] for part in labels]) for name in labels[0]}
    return explain(places, values, joined, [char for passage in passages for char in passage])


def explain(
    places: Sequence[Unit],
    values: Float[Array, "N U"],
    labels: dict[str, Int[Array, "N"]],
    text: Sequence[str],
) -> Units:
    """Rank the units by every feature that is not the same all over the text."""
    found: list[Feature] = []
    scaled = unit_length(values)
    best: dict[int, tuple[float, str]] = {}
    for name, label in labels.items():
        if label.min() == label.max():
            continue
        codes = classes(label)
        share = explained(scaled, codes)
        found.append(_feature(name, places, scaled, codes, share))
        for u in np.flatnonzero(share > found[-1].threshold).tolist():
            best[u] = max(best.get(u, (0.0, "")), (float(share[u]), name))
    chosen = sorted(best, key=lambda u: (-best[u][0], u))[:NUM_SHOWN]
    shown = tuple(Shown(places[u], best[u][1], best[u][0], values[:EXCERPT_CHARS, u]) for u in chosen)
    return Units(len(places), len(text), tuple(found), "".join(text[:EXCERPT_CHARS]), shown)


def values_of(read: Unrolled) -> tuple[list[Unit], Float[Array, "N U"]]:
    """Every unit's h and, in an LSTM, tanh c, passage after passage."""
    places, columns = [], []
    for i, layer in enumerate(read.layers):
        arrays = {"h": layer.h}
        if read.config.cell == "lstm":
            arrays["c"] = np.stack([step.tanh_c for step in layer.steps])
        for key, x in arrays.items():
            columns.append(x.swapaxes(0, 1).reshape(-1, x.shape[2]))  # (B·T, H)
            places += [Unit(i, key, number) for number in range(x.shape[2])]
    return places, np.concatenate(columns, axis=1)


def classes(label: Int[Array, "N"]) -> Int[Array, "N"]:
    """A feature's classes, numbered from 0: its values, or where these are many, classes of equal size."""
    distinct, codes = np.unique(label, return_inverse=True)
    if len(distinct) <= NUM_CLASSES:
        return codes
    edges = np.unique(np.quantile(label, np.arange(1, NUM_CLASSES) / NUM_CLASSES))
    return np.unique(np.searchsorted(edges, label, side="right"), return_inverse=True)[1]


def unit_length(values: Float[Array, "N U"]) -> Float[Array, "N U"]:
    """Every unit's values without their mean and with squares that sum to 1; 0 where a unit never moves."""
    centred = values - values.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    moves = length > STILL * np.sqrt(len(values))
    scaled: Array = np.divide(centred, length, out=np.zeros_like(centred), where=moves)
    return scaled


def explained(scaled: Float[Array, "N U"], codes: Int[Array, "N"]) -> Float[Array, "U"]:
    """Equation (1) of every unit, from `unit_length` of its values.

    Example:
        >>> values = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 5.0], [11.0, 5.0]])
        >>> explained(unit_length(values), np.array([0, 0, 1, 1])).round(3).tolist()
        [0.941, 0.0]
    """
    one_hot = np.zeros((len(codes), codes.max() + 1))
    one_hot[np.arange(len(codes)), codes] = 1
    share: Array = ((one_hot.T @ scaled) ** 2 / one_hot.sum(axis=0)[:, None]).sum(axis=0)
    return share


def _feature(
    name: str,
    places: Sequence[Unit],
    scaled: Float[Array, "N U"],
    codes: Int[Array, "N"],
    share: Float[Array, "U"],
) -> Feature:
    step = len(codes) / (NUM_SHIFTS + 1)
    null = np.array(
        [explained(scaled, np.roll(codes, round(step * (j + 1)))) for j in range(NUM_SHIFTS)]
    )  # (2)
    threshold = float(null[::2].max())
    order = np.argsort(-share, kind="stable")[:NUM_SHOWN].tolist()
    best = tuple((places[u], float(share[u])) for u in order)
    above = int((share > threshold).sum())
    return Feature(name, best, threshold, above, float((null[1::2] > threshold).mean()))
