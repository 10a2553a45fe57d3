"""What a model has learnt of its characters: a map, neighbours, and whether kinds of characters stand together.

    e_c = embedding row of c, or column c of W_ih where the input is one-hot            (1)  what reading c adds
    ē_c = e_c − mean e                                                                  (2)  what all share says nothing
    cos(a, b) = ē_a · ē_b / ‖ē_a‖ ‖ē_b‖                                                 (3)
    map: ē on its two directions of largest variance                                    (4)  principal components
    together = mean cos of two of one group − mean cos of one of a group and one outside (5)

(5) is judged against the same characters with their groups dealt out anew: p is the share of 999 deals that reach it.
Beside it stands the same number of random rows, those that training began from.

Source: (4): Pearson (1901); permutation test: Fisher (1935).
Shapes: C characters that the text holds, W width of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.features import char_class, is_vowel
from charloom.parameters import initial_parameters
from charloom.rng import Purpose, permutation
from charloom.text.similar import skeleton

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

MOST = 256
"""Characters looked at, the most frequent ones: a row that was hardly ever read is hardly learnt."""

NUM_DEALS = 999
NUM_NEIGHBOURS = 5
OUTSIDE, ABSENT = -1, -2
"""Labels of a character outside every group of a kind, and of one that has no part in it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whether one kind of character stands together.

    Attributes:
        name: vowels, digits, uppercase or letter forms.
        num_members: characters in its groups.
        num_others: characters outside.
        together: (5) of the learnt rows.
        p_value: deals that reach it, as a share; the learnt rows count as one of them.
        together_random: (5) of the rows that training began from.
    """

    name: str
    num_members: int
    num_others: int
    together: float
    p_value: float
    together_random: float


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The learnt characters.

    Attributes:
        chars: those looked at, the most frequent first.
        source: "embedding" or "one-hot".
        places: (4), (C, 2).
        explained_fraction: share of the variance along each direction, (2,).
        neighbours: of each character the nearest others with their cosines.
        clusters: the kinds that the text has at least two of, and others beside.
    """

    chars: tuple[str, ...]
    source: str
    places: Float[Array, "C 2"]
    explained_fraction: Float[Array, "2"]
    neighbours: tuple[tuple[tuple[str, float], ...], ...]
    clusters: tuple[Cluster, ...]


def embedding(
    config: ModelConfig,
    params: Mapping[str, Array],
    chars: Sequence[str],
    counts: Int[Array, "V"],
    *,
    seed: int = 0,
) -> Embedding | None:
    """Look at the characters that a text holds.

    Args:
        config: the network.
        params: its arrays.
        chars: what each id stands for, (V,).
        counts: how often the text holds each id; specials count 0.
        seed: of the initial parameters and of the deals.

    Returns:
        The map; None where the text holds fewer than three characters.
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
    moved: Array = rows - rows.mean(axis=0)
    return moved


def cosine(rows: Float[Array, "C W"]) -> Float[Array, "C C"]:
    """Equation (3); 0 beside a row of zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    cosines: Array = unit @ unit.T
    return cosines


def neighbours(
    chars: Sequence[str], cosines: Float[Array, "C C"]
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """The nearest other characters of each, nearest first."""
    alone = cosines - 3 * np.eye(len(cosines))  # nobody is a neighbour of itself
    order = np.argsort(-alone, axis=1, kind="stable")[:, : min(NUM_NEIGHBOURS, len(chars) - 1)]
    return tuple(tuple((chars[j], float(alone[i, j])) for j in row) for i, row in enumerate(order))


def kinds(chars: Sequence[str]) -> dict[str, list[int]]:
    """The groups of each kind: a number a group, `OUTSIDE` for the others, `ABSENT` for what has no part in it.

    Vowels stand among letters, uppercase among letters with case, digits among all; the forms of a letter (a, A, á; ا, أ) are a group
    each among letters.
    """
    classes = [char_class(char) for char in chars]
    is_letter = [kind in ("lowercase", "uppercase", "letter") for kind in classes]
    forms = {letter: number for number, letter in enumerate(dict.fromkeys(map(skeleton, chars)))}
    sizes = np.bincount(
        [forms[skeleton(char)] for char, letter in zip(chars, is_letter, strict=True) if letter],
        minlength=len(forms),
    )
    labels: dict[str, list[int]] = {"vowels": [], "uppercase": [], "digits": [], "letter forms": []}
    for char, kind, letter in zip(chars, classes, is_letter, strict=True):
        form = forms[skeleton(char)]
        labels["vowels"].append(ABSENT if not letter else 0 if is_vowel(char) else OUTSIDE)
        labels["uppercase"].append({"uppercase": 0, "lowercase": OUTSIDE}.get(kind, ABSENT))
        labels["digits"].append(0 if kind == "digit" else OUTSIDE)
        labels["letter forms"].append(ABSENT if not letter else form if sizes[form] > 1 else OUTSIDE)
    return labels


def cluster(
    name: str,
    labels: Int[Array, "C"],
    cosines: Float[Array, "C C"],
    random_cosines: Float[Array, "C C"],
    seed: int,
) -> Cluster | None:
    """Equation (5) and its test; None where no two characters are of one group or none is outside it."""
    here = np.flatnonzero(labels != ABSENT)
    labels = labels[here]
    same, apart = pairs(labels)
    if not len(same) or not len(apart):
        return None

    def dealt(values: Float[Array, "C C"], order: Int[Array, "C"]) -> float:
        at = here[order]
        return float(values[tuple(at[same.T])].mean() - values[tuple(at[apart.T])].mean())

    as_it_is = np.arange(len(here))
    learnt = dealt(cosines, as_it_is)
    deals = [
        dealt(cosines, permutation(seed, Purpose.EVALUATE, deal, len(here))) for deal in range(NUM_DEALS)
    ]
    p_value = (1 + sum(deal >= learnt for deal in deals)) / (1 + NUM_DEALS)
    members = int((labels != OUTSIDE).sum())
    others = len(labels) - members
    return Cluster(name, members, others, learnt, p_value, dealt(random_cosines, as_it_is))


def pairs(labels: Int[Array, "C"]) -> tuple[Int[Array, "S 2"], Int[Array, "A 2"]]:
    """The pairs that (5) compares: of one group, and of a group and something outside it, each pair once.

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
