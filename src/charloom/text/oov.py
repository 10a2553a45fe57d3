"""How scoring handles characters the model has never seen: they have a cost, or are skipped and counted.

With ``<unk>`` an unseen character c costs  −ln p(<unk>) + ln(1,114,112 − 2,048 − K)  nats: the model's own
probability of an unknown character, and a uniform choice among the code points (without surrogates) that are not
among its K symbols. Without ``<unk>`` it has no probability at all, so it is skipped and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import TextConfig
from charloom.text.documents import Splitter
from charloom.text.normalise import clean
from charloom.text.split import begins_char
from charloom.text.vocabulary import NUM_CODE_POINTS, NUM_SURROGATES, Vocabulary, codes_of

if TYPE_CHECKING:
    from jaxtyping import UInt
    from numpy import ndarray as Array


@dataclass(frozen=True, eq=False)
class Scoring:
    """A text as ids to be scored.

    Attributes:
        ids: (n,); unseen characters are ``<unk>``, or skipped without it; with boundaries if the model has documents.
        unknown_counts: how often each unseen character occurs, in code-point order.
        num_chars: characters of the text, unseen ones included, boundaries and breaks between documents not.
        extra_nats: added to the loss of each ``<unk>`` in `ids`; 0 if the model has none.
    """

    ids: UInt[Array, " n"]
    unknown_counts: Mapping[str, int]
    num_chars: int
    extra_nats: float

    @property
    def num_unknown(self) -> int:
        """The number of unseen characters in the text."""
        return sum(self.unknown_counts.values())

    @property
    def unknown_fraction(self) -> float:
        """Unseen characters as a fraction of the text's characters."""
        return self.num_unknown / self.num_chars if self.num_chars else 0.0


def encode_for_scoring(vocab: Vocabulary, text: str, config: TextConfig | None = None) -> Scoring:
    """Convert any text to ids that a model can score, after cleaning and splitting by the model's `config` (if any).

    Example:
        >>> scoring = encode_for_scoring(Vocabulary.from_text("abc"), "a bad cab")
        >>> scoring.ids.tolist(), scoring.unknown_counts, scoring.num_chars
        ([0, 1, 0, 2, 0, 1], {' ': 2, 'd': 1}, 9)
    """
    mode = "none"
    if config is not None:
        text, mode = clean(text, config), config.documents if vocab.boundary_id is not None else "none"
    text, starts = Splitter(mode).feed(text, final=True)
    known = vocab.contains(text)
    unknown = {} if known.all() else vocab.unknown(text)
    if vocab.unit == "byte":
        starts = np.flatnonzero(begins_char(codes_of(text, "byte")))[starts]
    if vocab.unk_id is None and unknown:
        starts = starts - np.concatenate([[0], np.cumsum(~known)])[starts]
        ids = vocab.encode_known(text)
    else:
        ids = vocab.encode(text)
    if len(starts):
        assert vocab.boundary_id is not None
        ids = np.insert(ids, starts, vocab.dtype.type(vocab.boundary_id))
    return Scoring(ids, unknown, len(text), unseen_nats(vocab))


def unseen_nats(vocab: Vocabulary) -> float:
    """The cost of choosing which unseen character an ``<unk>`` is, in nats; 0 without ``<unk>``.

    Example:
        >>> unseen_nats(Vocabulary("char", (97, 98), ("<unk>",)))
        13.92...
    """
    return 0.0 if vocab.unk_id is None else math.log(NUM_CODE_POINTS - NUM_SURROGATES - len(vocab.symbols))
