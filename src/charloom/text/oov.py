"""What scoring charges for characters that the model has never seen.

An unseen character costs an escape from the alphabet, and a uniform choice among the code points outside it:

    −ln p(escape) + ln(1,114,112 − 2,048 − K)  nats        K symbols; 2,048 surrogates are no characters

With ``<unk>``, p(escape) is the model's own probability of ``<unk>``. Without, the model has no such probability and
cannot read the character: it is skipped, and the escape has the fixed probability 2⁻²⁰, about one in a million. An
unseen character then costs 40.1 bits wherever it stands, more than nearly every known one; and the known ones, whose
probabilities should shrink by the factor 1 − 2⁻²⁰, would cost a millionth of a bit more, which is not charged.

An unseen first character, which nothing predicts, is charged without the probability of ``<unk>``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import TextConfig
from charloom.text.documents import Splitter
from charloom.text.normalise import clean
from charloom.text.vocabulary import NUM_CODE_POINTS, NUM_SURROGATES, Vocabulary, byte_counts

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt
    from numpy import ndarray as Array


ESCAPE_BITS = 20
"""The cost of an escape from the alphabet of a model without ``<unk>``."""


@dataclass(frozen=True, eq=False)
class Scoring:
    """A text as ids to be scored.

    Attributes:
        ids: (n,); unseen characters are ``<unk>``, or absent without it; with boundaries if the model has documents.
        unknown_counts: how often each unseen character occurs, in code-point order.
        num_chars: characters of the text, unseen ones included, boundaries and breaks between documents not.
        unseen_nats: charged for each unseen character, beside the loss of its ``<unk>`` if `ids` has one.
    """

    ids: UInt[Array, " n"]
    unknown_counts: Mapping[str, int]
    num_chars: int
    unseen_nats: float

    @property
    def num_unknown(self) -> int:
        """The number of unseen characters in the text."""
        return sum(self.unknown_counts.values())

    @property
    def unknown_fraction(self) -> float:
        """Unseen characters as a fraction of the text's characters."""
        return self.num_unknown / self.num_chars if self.num_chars else 0.0


def encode_for_scoring(
    vocab: Vocabulary, text: str | Sequence[str], config: TextConfig | None = None
) -> Scoring:
    """Convert any text to ids that a model can score, after cleaning and splitting by the model's `config` (if any).

    A sequence has the texts of several files (or rows of a table): the end of each ends a document.

    Example:
        >>> scoring = encode_for_scoring(Vocabulary.from_text("abc"), "a bad cab")
        >>> scoring.ids.tolist(), scoring.unknown_counts, scoring.num_chars
        ([0, 1, 0, 2, 0, 1], {' ': 2, 'd': 1}, 9)
    """
    splitter = Splitter("none")
    texts = [text] if isinstance(text, str) else text
    if config is not None:
        texts = [clean(one, config) for one in texts]
        if vocab.boundary_id is not None:
            splitter = Splitter(config.documents, config.keep_separator)
    text, starts = _joined(splitter, texts)
    known = vocab.contains(text)
    unknown = {} if known.all() else vocab.unknown(text)
    if vocab.unit == "byte":
        starts = np.concatenate([[0], np.cumsum(byte_counts(text))])[starts]
    if vocab.unk_id is None and unknown:
        starts = starts - np.concatenate([[0], np.cumsum(~known)])[starts]
        ids = vocab.encode_known(text)
    else:
        ids = vocab.encode(text)
    if len(starts):
        assert vocab.boundary_id is not None
        ids = np.insert(ids, starts, vocab.dtype.type(vocab.boundary_id))
    return Scoring(ids, unknown, len(text), unseen_nats(vocab))


def _joined(splitter: Splitter, texts: Sequence[str]) -> tuple[str, Int64[Array, " n"]]:
    """All texts without their breaks, and the offsets where documents begin; without documents, each begins a line."""
    pieces, starts, length = list[str](), [np.empty(0, np.int64)], 0
    for text in texts:
        if splitter.is_stream and pieces and pieces[-1] and not pieces[-1].endswith("\n"):
            pieces.append("\n")
            length += 1
        marked = splitter.feed(text, final=True)
        pieces.append(marked.text)
        starts.append(marked.starts + length)
        length += len(marked.text)
    return "".join(pieces), np.concatenate(starts)


def unseen_nats(vocab: Vocabulary) -> float:
    """The charge for an unseen character in nats; with ``<unk>``, to be added to −ln p(<unk>).

    Example:
        >>> unseen_nats(Vocabulary("char", (97, 98), ("<unk>",)))
        13.92...
        >>> unseen_nats(Vocabulary("char", (97, 98))) / math.log(2)  # in bits
        40.08...
    """
    choice = math.log(NUM_CODE_POINTS - NUM_SURROGATES - len(vocab.symbols))
    return choice if vocab.unk_id is not None else choice + ESCAPE_BITS * math.log(2)
