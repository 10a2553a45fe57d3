"""Learnt character representations: a map, nearest neighbours, and whether characters of one kind cluster.

    e_c = embedding row of c, or column c of W_ih if the input is one-hot               (1)  what reading c adds
    ē_c = e_c − mean e                                                                  (2)  without the common part
    cos(a, b) = ē_a · ē_b / ‖ē_a‖ ‖ē_b‖                                                 (3)
    map: ē on its two directions of largest variance                                    (4)  principal components
    together = mean cos of two of one group − mean cos of one of a group and one outside (5)

(5) is tested against random permutations of the group labels: p is the share of 999 permutations that reach it.
It is compared with the same value for the initial, random rows.

Source: (4): Pearson (1901); permutation test: Fisher (1935).
Shapes: C characters in the text, W width of a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.features import char_class, is_vowel
from charloom.parameters import initial_parameters
from charloom.rng import Purpose, permutation
from charloom.summary import short_fields
from charloom.text.similar import skeleton

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

MOST = 256
"""Maximum number of characters, the most frequent ones: rows that are rarely read are barely trained."""

NUM_DEALS = 999
NUM_NEIGHBOURS = 5
OUTSIDE, ABSENT = -1, -2
"""Labels of a character outside every group of a kind, and of one to which the kind does not apply."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whether one kind of character clusters.

    Attributes:
        name: vowels, digits, uppercase or letter forms.
        num_members: characters in its groups.
        num_others: characters outside.
        together: (5) of the learnt rows.
        p_value: share of permutations that reach it, counting the actual labels as one of them.
        together_random: (5) of the initial rows.
    """

    name: str
    num_members: int
    num_others: int
    together: float
    p_value: float
    together_random: float

    __repr__ = short_fields


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The learnt characters.

    Attributes:
        chars: the characters, most frequent first.
        source: "embedding" or "one-hot".
        places: (4), (C, 2).
        explained_fraction: share of the variance along each direction, (2,).
        neighbours: the nearest other characters of each with their cosines.
        clusters: the kinds with at least two members, and others to compare with, in the text.
    """

    chars: tuple[str, ...]
    source: str
    places: Float[Array, "C 2"]
    explained_fraction: Float[Array, "2"]
    neighbours: tuple[tuple[tuple[str, float], ...], ...]
    clusters: tuple[Cluster, ...]

    __repr__ = short_fields


def embedding(
    config: ModelConfig,
    params: Mapping[str, Array],
    chars: Sequence[str],
    counts: Int[Array, "V"],
    *,
    seed: int = 0,
) -> Embedding | None:
    """Analyse the rows of the characters in a text; None if it has fewer than three.

    Args:
        config: the network.
        params: its arrays.
        chars: the character of each id, (V,).
        counts: occurrences of each id in the text; 0 for specials.
        seed: of the initial parameters and of the permutations.
    """
    seen = np.argsort(-counts, kind="stable")[: min(MOST, int((counts > 0).sum()))]
    if len(seen) < 3:
        return None
    here = [chars[i] for i in seen]
    learnt = centred(input_rows(params)[seen])
    random = centred(input_rows(initial_parameters(config, len(counts), seed))[seen])
    u, s, _ = np.linalg.svd(learnt, full_matrices=False)
    cosines, random_cosines = cosine(learnt), cosine(random)
    found = [
        cluster(name, np.array(labels), cosines, random_cosines, seed) for name, labels in kinds(here).items()
    ]
    variance = s**2 / max(float((s**2).sum()), 1e-300)
    return Embedding(
        tuple(here),
        "embedding" if "embedding" in params else "one-hot",
        (u * s)[:, :2],
        variance[:2],
        neighbours(here, cosines),
        tuple(one for one in found if one is not None),
    )


def input_rows(params: Mapping[str, Array]) -> Float[Array, "V W"]:
    """Equation (1)."""
    rows = params["embedding"] if "embedding" in params else params["layers.0.cell.w_ih"].T
    return np.asarray(rows, np.float64)


def centred(rows: Float[Array, "C W"]) -> Float[Array, "C W"]:
    """Equation (2)."""
    return np.asarray(rows - rows.mean(axis=0))


def cosine(rows: Float[Array, "C W"]) -> Float[Array, "C C"]:
    """Equation (3); 0 for a row of zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return np.asarray(unit @ unit.T)


def neighbours(
    chars: Sequence[str], cosines: Float[Array, "C C"]
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """The nearest other characters of each, nearest first."""
    alone = cosines - 3 * np.eye(len(cosines))  # no character is its own neighbour
    order = np.argsort(-alone, axis=1, kind="stable")[:, : min(NUM_NEIGHBOURS, len(chars) - 1)]
    return tuple(tuple((chars[j], float(alone[i, j])) for j in row) for i, row in enumerate(order))


def kinds(chars: Sequence[str]) -> dict[str, list[int]]:
    """The labels of each kind: the number of a group, `OUTSIDE` for the others, `ABSENT` if the kind does not apply.

    Vowels are compared with other letters, uppercase with lowercase, digits with all characters; the forms of each
    letter (a, A, á; ا, أ) are a group among letters.
    """
    classes = [char_class(char) for char in chars]
    is_letter = [kind in ("lowercase", "uppercase", "letter") for kind in classes]
    forms = [skeleton(char) for char in chars]
    numbers = {form: number for number, form in enumerate(dict.fromkeys(forms))}
    sizes = Counter(form for form, letter in zip(forms, is_letter, strict=True) if letter)
    labels: dict[str, list[int]] = {"vowels": [], "uppercase": [], "digits": [], "letter forms": []}
    for char, kind, letter, form in zip(chars, classes, is_letter, forms, strict=True):
        labels["vowels"].append(ABSENT if not letter else 0 if is_vowel(char) else OUTSIDE)
        labels["uppercase"].append({"uppercase": 0, "lowercase": OUTSIDE}.get(kind, ABSENT))
        labels["digits"].append(0 if kind == "digit" else OUTSIDE)
        labels["letter forms"].append(ABSENT if not letter else numbers[form] if sizes[form] > 1 else OUTSIDE)
    return labels


def cluster(
    name: str,
    labels: Int[Array, "C"],
    cosines: Float[Array, "C C"],
    random_cosines: Float[Array, "C C"],
    seed: int,
) -> Cluster | None:
    """Equation (5) and its permutation test; None if no two characters share a group or all share the same one."""
    here = np.flatnonzero(labels != ABSENT)
    labels = labels[here]
    same, apart = pairs(labels)
    if not len(same) or not len(apart):
        return None

    def together(values: Float[Array, "C C"], at: Int[Array, "C"]) -> float:
        return float(values[tuple(at[same.T])].mean() - values[tuple(at[apart.T])].mean())

    learnt = together(cosines, here)
    orders = (permutation(seed, Purpose.EVALUATE, deal, len(here)) for deal in range(NUM_DEALS))
    p_value = (1 + sum(together(cosines, here[order]) >= learnt for order in orders)) / (1 + NUM_DEALS)
    members = int((labels != OUTSIDE).sum())
    return Cluster(name, members, len(labels) - members, learnt, p_value, together(random_cosines, here))


def pairs(labels: Int[Array, "C"]) -> tuple[Int[Array, "S 2"], Int[Array, "A 2"]]:
    """The pairs that (5) compares, each once: two of one group, and one of a group with one outside it.

    Example:
        >>> same, apart = pairs(np.array([0, 0, -1, -1]))
        >>> same.tolist(), apart.tolist()
        ([[0, 1]], [[0, 2], [0, 3], [1, 2], [1, 3]])
    """
    inside = labels != OUTSIDE
    once = np.triu(np.ones((len(labels), len(labels)), bool), 1)
    same = (labels[:, None] == labels) & inside & once
    apart = (labels[:, None] != labels) & (inside[:, None] | inside) & once
    return np.argwhere(same), np.argwhere(apart)
