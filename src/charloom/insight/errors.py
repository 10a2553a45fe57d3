"""Where a model loses its bits: by the class of the character to predict, its place in the word and in the line; n-grams beside it.

    bits(group) = mean over the group's characters of −log₂ p(character | all before it)           (1)

The network reads the text as streams side by side, each warmed by what stands before its part; the n-gram of order K, interpolated
Kneser-Ney counted on the training text, sees K − 1 characters (`evaluation.ngram`). Both are charged for the same characters. The
winner of a group has the fewest bits; `ahead_fraction` is the share of its characters on which the network beats the n-gram order
that is best on the whole text: a mean can be won by a few.

Source: the breakdown of errors by oracles and the n-gram beside it: Karpathy, Johnson & Li (2015), §4.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import Model
from charloom.evaluation import ngram_surprisals
from charloom.insight.features import classes_of, features
from charloom.text.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

MAX_ORDER = 7
PRIMING_CHARS = 128
MAX_LANES = 64
LINE_BIN = 10
LINE_BINS = 8
WORD_LETTERS = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Characters of one kind and what they cost.

    Attributes:
        name: of the kind.
        num_chars: how many were predicted.
        bits_per_char: the network's, (1).
        ngram_bits_per_char: of the n-grams of order 1 … 7; empty without a training text.
        winner: "network" or the order of the n-gram; None without one.
        ahead_fraction: characters on which the network beats the best order; None without one.
    """

    name: str
    num_chars: int
    bits_per_char: float
    ngram_bits_per_char: tuple[float, ...]
    winner: str | None
    ahead_fraction: float | None


@dataclass(frozen=True, slots=True)
class Errors:
    """A text's bits, cut in three ways.

    Attributes:
        overall: all of it.
        by_class: the classes of `features.CLASSES` that it has.
        by_word_position: the first letter of a word, the second, …, and what is outside words.
        by_line_position: tens of characters since the last newline.
    """

    overall: Group
    by_class: tuple[Group, ...]
    by_word_position: tuple[Group, ...]
    by_line_position: tuple[Group, ...]


def errors(
    model: Model,
    ids: Int[Array, "N"],
    chars: Sequence[str],
    train: Int[Array, "M"] | None,
    *,
    boundary_id: int | None = None,
) -> Errors:
    """Cut the loss on a held-out text into groups.

    Args:
        model: any engine's.
        ids: held-out text, two characters or more.
        chars: what each id stands for, (V,).
        train: ids that the n-grams are counted on; None leaves them out.
        boundary_id: the symbol before which the state is zero again, or None.
    """
    bits = position_losses(model, ids, boundary_id=boundary_id) / math.log(2)
    ngrams = np.empty((0, len(bits)))
    if train is not None:
        ngrams = np.array([b[1:] for b in ngram_surprisals(train, ids, len(chars), max_order=MAX_ORDER)])
    text = [chars[i] for i in ids]
    labels, classes = features(text), classes_of(text)
    places = [
        np.array(names[1:]) for names in (classes, _word_places(labels["word_position"]), _lines(labels))
    ]
    overall = np.full(len(bits), "overall")
    cuts = [_groups(place, bits, ngrams) for place in (overall, *places)]
    return Errors(cuts[0][0], *cuts[1:])


def position_losses(
    model: Model, ids: Int[Array, "N"], *, boundary_id: int | None = None
) -> Float[Array, "N-1"]:
    """The loss of every character but the first in nats, read in lanes side by side.

    Each lane begins `PRIMING_CHARS` before its own part, so its state is warm; the first begins with the text, from zero.
    """
    num = len(ids) - 1
    lanes = max(1, min(MAX_LANES, num // PRIMING_CHARS))
    edges = np.linspace(0, num, lanes + 1).astype(np.int64)
    length = int(np.diff(edges).max())
    places = edges[:-1, None] + np.arange(-PRIMING_CHARS, length)
    inside = np.clip(places, 0, num - 1)
    inputs = ids[inside].astype(np.int64)
    resets = places <= 0  # before the text's first character there is nothing to remember
    if boundary_id is not None:
        resets = resets | (inputs == boundary_id)
    losses, _ = model.losses(
        Window(inputs, ids[inside + 1].astype(np.int64), resets), model.initial_state(lanes)
    )
    own = (places >= edges[:-1, None]) & (places < edges[1:, None])
    found: Array = np.asarray(losses, np.float64)[own]  # lane after lane, so in the text's order
    return found


def _word_places(position: Int[Array, "N"]) -> list[str]:
    shown = [f"letter {place}" for place in range(1, WORD_LETTERS)] + [f"letter {WORD_LETTERS} and on"]
    return ["outside words" if p == 0 else shown[min(p, WORD_LETTERS) - 1] for p in position.tolist()]


def _lines(labels: dict[str, Int[Array, "N"]]) -> list[str]:
    names = [f"{LINE_BIN * b} to {LINE_BIN * (b + 1) - 1}" for b in range(LINE_BINS - 1)]
    names.append(f"{LINE_BIN * (LINE_BINS - 1)} and on")
    return [names[min(p // LINE_BIN, LINE_BINS - 1)] for p in labels["line_position"].tolist()]


def _groups(place: Array, bits: Float[Array, "N"], ngrams: Float[Array, "K N"]) -> tuple[Group, ...]:
    best = int(ngrams.mean(axis=1).argmin()) if len(ngrams) else None
    groups = []
    for name in dict.fromkeys(place.tolist()):
        here = place == name
        mean, orders = float(bits[here].mean()), ngrams[:, here].mean(axis=1)
        winner = ahead = None
        if best is not None:
            winner = "network" if mean <= orders.min() else f"order {int(orders.argmin()) + 1}"
            ahead = float((bits[here] < ngrams[best, here]).mean())
        groups.append(Group(name, int(here.sum()), mean, tuple(orders.tolist()), winner, ahead))
    return tuple(sorted(groups, key=lambda group: -group.num_chars))
