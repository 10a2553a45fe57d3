"""Surprisal: what each character of a text cost a model, and which ones it least expected.

    s_t = −log₂ p(x_t | x_1 … x_{t−1})     in bits, read in one pass from the zero state (the *stream* protocol)

The text's first character is read and not charged: before anything is read there is no distribution. A model of documents reads a
boundary first, so there it is charged; what parts two documents is one symbol, the next boundary, and is charged once. A
character that the model has never seen costs −log₂ p(<unk>) and a uniform choice among the unseen code points; without
``<unk>`` it is left out: neither read nor charged. With unit byte, a character costs what its bytes cost together.

The mean is that of `stream_loss` on the same text.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from charloom.config import TextConfig
from charloom.engines import Model, State
from charloom.errors import DataError, DivergedError
from charloom.evaluation.protocols import exact_stretches, walk_stretches
from charloom.text import Vocabulary, clean, encode_for_scoring
from charloom.text.documents import Splitter
from charloom.text.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int, Int64
    from numpy import ndarray as Array

CONTEXT_CHARS = 20
"""Characters shown on either side of an oddity."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """A character that the model did not expect, and where it stands.

    Attributes:
        char: the character, or what parts two documents.
        bits: its surprisal.
        offset: characters before it in the text.
        line: its line, from 1.
        column: its place in the line in characters, from 1.
        before: the text before it, at most `CONTEXT_CHARS`.
        after: the text behind it, as long.
        expected: what the model held likeliest there; None where that is no character.
        expected_probability: how likely.
    """

    char: str
    bits: float
    offset: int
    line: int
    column: int
    before: str
    after: str
    expected: str | None
    expected_probability: float


@dataclass(frozen=True, eq=False)
class Surprisals:
    """A text, what each character of it cost, and what stood likeliest in its place.

    Attributes:
        chars: the text's characters, (n,); joined they are the text. What parts two documents is one of them.
        bits: surprisal, (n,); NaN where a character is not charged.
        unknown: which the model has never seen, (n,).
        expected_ids: the likeliest id in place of each, (n,); −1 where there was no prediction.
        expected_probabilities: its probability, (n,).
        num_predictions: symbols charged: characters, or bytes with unit byte.
        vocab: the model's.
    """

    chars: tuple[str, ...]
    bits: Float64[Array, " n"]
    unknown: Bool[Array, " n"]
    expected_ids: Int64[Array, " n"]
    expected_probabilities: Float64[Array, " n"]
    num_predictions: int
    vocab: Vocabulary

    @property
    def unit(self) -> Literal["char", "byte"]:
        """What one prediction is."""
        return self.vocab.unit

    @property
    def total_bits(self) -> float:
        """All surprisals together."""
        return float(np.nansum(self.bits))

    @property
    def bits_per_char(self) -> float:
        """Mean bits a prediction; NaN where nothing was charged."""
        return self.total_bits / self.num_predictions if self.num_predictions else math.nan

    @property
    def num_unknown(self) -> int:
        """Characters that the model has never seen."""
        return int(self.unknown.sum())

    def oddities(self, top: int = 10) -> list[Oddity]:
        """The `top` characters of the highest surprisal, highest first; of equal ones the earlier first."""
        charged = np.flatnonzero(~np.isnan(self.bits))
        order = charged[np.argsort(-self.bits[charged], kind="stable")][: max(0, top)]
        offsets = np.cumsum([0, *map(len, self.chars)])
        text = "".join(self.chars)
        newlines = [place for place, char in enumerate(text) if char == "\n"]
        return [self._oddity(int(i), int(offsets[i]), text, newlines) for i in order]

    def _oddity(self, i: int, offset: int, text: str, newlines: Sequence[int]) -> Oddity:
        end = offset + len(self.chars[i])
        lines_before = bisect_left(newlines, offset)
        return Oddity(
            char=self.chars[i],
            bits=float(self.bits[i]),
            offset=offset,
            line=lines_before + 1,
            column=offset - (newlines[lines_before - 1] if lines_before else -1),
            before=text[max(0, offset - CONTEXT_CHARS) : offset],
            after=text[end : end + CONTEXT_CHARS],
            expected=self._expected(int(self.expected_ids[i])),
            expected_probability=float(self.expected_probabilities[i]),
        )

    def _expected(self, char_id: int) -> str | None:
        if char_id < 0 or char_id >= len(self.vocab.symbols):
            return "\n" if char_id >= 0 and char_id == self.vocab.boundary_id else None
        symbol = self.vocab.symbols[char_id]
        return chr(symbol) if self.unit == "char" or symbol < 0x80 else None


def surprisals_of(model: Model, vocab: Vocabulary, text: str, config: TextConfig | None = None) -> Surprisals:
    """Read a text in one pass from the zero state and charge each character.

    Args:
        model: any engine's.
        vocab: its vocabulary.
        text: what to score, at least one character.
        config: how the model's own text was read: the text is cleaned and parted into documents by it. None leaves it as it is.

    Raises:
        DataError: the text is empty.
        DivergedError: the model's numbers are not finite.

    Example:
        >>> from types import SimpleNamespace
        >>> even = SimpleNamespace(
        ...     initial_state=lambda rows: [],
        ...     forward=lambda ids, state, resets: (np.zeros((*ids.shape, 4)), state),
        ... )
        >>> found = surprisals_of(even, Vocabulary.from_text("abcd"), "bad!")
        >>> found.bits.tolist(), found.bits_per_char, found.num_unknown
        ([nan, 2.0, 2.0, nan], 2.0, 1)
    """
    if not text:
        raise DataError(
            "the text is empty", why="there is nothing to score", fix="name a text that holds some"
        )
    text = clean(text, config) if config is not None else text
    scoring = encode_for_scoring(vocab, text, config)
    mode = config.documents if config is not None and vocab.boundary_id is not None else "none"
    chars, counts, unknown = _laid_out(text, vocab, mode)
    owners = np.repeat(np.arange(len(chars)), counts)  # of each id, the character that it belongs to
    assert len(owners) == len(scoring.ids)
    nats, expected, probability = _predictions(model, scoring.ids, vocab.boundary_id)
    if vocab.unk_id is not None:
        nats[scoring.ids[1:] == vocab.unk_id] += scoring.extra_nats
    bits, ids, probabilities = (
        np.full(len(chars), np.nan),
        np.full(len(chars), -1),
        np.full(len(chars), np.nan),
    )
    charged = owners[1:]
    bits[charged] = 0.0
    np.add.at(bits, charged, nats / math.log(2))
    ids[charged[::-1]], probabilities[charged[::-1]] = (
        expected[::-1],
        probability[::-1],
    )  # the first of several bytes stays
    kept = slice(0 if chars[0] else 1, len(chars) if chars[-1] else -1)
    return Surprisals(
        tuple(chars[kept]), bits[kept], unknown[kept], ids[kept], probabilities[kept], len(charged), vocab
    )


def _predictions(
    model: Model, ids: Int[Array, " N"], boundary_id: int | None
) -> tuple[Float64[Array, " M"], Int64[Array, " M"], Float64[Array, " M"]]:
    """Of each id after the first: its nats, the likeliest id there, and that one's probability; M = N − 1."""
    num = max(0, len(ids) - 1)
    nats, expected, probability = np.zeros(num), np.zeros(num, np.int64), np.zeros(num)
    if num:
        stretches = exact_stretches(num)
        state = model.initial_state(len(stretches[0]))
        for places, scored, found in walk_stretches(
            _reader(model), state, ids, stretches, boundary_id=boundary_id
        ):
            for whole, part in zip((nats, expected, probability), found, strict=True):
                whole[places[scored]] = part[scored]
    return nats, expected, probability


Found = tuple["Float64[Array, 'L T']", "Int64[Array, 'L T']", "Float64[Array, 'L T']"]


def _reader(model: Model) -> Callable[[Window, State], tuple[Found, State]]:
    def read(window: Window, state: State) -> tuple[Found, State]:
        logits, after = model.forward(window.inputs, state, window.resets)
        log_probs = _log_softmax(logits)
        likeliest = log_probs.argmax(axis=-1)
        nats = -_at(log_probs, window.targets)
        if not np.isfinite(nats).all():
            raise DivergedError(
                "the model gives a character of this text no finite probability",
                why="only finite logits define a distribution over characters",
                fix="check the model file; if training diverged, use an earlier checkpoint",
            )
        return (nats, likeliest, np.exp(_at(log_probs, likeliest))), after

    return read


def _log_softmax(logits: Float[Array, "L T V"]) -> Float64[Array, "L T V"]:
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs


def _at(rows: Float64[Array, "L T V"], ids: Int[Array, "L T"]) -> Float64[Array, "L T"]:
    found: Array = np.take_along_axis(rows, np.asarray(ids)[..., None], axis=-1)[..., 0]
    return found


def _laid_out(
    text: str, vocab: Vocabulary, mode: str
) -> tuple[list[str], Int64[Array, " n"], Bool[Array, " n"]]:
    """The text's characters, how many ids each has, and which are unknown; with documents, the breaks among them.

    What stands before the first document comes first (it may be nothing) and what stands behind the last comes last.
    """
    if mode == "none":
        return list(text), *_symbols(text, vocab)
    kept, starts = Splitter(mode).feed(text, final=True)
    chars: list[str] = []
    counts: list[Int64[Array, " m"]] = []
    unknown: list[Bool[Array, " m"]] = []
    position = 0
    for start, stop in zip(starts, [*starts[1:], len(kept)]):
        document = kept[start:stop]
        begin = text.index(document, _behind_break(text, position, mode))
        own_counts, own_unknown = _symbols(document, vocab)
        chars += [text[position:begin], *document]
        counts += [np.ones(1, np.int64), own_counts]
        unknown += [np.zeros(1, bool), own_unknown]
        position = begin + len(document)
    return (
        [*chars, text[position:]],
        np.concatenate([*counts, np.zeros(1, np.int64)]),
        np.concatenate([*unknown, np.zeros(1, bool)]),
    )


def _symbols(text: str, vocab: Vocabulary) -> tuple[Int64[Array, " n"], Bool[Array, " n"]]:
    """How many ids each character becomes, and whether the model has never seen it."""
    if vocab.unit == "byte":
        sizes = np.array([len(char.encode("utf-8", "surrogatepass")) for char in text], np.int64)
        return sizes, np.zeros(len(text), bool)
    known = vocab.contains(text)
    counts = known.astype(np.int64) if vocab.unk_id is None else np.ones(len(text), np.int64)
    return counts, ~known


def _behind_break(text: str, position: int, mode: str) -> int:
    """Where the next document can begin at the earliest: newlines and separators are no part of one."""
    separator = (
        "\n" if mode in ("line", "blank-line", "file") else mode.replace("\\n", "\n").replace("\\t", "\t")
    )
    found = re.compile(f"(?:\n|{re.escape(separator)})*").match(text, position)
    assert found is not None
    return found.end()
