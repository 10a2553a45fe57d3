"""Error analysis: bits by the predicted character's class and its position in the word and line, compared with n-grams.

    bits(group) = mean over the group's characters of −log₂ p(character | all before it)           (1)

The network reads the text as parallel streams, each primed with the text before it; the n-gram of order K,
interpolated Kneser-Ney counted on the training text, sees K − 1 characters (`evaluation.ngram`). Both are charged
for the same characters. The winner of a group has the fewest bits; `ahead_fraction` is the share of its characters
on which the network beats the n-gram order that is best on the whole text, because a few characters can decide a
mean.

Source: the breakdown of errors by oracles and the comparison with n-grams: Karpathy, Johnson & Li (2015), §4.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import EngineModel
from charloom.evaluation import ngram_surprisals
from charloom.insight.features import classes_of, features
from charloom.summary import short_fields
from charloom.text.batching import Window

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
    """The cost of one group of characters.

    Attributes:
        num_chars: characters predicted.
        bits_per_char: the network's, (1).
        ngram_bits_per_char: of the n-grams of order 1 … 7; empty without a training text.
        winner: "network" or the order of the n-gram; None without n-grams.
        ahead_fraction: share of characters on which the network beats the best order; None without n-grams.
    """

    name: str
    num_chars: int
    bits_per_char: float
    ngram_bits_per_char: tuple[float, ...]
    winner: str | None
    ahead_fraction: float | None


@dataclass(frozen=True, slots=True)
class ErrorAnalysis:
    """A text's bits overall, by class (`features.CLASSES`), by letter of the word and by tens in the line."""

    overall: Group
    by_class: tuple[Group, ...]
    by_word_position: tuple[Group, ...]
    by_line_position: tuple[Group, ...]

    __repr__ = short_fields


def error_analysis(
    model: EngineModel,
    ids: Int[Array, "N"],
    chars: Sequence[str],
    train: Int[Array, "M"] | None,
    *,
    boundary_id: int | None = None,
) -> ErrorAnalysis:
    """Split the loss on a held-out text into groups.

    Args:
        model: of any engine.
        ids: held-out text, at least two characters.
        chars: the character of each id, (V,).
        train: ids that the n-grams are counted on; None omits the n-grams.
        boundary_id: the symbol before which the state is reset, or None.
    """
    bits = position_losses(model, ids, boundary_id=boundary_id) / math.log(2)
    ngrams = np.empty((0, len(bits)))
    if train is not None:
        ngrams = np.array([b[1:] for b in ngram_surprisals(train, ids, len(chars), max_order=MAX_ORDER)])
    text = [chars[i] for i in ids]
    labels, classes = features(text), classes_of(text)
    places = (classes, _word_places(labels["word_position"]), _lines(labels["line_position"]))
    (overall,) = _groups(np.full(len(bits), "overall"), bits, ngrams)
    return ErrorAnalysis(overall, *(_groups(np.array(names[1:]), bits, ngrams) for names in places))


def position_losses(
    model: EngineModel, ids: Int[Array, "N"], *, boundary_id: int | None = None
) -> Float[Array, "N-1"]:
    """The loss of every character but the first, in nats, read in parallel lanes.

    Each lane starts `PRIMING_CHARS` before its own part to prime its state; the first starts with the text, from
    zero.
    """
    num = len(ids) - 1
    lanes = max(1, min(MAX_LANES, num // PRIMING_CHARS))
    edges = np.linspace(0, num, lanes + 1).astype(np.int64)
    length = int(np.diff(edges).max())
    places = edges[:-1, None] + np.arange(-PRIMING_CHARS, length)
    inside = np.clip(places, 0, num - 1)
    inputs = ids[inside].astype(np.int64)
    resets = places <= 0  # nothing precedes the text's first character
    if boundary_id is not None:
        resets = resets | (inputs == boundary_id)
    window = Window(inputs, ids[inside + 1].astype(np.int64), resets)
    losses, _ = model.losses(window, model.initial_state(lanes))
    own = (places >= edges[:-1, None]) & (places < edges[1:, None])
    return np.asarray(losses, np.float64)[own]  # lane by lane, hence in text order


def _word_places(position: Int[Array, "N"]) -> list[str]:
    names = ["outside words", *(f"letter {place}" for place in range(1, WORD_LETTERS))]
    names.append(f"letter {WORD_LETTERS} and on")
    return [names[min(p, WORD_LETTERS)] for p in position.tolist()]


def _lines(position: Int[Array, "N"]) -> list[str]:
    names = [f"{LINE_BIN * b} to {LINE_BIN * (b + 1) - 1}" for b in range(LINE_BINS - 1)]
    names.append(f"{LINE_BIN * (LINE_BINS - 1)} and on")
    return [names[min(p // LINE_BIN, LINE_BINS - 1)] for p in position.tolist()]


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
