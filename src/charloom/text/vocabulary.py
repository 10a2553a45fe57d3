"""The vocabulary: which characters a model knows, and the number each one goes by.

    symbols   the text's distinct code points in code-point order (unit char), or all 256 bytes (unit byte)
    specials  after them, in this order: <unk> for what is not among the symbols, <boundary> before each document

So a vocabulary is fixed by its set of characters alone, and adding a special moves no other id.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError, ModelFileError, UnknownCharacterError
from charloom.text.similar import group_by_skeleton, nearest

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, UInt, UInt32
    from numpy import ndarray as Array

UNK = "<unk>"
BOUNDARY = "<boundary>"
SPECIALS = (UNK, BOUNDARY)
NUM_CODE_POINTS = 0x110000
NUM_SURROGATES = 0x800
BOUNDARY_CODE = NUM_CODE_POINTS
"""Stands for the boundary in arrays of code points: one above the last of Unicode."""
MAX_SYMBOLS = 20_000
REPLACEMENT = 0xFFFD


def code_points(text: str) -> UInt32[Array, " n"]:
    """The code points of a text, without a loop over its characters; lone surrogates pass.

    Example:
        >>> code_points("aé").tolist()
        [97, 233]
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def codes_of(text: str, unit: Literal["char", "byte"]) -> UInt32[Array, " n"]:
    """What a vocabulary of that unit numbers: the text's code points, or its UTF-8 bytes."""
    if unit == "byte":
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.uint32)
    return code_points(text)


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a model in the order of their ids.

    Args:
        unit: what a symbol is, ``char`` (a code point) or ``byte`` (a UTF-8 byte).
        symbols: ascending code points, or the bytes 0 … 255.
        specials: a part of `SPECIALS`, in that order; their ids follow the symbols.
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

    def __len__(self) -> int:
        return len(self.symbols) + len(self.specials)

    @classmethod
    def from_text(cls, text: str, config: TextConfig | None = None) -> Vocabulary:
        """The vocabulary of every character of a text, after `config`'s count, unit and specials.

        Raises:
            DataError: as `build_vocabulary`.
        """
        codes, counts = np.unique(code_points(text), return_counts=True)
        return build_vocabulary(
            dict(zip(codes.tolist(), counts.tolist(), strict=True)), config or TextConfig()
        )

    @property
    def unk_id(self) -> int | None:
        """The id that stands for every character outside the vocabulary, if there is one."""
        return self._special_id(UNK)

    @property
    def boundary_id(self) -> int | None:
        """The id that begins each document, if there is one."""
        return self._special_id(BOUNDARY)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest of uint8, uint16 and uint32 that holds every id."""
        return np.dtype(np.min_scalar_type(max(len(self) - 1, 0)))

    def encode(self, text: str) -> UInt[Array, " n"]:
        """Turn a text into ids.

        Returns:
            One id a character, or a UTF-8 byte with unit byte. A character outside the vocabulary becomes `unk_id`.

        Raises:
            UnknownCharacterError: a character is outside the vocabulary, which has no ``<unk>``.
        """
        codes = codes_of(text, self.unit)
        ids = self._look_up(codes)
        if self.unk_id is None:
            missing = ids == len(self)
            if missing.any():
                self._refuse(text, codes, missing)
        return ids.astype(self.dtype, copy=False)

    def encode_known(self, text: str) -> UInt[Array, " n"]:
        """The ids of the characters that are among the symbols; the others are left out.

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
        r"""Turn ids into a text.

        Args:
            ids: any integers below ``len(self)``.
            boundary: what is written where a document begins.
            unk: what is written for ``<unk>``.

        Returns:
            The text. With unit byte, bytes that are not UTF-8 are shown as ``\xNN``.

        Example:
            >>> Vocabulary("byte", tuple(range(256))).decode([195, 169, 195])
            'é\\xc3'
        """
        written = {UNK: unk, BOUNDARY: boundary}
        tail = [written[special] for special in self.specials]
        numbers = np.asarray(ids, np.intp)
        if self.unit == "byte":
            encoded = [text.encode("utf-8", "surrogatepass") for text in tail]
            chosen = np.array(self._pieces + encoded, object)[numbers]
            return b"".join(chosen.tolist()).decode("utf-8", "backslashreplace")
        return "".join(np.array(self._pieces + tail, object)[numbers].tolist())

    def contains(self, text: str) -> Bool[Array, " n"]:
        """Where the text's characters (bytes, with unit byte) are among the symbols.

        Example:
            >>> Vocabulary.from_text("abc").contains("bad").tolist()
            [True, True, False]
        """
        mask: Bool[Array, " n"] = self._known[np.minimum(codes_of(text, self.unit), len(self._known) - 1)]
        return mask

    def unknown(self, text: str) -> dict[str, int]:
        """How often each character outside the vocabulary occurs, in code-point order.

        Example:
            >>> Vocabulary.from_text("abc").unknown("bead")
            {'d': 1, 'e': 1}
        """
        codes, counts = np.unique(codes_of(text, self.unit)[~self.contains(text)], return_counts=True)
        return {chr(code): count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}

    def similar(self, char: str) -> str | None:
        """The known character, or the few, that a reader would accept for `char`; none if there is no such.

        Example:
            >>> Vocabulary.from_text("it's fine").similar("’"), Vocabulary.from_text("fine").similar("ﬁ")
            ("'", 'fi')
        """
        if self.unit == "byte":
            return char
        return nearest(char, self._set, self._by_skeleton)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as the model file holds it."""
        return {
            "unit": self.unit,
            "code_points": list(self.symbols),
            "specials": list(self.specials),
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Vocabulary:
        """Read what `to_json` wrote, trusting none of it.

        Raises:
            ModelFileError: it is not a vocabulary.
        """
        lists = [document.get(key) for key in ("code_points", "specials", "labels")]
        if document.get("unit") not in ("char", "byte") or not all(isinstance(part, list) for part in lists):
            raise _damaged("it must hold unit, code_points, specials and labels")
        symbols, specials, labels = (tuple(cast("list[Any]", part)) for part in lists)
        _check_symbols(document["unit"], symbols)
        if specials not in ((), (UNK,), (BOUNDARY,), SPECIALS):
            raise _damaged(
                f"the specials {list(specials)!r:.80} are not a part of {list(SPECIALS)}, in that order"
            )
        if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
            raise _damaged("labels must be distinct texts")
        return cls(document["unit"], symbols, specials, labels)

    def _special_id(self, special: str) -> int | None:
        if special not in self.specials:
            return None
        return len(self.symbols) + self.specials.index(special)

    @cached_property
    def _table(self) -> UInt[Array, " codes"]:
        """Code point → id. Its last entry serves every code above the last symbol; len(self) means none."""
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
        """What each symbol is written as: a bytes object with unit byte, else a str."""
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

    def _refuse(self, text: str, codes: UInt[Array, " n"], missing: Bool[Array, " n"]) -> None:
        offset = int(missing.argmax())
        char, distinct = text[offset], len(np.unique(codes[missing]))
        known = self.similar(char)
        others = "" if distinct == 1 else f"; {distinct} distinct characters of the text are unknown to it"
        neighbour = "" if known is None else f"; the nearest it knows is {known!r}"
        instead = "" if known is None else " or --unknown similar"
        raise UnknownCharacterError(
            f"character {char!r} (U+{ord(char):04X}) at offset {offset} is not in the vocabulary",
            why=f"this model knows {len(self.symbols)} characters, fixed when it was trained{others}{neighbour}",
            fix=f"retrain on text that contains it, or pass --unknown skip{instead}",
        )


def build_vocabulary(counts: Mapping[int, int], config: TextConfig) -> Vocabulary:
    """Choose the symbols and specials of a text from its counts.

    ``<unk>`` is added when characters can be left out (`min_count` above 1, `vocab_from` train), ``<boundary>``
    when there are documents. With unit byte the symbols are all 256 bytes, whatever the counts.

    Args:
        counts: occurrences of each code point (char) or byte value (byte); the boundary's are ignored.
        config: unit, min_count, vocab_from, documents.

    Raises:
        DataError: nothing is left, or the symbols are those of a wrongly decoded text.
    """
    boundary = () if config.documents == "none" else (BOUNDARY,)
    if config.unit == "byte":
        return Vocabulary("byte", tuple(range(256)), boundary)
    symbols = tuple(
        sorted(code for code, count in counts.items() if count >= config.min_count and code != BOUNDARY_CODE)
    )
    if not symbols:
        raise DataError(
            f"no character occurs {config.min_count} times",
            why="the vocabulary would be empty",
            fix="lower --min-count, or give more text",
        )
    check_plausible(symbols, counts)
    unk = (UNK,) if config.min_count > 1 or config.vocab_from == "train" else ()
    return Vocabulary("char", symbols, unk + boundary)


def check_plausible(symbols: tuple[int, ...], counts: Mapping[int, int]) -> None:
    """Stop at a vocabulary that only a wrongly decoded text has.

    Raises:
        DataError: U+FFFD is among the symbols, or they are more than 20,000.
    """
    if REPLACEMENT in symbols:
        times = counts[REPLACEMENT]
        raise DataError(
            f"the text holds the replacement character U+FFFD {times} times",
            why="some program wrote it where it could not decode the original, so the text is damaged there",
            fix=f"get the original and name its encoding with --encoding, or pass --min-count {times + 1} to make it <unk>",
        )
    if len(symbols) > MAX_SYMBOLS:
        raise DataError(
            f"the text has {len(symbols):,} distinct characters",
            why=f"above {MAX_SYMBOLS:,} it is most often not text, or decoded with the wrong encoding",
            fix="name the encoding with --encoding, drop rare characters with --min-count, or use --unit byte",
        )


def _check_symbols(unit: str, symbols: tuple[Any, ...]) -> None:
    if unit == "byte" and symbols != tuple(range(256)):
        raise _damaged("a byte vocabulary must hold the numbers 0 to 255")
    if not symbols or not all(type(code) is int and 0 <= code < NUM_CODE_POINTS for code in symbols):
        raise _damaged("code_points must be integers from 0 to 1114111, at least one")
    if any(left >= right for left, right in itertools.pairwise(symbols)):
        raise _damaged("code_points must ascend without repetition")


def _damaged(why: str) -> ModelFileError:
    return ModelFileError(
        "the vocabulary is damaged", why=why, fix="get the model file again from where it was trained"
    )
