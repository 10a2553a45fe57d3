"""What a forecast knows about a text: size, vocabulary, what an n-gram needs for the held-out part, and how much is copied.

The n-gram of `charloom.evaluation.ngram` is the yardstick of the loss law: a network needs a few percent more or fewer
bits than it, by how much it will read. It is primed with at most a million characters, so it takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charloom.evaluation.ngram import ngram_surprisals
from charloom.evaluation.overlap import copied_share
from charloom.text import Corpus
from charloom.training.facts import OVERLAP_TRAIN_CHARS

MOST_TRAIN_CHARS, MOST_HELD_OUT_CHARS = 1_000_000, 200_000
MAX_ORDER = 8


@dataclass(frozen=True, slots=True)
class TextFacts:
    """Numbers that a loss law reads.

    Attributes:
        train_chars: characters of the training part.
        vocab_size: V.
        held_out_chars: held-out characters that were scored.
        ngram_bits: bits per held-out character of the n-grams of order 1, 2, ….
        copied: share of the held-out characters inside verbatim copies of training text.
    """

    train_chars: int
    vocab_size: int
    held_out_chars: int
    ngram_bits: tuple[float, ...]
    copied: float = 0.0

    @property
    def best_bits(self) -> float:
        """Bits of the best order."""
        return min(self.ngram_bits)

    @property
    def best_order(self) -> int:
        """The order with the fewest bits."""
        return 1 + int(np.argmin(self.ngram_bits))


def measure_text(corpus: Corpus, held_out_chars: int = MOST_HELD_OUT_CHARS) -> TextFacts | None:
    """Measure a text; None if nothing is held out.

    Args:
        corpus: training and validation part.
        held_out_chars: how much of the validation part the training's final report will measure.
    """
    if corpus.validation is None or len(corpus.validation) < 2:
        return None
    held_out = np.asarray(corpus.validation[: min(held_out_chars, MOST_HELD_OUT_CHARS)])
    train, vocab_size = np.asarray(corpus.train[-MOST_TRAIN_CHARS:]), len(corpus.vocab)
    by_order = ngram_surprisals(train, held_out, vocab_size, max_order=MAX_ORDER)
    every = tuple(float(bits.mean()) for bits in by_order)
    copied = copied_share(
        np.asarray(corpus.train[-OVERLAP_TRAIN_CHARS:]), held_out, boundary_id=corpus.vocab.boundary_id
    )
    return TextFacts(len(corpus.train), vocab_size, len(held_out), every, copied)
