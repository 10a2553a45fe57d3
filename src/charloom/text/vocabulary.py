"""The vocabulary: the characters a model knows, and their ids.

    symbols   the text's distinct code points in code-point order (unit char), or all 256 bytes (unit byte)
    specials  after them, in this order: <unk> for any other character, <boundary> before each document

So the set of characters alone determines a vocabulary, and adding a special changes no other id.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from charloom.config import TextConfig, parse_replacements
from charloom.errors import DataError, ModelFileError, UnknownCharacterError
from charloom.summary import short_fields
from charloom.text.similar import group_by_skeleton, similar_char

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Int64, UInt, UInt32
    from numpy import ndarray as Array

UNK = "<unk>"
BOUNDARY = "<boundary>"
SPECIALS = (UNK, BOUNDARY)
NUM_CODE_POINTS = 0x110000
NUM_SURROGATES = 0x800
BOUNDARY_CODE = NUM_CODE_POINTS
"""The boundary in arrays of code points: one above the last code point of Unicode."""
MAX_SYMBOLS = 20_000
REPLACEMENT = 0xFFFD
REPLACEMENT_RARITY = 1000
"""A text with one U+FFFD in this many characters is refused; with fewer, a note says so."""


def code_points(text: str) -> UInt32[Array, " n"]:
    """The code points of a text, without a loop over its characters; lone surrogates are allowed.

    Example:
        >>> code_points("aé").tolist()
        [97, 233]
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def codes_of(text: str, unit: Literal["char", "byte"]) -> UInt32[Array, " n"]:
    """The codes that a vocabulary of that unit numbers: the text's code points, or its bytes (see `to_bytes`)."""
    if unit == "byte":
        return np.frombuffer(to_bytes(text), np.uint8).astype(np.uint32)
    return code_points(text)


def to_bytes(text: str) -> bytes:
    """The bytes of a text: UTF-8, and for each lone surrogate that stands for a byte (PEP 383) that byte.

    So the bytes of any file survive being read as a text. Any other lone surrogate becomes its three bytes.

    Example:
        >>> to_bytes("é" + b"\\xff".decode("utf-8", "surrogateescape"))
        b'\\xc3\\xa9\\xff'
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        pieces = re.split("([\ud800-\udc7f\udd00-\udfff]+)", text)
        return b"".join(
            piece.encode("utf-8", "surrogatepass" if number % 2 else "surrogateescape")
            for number, piece in enumerate(pieces)
        )


def byte_counts(text: str) -> Int64[Array, " n"]:
    """How many bytes `to_bytes` gives each character of a text.

    Example:
        >>> byte_counts("aé€😀").tolist()
        [1, 2, 3, 4]
    """
    codes = code_points(text)
    counts = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    counts[(codes >= 0xDC80) & (codes < 0xDD00)] = 1
    return counts


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a model in the order of their ids.

    Args:
        unit: ``char`` (a symbol is a code point) or ``byte`` (a UTF-8 byte).
        symbols: ascending code points, or the bytes 0 … 255.
        specials: a subset of `SPECIALS`, in that order; their ids follow the symbols.
        labels: names of start symbols; reserved.

    Example:
        >>> vocab = Vocabulary.from_text("hello")
        >>> vocab.encode("hole").tolist(), vocab.decode([1, 0, 2, 3])
        ([1, 3, 2, 0], 'helo')
    """

    unit: Literal["char", "byte"]
    symbols: tuple[int, ...]
    specials: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    __repr__ = short_fields

    def __len__(self) -> int:
        return len(self.symbols) + len(self.specials)

    @classmethod
    def from_text(cls, text: str, config: TextConfig | None = None) -> Vocabulary:
        """The vocabulary of a text, with `config`'s minimum count, unit and specials.

        Raises:
            DataError: as `build_vocabulary`.
        """
        return build_vocabulary(_counts_of(code_points(text)), config or TextConfig())

    @property
    def unk_id(self) -> int | None:
        """The id of every character outside the vocabulary, if there is one."""
        return len(self.symbols) if UNK in self.specials else None

    @property
    def boundary_id(self) -> int | None:
        """The id that begins each document, if there is one."""
        return len(self) - 1 if BOUNDARY in self.specials else None

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest of uint8, uint16 and uint32 that holds every id."""
        return np.dtype(np.min_scalar_type(max(len(self) - 1, 0)))

    def encode(self, text: str) -> UInt[Array, " n"]:
        """Convert a text to ids.

        Returns:
            One id per character, or per UTF-8 byte with unit byte. A character outside the vocabulary becomes `unk_id`.

        Raises:
            UnknownCharacterError: a character is outside the vocabulary, which has no ``<unk>``.
        """
        codes = codes_of(text, self.unit)
        ids = self._look_up(codes)
        if self.unk_id is None and (missing := ids == len(self)).any():
            raise _unknown_character(self, text, codes, missing)
        return ids.astype(self.dtype, copy=False)

    def encode_known(self, text: str) -> UInt[Array, " n"]:
        """The ids of the characters that are among the symbols; others are skipped.

        Example:
            >>> Vocabulary.from_text("abc").encode_known("bread").tolist()
            [1, 0]
        """
        codes = codes_of(text, self.unit)
        return self._look_up(codes[self.contains(text)]).astype(self.dtype, copy=False)

    def decode(
        self,
        ids: Int[Array, " n"] | list[int],
        *,
        boundary: str = "\n",
        unk: str = "\N{REPLACEMENT CHARACTER}",
    ) -> str:
        r"""Convert ids to a text.

        Args:
            ids: integers below ``len(self)``.
            boundary: the text to write for a boundary, before each document.
            unk: the text to write for ``<unk>``.

        Returns:
            The text. With unit byte, bytes that are not UTF-8 are shown as ``\xNN``.

        Example:
            >>> Vocabulary("byte", tuple(range(256))).decode([195, 169, 195])
            'é\\xc3'
        """
        tail = [{UNK: unk, BOUNDARY: boundary}[special] for special in self.specials]
        numbers = np.asarray(ids, np.intp)
        if self.unit == "byte":
            encoded = [to_bytes(text) for text in tail]
            chosen = np.array(self._pieces + encoded, object)[numbers]
            return b"".join(chosen.tolist()).decode("utf-8", "backslashreplace")
        return "".join(np.array(self._pieces + tail, object)[numbers].tolist())

    def contains(self, text: str) -> Bool[Array, " n"]:
        """For each character of the text (byte, with unit byte), whether it is among the symbols.

        Example:
            >>> Vocabulary.from_text("abc").contains("bad").tolist()
            [True, True, False]
        """
        mask: Bool[Array, " n"] = self._known[np.minimum(codes_of(text, self.unit), len(self._known) - 1)]
        return mask

    def unknown(self, text: str) -> dict[str, int]:
        """How often each character outside the vocabulary occurs, in the order of the first.

        Example:
            >>> Vocabulary.from_text("abc").unknown("bead")
            {'e': 1, 'd': 1}
        """
        codes = codes_of(text, self.unit)[~self.contains(text)]
        distinct, first, counts = np.unique(codes, return_index=True, return_counts=True)
        order = np.argsort(first)
        found = zip(distinct[order].tolist(), counts[order].tolist(), strict=True)
        return {chr(code): count for code, count in found}

    def similar(self, char: str) -> str | None:
        """The known character or characters that a reader would accept for `char`, or None.

        Example:
            >>> Vocabulary.from_text("it's fine").similar("’"), Vocabulary.from_text("fine").similar("ﬁ")
            ("'", 'fi')
        """
        return char if self.unit == "byte" else similar_char(char, self._set, self._by_skeleton)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as stored in a model file."""
        return {
            "unit": self.unit,
            "code_points": list(self.symbols),
            "specials": list(self.specials),
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Vocabulary:
        """Read the output of `to_json`, checking all of it.

        Raises:
            ModelFileError: it is not a vocabulary.
        """
        lists = [document.get(key) for key in ("code_points", "specials", "labels")]
        if document.get("unit") not in ("char", "byte") or not all(isinstance(part, list) for part in lists):
            raise _damaged("it must contain unit, code_points, specials and labels")
        symbols, specials, labels = (tuple(cast("list[Any]", part)) for part in lists)
        _check_symbols(document["unit"], symbols)
        if specials not in ((), (UNK,), (BOUNDARY,), SPECIALS):
            raise _damaged(
                f"the specials {list(specials)!r:.80} are not a subset of {list(SPECIALS)}, in that order"
            )
        if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
            raise _damaged("labels must be distinct strings")
        return cls(document["unit"], symbols, specials, labels)

    @cached_property
    def _table(self) -> UInt[Array, " codes"]:
        """Code point → id. The last entry is for every code above the last symbol; len(self) means no id."""
        top = max(self.symbols, default=-1) + 1
        missing = len(self) if self.unk_id is None else self.unk_id
        table = np.full(top + 1, missing, np.min_scalar_type(len(self)))
        table[list(self.symbols)] = np.arange(len(self.symbols))
        return table

    @cached_property
    def _known(self) -> Bool[Array, " codes"]:
        known = np.zeros(max(self.symbols, default=-1) + 2, bool)
        known[list(self.symbols)] = True
        return known

    @cached_property
    def _pieces(self) -> list[Any]:
        """Each symbol as text: a bytes object with unit byte, else a str."""
        return [bytes([code]) if self.unit == "byte" else chr(code) for code in self.symbols]

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(map(chr, self.symbols))

    @cached_property
    def _by_skeleton(self) -> dict[str, list[str]]:
        return group_by_skeleton(map(chr, self.symbols))

    def _look_up(self, codes: UInt[Array, " n"]) -> UInt[Array, " n"]:
        ids: UInt[Array, " n"] = self._table[np.minimum(codes, len(self._table) - 1)]
        return ids


def bytes_per_id(vocab: Vocabulary, ids: Int[Array, " n"]) -> float:
    """The mean number of UTF-8 bytes of a text's ids, counted in the text as `Vocabulary.decode` writes it.

    A boundary counts one byte, its newline; ``<unk>`` three, the replacement character. Empty ids give NaN.

    Example:
        >>> vocab = Vocabulary.from_text("aé")
        >>> bytes_per_id(vocab, vocab.encode("aé"))
        1.5
    """
    special = {UNK: len("\N{REPLACEMENT CHARACTER}".encode()), BOUNDARY: 1}
    lengths = [len(chr(code).encode("utf-8", "surrogatepass")) for code in vocab.symbols]
    own = [1] * len(lengths) if vocab.unit == "byte" else lengths
    sizes = np.array([*own, *(special[name] for name in vocab.specials)])
    counts = np.bincount(np.asarray(ids), minlength=len(sizes))
    return float(counts @ sizes / counts.sum()) if len(ids) else math.nan


def _counts_of(codes: UInt32[Array, " n"]) -> dict[int, int]:
    distinct, counts = np.unique(codes, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def _unknown_character(
    vocab: Vocabulary, text: str, codes: UInt[Array, " n"], missing: Bool[Array, " n"]
) -> UnknownCharacterError:
    """The error for the first missing character of a text, with the nearest one that the vocabulary has."""
    offset = int(missing.argmax())
    char, distinct = text[offset], len(np.unique(codes[missing]))
    known = vocab.similar(char)
    others = "" if distinct == 1 else f"; it does not know {distinct} distinct characters of the text"
    neighbour = "" if known is None else f"; the nearest it knows is {known!r}"
    instead = "" if known is None else " or --unknown similar"
    return UnknownCharacterError(
        f"character {char!r} (U+{ord(char):04X}) at offset {offset} is not in the vocabulary",
        why=f"this model knows {len(vocab.symbols)} characters, fixed when it was trained{others}{neighbour}",
        fix=f"retrain on text that contains it, or pass --unknown skip{instead}",
    )


def build_vocabulary(
    counts: Mapping[int, int], config: TextConfig, places: Mapping[int, str] | None = None
) -> Vocabulary:
    """Choose the symbols and specials of a text from its counts.

    ``<unk>`` is added if characters can be excluded (`min_count` above 1, `vocab_from` train), ``<boundary>``
    if there are documents. With unit byte the symbols are all 256 bytes, whatever the counts.

    `counts` has the occurrences of each code point (char) or byte value (byte); the boundary's are ignored. `places`
    says where a code point occurs first, for messages.

    Raises:
        DataError: no symbol is left, or the text seems to have been decoded with the wrong encoding.
    """
    boundary = () if config.documents == "none" else (BOUNDARY,)
    if config.unit == "byte":
        return Vocabulary("byte", tuple(range(256)), boundary)
    frequent = (code for code, count in counts.items() if count >= config.min_count and code != BOUNDARY_CODE)
    symbols = tuple(sorted(frequent))
    if not symbols:
        raise DataError(
            f"no character occurs {config.min_count} times",
            why="the vocabulary would be empty",
            fix="lower --min-count, or add text",
        )
    check_plausible(symbols, counts, config, places or {})
    unk = (UNK,) if config.min_count > 1 or config.vocab_from == "train" else ()
    return Vocabulary("char", symbols, unk + boundary)


def check_plausible(
    symbols: tuple[int, ...], counts: Mapping[int, int], config: TextConfig, places: Mapping[int, str]
) -> None:
    """Refuse a vocabulary that only a wrongly decoded text would have.

    Raises:
        DataError: one character in 1,000 is U+FFFD and `replace_chars` does not keep it, or there are more than 20,000.
    """
    kept = parse_replacements(config.replace_chars) if config.replace_chars is not None else {}
    times, total = counts.get(REPLACEMENT, 0), sum(counts.values()) - counts.get(BOUNDARY_CODE, 0)
    too_often = times * REPLACEMENT_RARITY >= total
    if REPLACEMENT in symbols and too_often and chr(REPLACEMENT) not in "".join(kept.values()):
        first = f", first {places[REPLACEMENT]}" if REPLACEMENT in places else ""
        raise DataError(
            f"the text contains the replacement character U+FFFD {times:,} time{'s' * (times > 1)}{first}",
            why=f"that is one in {total // times:,} characters, more than one in {REPLACEMENT_RARITY:,}: some program "
            "could not decode the original, so the text is damaged there",
            fix="get the original and give its --encoding, or add --replace-chars U+FFFD= to leave it out, "
            "--replace-chars U+FFFD=? to put ? in its place, or --replace-chars U+FFFD=U+FFFD to keep it",
        )
    if len(symbols) > MAX_SYMBOLS:
        raise DataError(
            f"the text has {len(symbols):,} distinct characters",
            why=f"with more than {MAX_SYMBOLS:,} it is usually not text, or was decoded with the wrong encoding",
            fix="give the encoding with --encoding, drop rare characters with --min-count, or use --unit byte",
        )


def _check_symbols(unit: str, symbols: tuple[Any, ...]) -> None:
    if unit == "byte" and symbols != tuple(range(256)):
        raise _damaged("a byte vocabulary must contain the numbers 0 to 255")
    if not symbols or not all(type(code) is int and 0 <= code < NUM_CODE_POINTS for code in symbols):
        raise _damaged("code_points must be integers from 0 to 1114111, at least one")
    if any(left >= right for left, right in itertools.pairwise(symbols)):
        raise _damaged("code_points must ascend without repetition")


def _damaged(why: str) -> ModelFileError:
    fix = "copy the model file again from where it was trained"
    return ModelFileError("the vocabulary is damaged", why=why, fix=fix)
