"""Interpretable units: how much of each unit's variance is explained by a visible feature of the text.

    η² = Σ_b n_b (mean_b − mean)² / Σ_t (u_t − mean)²      (1)  of a unit's values u, over the classes b of a feature

(1) is the share of the unit's variance between the classes; for a binary feature, the squared correlation. A count
(the position in the line) is split into at most 16 classes of equal size, so any dependence on it is detected, not
only a linear one.

    null = η² of the same values with the labels rotated along the text         (2)

Unlike a permutation of single characters, a rotation preserves the similarity of neighbours, both in the unit and
in the feature. Half of the rotations set the threshold, the largest η² of any unit; the false-positive rate is
counted on the other half.

Source: (1): Fisher (1925), the correlation ratio; units read off a text: Karpathy, Johnson & Li (2015).
Shapes: N characters, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.insight.bptt import Unrolled
from charloom.insight.features import features
from charloom.summary import short_fields

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

NUM_CLASSES = 16
NUM_SHIFTS = 20
NUM_SHOWN = 12
EXCERPT_CHARS = 400
STILL = 1e-12
"""A unit that varies less than this is constant up to rounding, and nothing explains it."""


class Unit(NamedTuple):
    """A unit's location: its layer, array (h, or c for tanh c_t) and index."""

    layer: int
    array: str
    number: int


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of the text and the units that it explains.

    Attributes:
        name: as in `features`.
        best: the best explained units with their η², in descending order.
        threshold: the largest η² of any unit under the first half of the rotations.
        num_units_above: units above the threshold.
        false_positive_rate: share of units above the threshold under the other half of the rotations.
    """

    name: str
    best: tuple[tuple[Unit, float], ...]
    threshold: float
    num_units_above: int
    false_positive_rate: float

    __repr__ = short_fields


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An interpretable unit, the feature that explains it best, its η², and its values on the excerpt, (E,)."""

    unit: Unit
    feature: str
    explained: float
    values: Float[Array, "E"]

    __repr__ = short_fields


@dataclass(frozen=True, slots=True)
class Units:
    """All features that occur in the text, and the best explained units.

    Attributes:
        features: those that vary in the text.
        excerpt: the beginning of the first passage.
        shown: the best explained units above their feature's threshold.
    """

    num_units: int
    num_chars: int
    features: tuple[Feature, ...]
    excerpt: str
    shown: tuple[Shown, ...]

    __repr__ = short_fields


def units(read: Unrolled, chars: Sequence[str]) -> Units:
    """Compare every unit with every feature of the passages, one per column; `chars` has each id's character."""
    passages = [[chars[i] for i in column] for column in read.ids.T]
    places, values = unit_values(read)
    labels = [features(passage) for passage in passages]
    joined = {name: np.concatenate([part[name] for part in labels]) for name in labels[0]}
    return explain_units(places, values, joined, [char for passage in passages for char in passage])


def explain_units(
    places: Sequence[Unit],
    values: Float[Array, "N U"],
    labels: dict[str, Int[Array, "N"]],
    text: Sequence[str],
) -> Units:
    """Rank the units by every feature that is not constant over the text."""
    found: list[Feature] = []
    scaled = unit_length(values)
    best: dict[int, tuple[float, str]] = {}
    for name, label in labels.items():
        if label.min() == label.max():
            continue
        codes = classes(label)
        share = explained_variance(scaled, codes)
        found.append(_feature(name, places, scaled, codes, share))
        for u in np.flatnonzero(share > found[-1].threshold).tolist():
            best[u] = max(best.get(u, (0.0, "")), (float(share[u]), name))
    chosen = sorted(best, key=lambda u: (-best[u][0], u))[:NUM_SHOWN]
    shown = tuple(Shown(places[u], best[u][1], best[u][0], values[:EXCERPT_CHARS, u]) for u in chosen)
    return Units(len(places), len(text), tuple(found), "".join(text[:EXCERPT_CHARS]), shown)


def unit_values(read: Unrolled) -> tuple[list[Unit], Float[Array, "N U"]]:
    """Every unit's h and, in an LSTM, tanh c, with the passages concatenated."""
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
    """A feature's classes, numbered from 0: its distinct values, or classes of equal size if there are too many."""
    distinct, codes = np.unique(label, return_inverse=True)
    if len(distinct) <= NUM_CLASSES:
        return codes
    edges = np.unique(np.quantile(label, np.arange(1, NUM_CLASSES) / NUM_CLASSES))
    return np.unique(np.searchsorted(edges, label, side="right"), return_inverse=True)[1]


def unit_length(values: Float[Array, "N U"]) -> Float[Array, "N U"]:
    """Every unit's values with mean 0 and L2 norm 1; all 0 for a constant unit."""
    centred = values - values.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    moves = length > STILL * np.sqrt(len(values))
    return np.asarray(np.divide(centred, length, out=np.zeros_like(centred), where=moves))


def explained_variance(scaled: Float[Array, "N U"], codes: Int[Array, "N"]) -> Float[Array, "U"]:
    """Equation (1) for every unit, from `unit_length` of its values.

    Example:
        >>> values = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 5.0], [11.0, 5.0]])
        >>> explained_variance(unit_length(values), np.array([0, 0, 1, 1])).round(3).tolist()
        [0.941, 0.0]
    """
    one_hot = np.zeros((len(codes), codes.max() + 1))
    one_hot[np.arange(len(codes)), codes] = 1
    return np.asarray(((one_hot.T @ scaled) ** 2 / one_hot.sum(axis=0)[:, None]).sum(axis=0))


def _feature(
    name: str,
    places: Sequence[Unit],
    scaled: Float[Array, "N U"],
    codes: Int[Array, "N"],
    share: Float[Array, "U"],
) -> Feature:
    step = len(codes) / (NUM_SHIFTS + 1)
    shifts = [round(step * (j + 1)) for j in range(NUM_SHIFTS)]
    null = np.array([explained_variance(scaled, np.roll(codes, shift)) for shift in shifts])  # (2)
    threshold = float(null[::2].max())
    order = np.argsort(-share, kind="stable")[:NUM_SHOWN].tolist()
    best = tuple((places[u], float(share[u])) for u in order)
    above = int((share > threshold).sum())
    return Feature(name, best, threshold, above, float((null[1::2] > threshold).mean()))
