"""Log-probabilities of characters, in nats, with the likeliest alternatives, and where each begins in the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.generation.filters import log_softmax
from charloom.generation.sample_text import IncrementalDecoder

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from numpy import ndarray as Array

    from charloom.text import Vocabulary


class Token(NamedTuple):
    """A character of an answer (a byte, with a byte model)."""

    text: str
    log_prob: float | None  # None for the very first, which nothing predicts
    top: dict[str, float] | None  # the likeliest, and the character itself; None if none was asked for
    offset: int  # characters of the text before it; before the character that it is a byte of


class Likelihood(NamedTuple):
    """What a model expected where a character stands: its log-probability, and the likeliest."""

    log_prob: float
    top: dict[int, float]


def predictions(logits: Float[Array, "T V"], ids: Int64[Array, " T"], num_top: int) -> list[Likelihood]:
    """Look up each id in the distribution before it, at temperature 1 and before all filters."""
    log_probs = log_softmax(logits)
    chosen = log_probs[np.arange(len(ids)), ids].tolist()
    num_top = min(num_top, log_probs.shape[1])
    if num_top == 0:
        return [Likelihood(log_prob, {}) for log_prob in chosen]
    likeliest = np.argsort(-log_probs, axis=1, kind="stable")[:, :num_top]
    values = np.take_along_axis(log_probs, likeliest, axis=1).tolist()
    rows = zip(ids.tolist(), chosen, likeliest.tolist(), values, strict=True)
    return [
        Likelihood(log_prob, dict(zip(top, top_values, strict=True)) | {char_id: log_prob})
        for char_id, log_prob, top, top_values in rows
    ]


class TokenLog:
    """The tokens of a text as its ids arrive, given out as the text becomes final.

    Args:
        vocab: of the ids.
        names: how each id is written.
        with_top: whether tokens have alternatives.
        offset: where the first one begins.
    """

    def __init__(self, vocab: Vocabulary, names: Sequence[str], *, with_top: bool, offset: int = 0) -> None:
        self._names, self._with_top, self._offset = names, with_top, offset
        self._decoder, self._num_symbols = IncrementalDecoder(vocab), len(vocab.symbols)
        self._unk_id = vocab.unk_id
        self._waiting: list[tuple[int, Token]] = []  # with where each ends

    def add(self, ids: Sequence[int], found: Sequence[Likelihood | None]) -> None:
        """Add ids with what was predicted in their places."""
        for char_id, prediction in zip(ids, found, strict=True):
            top = None
            if self._with_top and prediction is not None:
                top = {self._names[other]: value for other, value in prediction.top.items()}
            log_prob = None if prediction is None else prediction.log_prob
            token = Token(self._names[char_id], log_prob, top, self._offset)
            if char_id == self._unk_id:
                self._offset += 1
            elif char_id < self._num_symbols:
                self._offset += len("".join(self._decoder.push(char_id)))
            self._waiting.append((self._offset, token))

    def take(self, length: int) -> list[Token]:
        """Remove and return the tokens in this many characters of the text, and a boundary that ends it."""
        number = sum(end <= length for end, _ in self._waiting)
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        return [token for _, token in taken]
