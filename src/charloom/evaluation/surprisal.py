"""Surprisal: how many bits each character of a text costs a model, and which characters it expected least.

    s_t = −log₂ p(x_t | x_1 … x_{t−1})     in bits, read in one pass from the zero state (the *stream* protocol)

The first character is read but not charged, because there is no prediction before it. A model of documents reads a
boundary first, so it is charged there; the separator between two documents is one symbol, the next boundary, and is
charged once. A character that the model has never seen is charged by the rule of `charloom.text.oov`, wherever it
stands; without ``<unk>`` it is not read. With unit byte, a character costs the sum over its bytes.

The mean equals that of ``evaluate`` on the same text.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from charloom.config import NAMED_SEPARATORS, TextConfig, unescaped
from charloom.engines import EngineModel, State
from charloom.errors import DataError, DivergedError
from charloom.evaluation.line_surprisal import LineSurprisal, ranked_lines
from charloom.evaluation.protocols import exact_segments, iterate_segments
from charloom.generation.filters import log_softmax
from charloom.summary import Summarised, Summary
from charloom.text import Vocabulary, encode_for_scoring
from charloom.text.batching import Window
from charloom.text.documents import Splitter
from charloom.text.normalise import clean
from charloom.text.vocabulary import byte_counts

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int, Int64
    from numpy import ndarray as Array

CONTEXT_CHARS = 20
"""Characters shown on each side of an oddity."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """A character that the model did not expect, and its position.

    Attributes:
        char: the character, or the separator between two documents.
        offset: characters before it in the text.
        line, column: its position, both from 1; columns count characters.
        before: the text before it, at most `CONTEXT_CHARS` characters.
        after: the text after it, at most as many.
        unknown: whether the model has never seen it.
        expected: the model's likeliest symbol there; None if it is not a character.
        expected_probability: its probability; None if nothing was predicted there.
    """

    char: str
    bits: float
    offset: int
    line: int
    column: int
    before: str
    after: str
    expected: str | None
    expected_probability: float | None
    unknown: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Surprisals(Summarised):
    """A text with the surprisal of each character and the likeliest symbol in its place.

    Attributes:
        chars: the text's characters, (n,); joined, they are the text. A separator between documents is one of them.
        bits: surprisal, (n,); NaN if a character is not charged.
        unknown: which characters the model has never seen, (n,).
        expected_ids: the likeliest id in place of each character, (n,); −1 without a prediction.
        expected_probabilities: its probability, (n,).
        num_predictions: symbols charged: characters, or bytes with unit byte; unknown ones included.
        vocab: the model's vocabulary.
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
        """The unit of one prediction."""
        return self.vocab.unit

    @property
    def total_bits(self) -> float:
        """The sum of all surprisals."""
        return float(np.nansum(self.bits))

    @property
    def bits_per_char(self) -> float:
        """Mean bits per prediction; NaN if nothing is charged."""
        return self.total_bits / self.num_predictions if self.num_predictions else math.nan

    @property
    def num_unknown(self) -> int:
        """How many characters the model has never seen."""
        return int(self.unknown.sum())

    @property
    def unknown_bits(self) -> float:
        """The part of `total_bits` that is charged for them."""
        return float(self.bits[self.unknown].sum())

    def oddities(self, top: int = 10) -> list[Oddity]:
        """The `top` characters with the highest surprisal, highest first; ties in text order."""
        charged = np.flatnonzero(~np.isnan(self.bits))
        order = charged[np.argsort(-self.bits[charged], kind="stable")][: max(0, top)]
        offsets = np.cumsum([0, *map(len, self.chars)])
        text = "".join(self.chars)
        newlines = [i for i, char in enumerate(text) if char == "\n"]
        return [self._oddity(int(i), int(offsets[i]), text, newlines) for i in order]

    def lines(self, top: int | None = None) -> list[LineSurprisal]:
        """The `top` lines with the highest surprisal per character, highest first; None = all."""
        return ranked_lines(self.chars, self.bits, self.unknown)[:top]

    def summary(self) -> Summary:
        """The mean, and the characters that the model expected least."""
        title = f"Surprisals: {self.bits_per_char:.4f} bits per {self.unit}, {len(self.chars):,} characters"
        odd = [f"{o.char!r} (line {o.line}, column {o.column}, {o.bits:.1f} bits)" for o in self.oddities(3)]
        rows = [("least expected", ", ".join(odd) or "none")]
        if self.num_unknown:
            rows.append(
                ("unknown", f"{self.num_unknown:,} characters, {self.unknown_bits:,.1f} bits in total")
            )
        return Summary(title, tuple(rows))

    def _oddity(self, i: int, offset: int, text: str, newlines: Sequence[int]) -> Oddity:
        end = offset + len(self.chars[i])
        lines_before, probability = bisect_left(newlines, offset), float(self.expected_probabilities[i])
        return Oddity(
            char=self.chars[i],
            bits=float(self.bits[i]),
            offset=offset,
            line=lines_before + 1,
            column=offset - (newlines[lines_before - 1] if lines_before else -1),
            before=text[max(0, offset - CONTEXT_CHARS) : offset],
            after=text[end : end + CONTEXT_CHARS],
            expected=self._expected(int(self.expected_ids[i])),
            expected_probability=None if math.isnan(probability) else probability,
            unknown=bool(self.unknown[i]),
        )

    def _expected(self, char_id: int) -> str | None:
        if char_id < 0 or char_id >= len(self.vocab.symbols):
            return "\n" if char_id >= 0 and char_id == self.vocab.boundary_id else None
        symbol = self.vocab.symbols[char_id]
        return chr(symbol) if self.unit == "char" or symbol < 0x80 else None


def surprisals_of(
    model: EngineModel,
    vocab: Vocabulary,
    text: str,
    config: TextConfig | None = None,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> Surprisals:
    """Read a text in one pass from the zero state and measure the surprisal of each character.

    Args:
        model: a model of any engine.
        vocab: its vocabulary.
        text: the text to score, at least one character.
        config: the training text's settings, by which the text is normalised and split into documents; None = neither.
        on_progress: called with the share of the text that is read, 0 … 1.

    Raises:
        DataError: the text is empty.
        DivergedError: a probability is not finite.

    Example:
        >>> from types import SimpleNamespace
        >>> even = SimpleNamespace(
        ...     initial_state=lambda rows: [],
        ...     forward=lambda ids, state, resets: (np.zeros((*ids.shape, 4)), state),
        ... )
        >>> found = surprisals_of(even, Vocabulary.from_text("abcd"), "bad!")
        >>> found.bits.round(1).tolist(), found.num_unknown
        ([nan, 2.0, 2.0, 40.1], 1)
    """
    if not text:
        raise DataError("the text is empty", why="there is nothing to score", fix="pass a longer text")
    text = clean(text, config) if config is not None else text
    scoring = encode_for_scoring(vocab, text, config)
    documents = config if config is not None and vocab.boundary_id is not None else TextConfig()
    chars, counts, unknown = _characters(text, vocab, documents)
    owners = np.repeat(np.arange(len(chars)), counts)  # the character that each id belongs to
    assert len(owners) == len(scoring.ids)
    nats, expected, probability = _predictions(model, scoring.ids, vocab.boundary_id, on_progress)
    bits, probabilities = np.full((2, len(chars)), np.nan)
    ids = np.full(len(chars), -1)
    charged = owners[1:]
    bits[charged] = 0.0
    np.add.at(bits, charged, nats / math.log(2))
    last_to_first = charged[::-1]  # so that the prediction of a character's first byte stays
    ids[last_to_first], probabilities[last_to_first] = expected[::-1], probability[::-1]
    num_predictions = len(charged) + int((unknown & np.isnan(bits)).sum())
    bits[unknown] = np.nan_to_num(bits[unknown]) + scoring.unseen_nats / math.log(2)
    kept = slice(0 if chars[0] else 1, len(chars) if chars[-1] else -1)
    return Surprisals(
        tuple(chars[kept]), bits[kept], unknown[kept], ids[kept], probabilities[kept], num_predictions, vocab
    )


def _predictions(
    model: EngineModel,
    ids: Int[Array, " N"],
    boundary_id: int | None,
    on_progress: Callable[[float], None] | None,
) -> tuple[Float64[Array, " M"], Int64[Array, " M"], Float64[Array, " M"]]:
    """For each id after the first: its nats, the likeliest id and its probability; M = N − 1."""
    num, num_read = max(0, len(ids) - 1), 0
    nats, expected, probability = np.zeros(num), np.zeros(num, np.int64), np.zeros(num)
    if num:
        segments = exact_segments(num)
        state = model.initial_state(len(segments[0]))
        windows = iterate_segments(_reader(model), state, ids, segments, boundary_id=boundary_id)
        for positions, scored, predicted in windows:
            for whole, part in zip((nats, expected, probability), predicted, strict=True):
                whole[positions[scored]] = part[scored]
            num_read += int(scored.sum())
            if on_progress is not None:
                on_progress(num_read / num)
    return nats, expected, probability


Predicted = tuple["Float64[Array, 'L T']", "Int64[Array, 'L T']", "Float64[Array, 'L T']"]


def _reader(model: EngineModel) -> Callable[[Window, State], tuple[Predicted, State]]:
    def read(window: Window, state: State) -> tuple[Predicted, State]:
        logits, after = model.forward(window.inputs, state, window.resets)
        log_probs = log_softmax(logits)
        likeliest = log_probs.argmax(axis=-1)
        nats = -_at(log_probs, window.targets)
        if not np.isfinite(nats).all():
            raise DivergedError(
                "the model's probability for a character of this text is not finite",
                why="only finite logits define a distribution over characters",
                fix="check the model file; if training diverged, use an earlier checkpoint",
            )
        return (nats, likeliest, np.exp(_at(log_probs, likeliest))), after

    return read


def _at(rows: Float64[Array, "L T V"], ids: Int[Array, "L T"]) -> Float64[Array, "L T"]:
    chosen: Array = np.take_along_axis(rows, np.asarray(ids)[..., None], axis=-1)[..., 0]
    return chosen


def _characters(
    text: str, vocab: Vocabulary, config: TextConfig
) -> tuple[list[str], Int64[Array, " n"], Bool[Array, " n"]]:
    """The text's characters, how many ids each has, and which are unknown.

    With documents, each separator is one item; the first and the last item are the text before the first document and
    after the last, which may be empty.
    """
    if config.documents == "none":
        return list(text), *_symbols(text, vocab)
    kept, starts = Splitter(config.documents, config.keep_separator).feed(text, final=True)
    chars: list[str] = []
    counts: list[Int64[Array, " m"]] = []
    unknown: list[Bool[Array, " m"]] = []
    position = 0
    for start, stop in zip(starts, [*starts[1:], len(kept)]):
        document = kept[start:stop]
        begin = text.index(document, _after_separator(text, position, config))
        own_counts, own_unknown = _symbols(document, vocab)
        chars += [text[position:begin], *document]
        counts += [np.ones(1, np.int64), own_counts]
        unknown += [np.zeros(1, bool), own_unknown]
        position = begin + len(document)
    last = np.zeros(1, np.int64)
    return [*chars, text[position:]], np.concatenate([*counts, last]), np.concatenate([*unknown, last > 0])


def _symbols(text: str, vocab: Vocabulary) -> tuple[Int64[Array, " n"], Bool[Array, " n"]]:
    """How many ids each character becomes, and whether the model has never seen it."""
    if vocab.unit == "byte":
        return byte_counts(text), np.zeros(len(text), bool)
    known = vocab.contains(text)
    counts = known.astype(np.int64) if vocab.unk_id is None else np.ones(len(text), np.int64)
    return counts, ~known


def _after_separator(text: str, position: int, config: TextConfig) -> int:
    """The earliest start of the next document: newlines are not part of it, nor are separators that are not kept."""
    newline = config.documents in NAMED_SEPARATORS or config.keep_separator != "no"
    separator = "\n" if newline else unescaped(config.documents)
    found = re.compile(f"(?:\n|{re.escape(separator)})*").match(text, position)
    assert found is not None
    return found.end()
