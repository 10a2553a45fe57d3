"""From cleaned pieces of text to ids, in bounded memory: number the symbols first, rename them when all are known.

    pieces → documents marked → symbols numbered in order of appearance (uint16) → vocabulary → ids

The provisional numbers go to a spool (memory or a temporary file), so the text itself is read and decoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.documents import Splitter
from charloom.text.vocabulary import BOUNDARY_CODE, Vocabulary, codes_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64, UInt16, UInt32
    from numpy import ndarray as Array

_MAX_DISTINCT = 1 << 16  # what uint16 can number; more is no text
_BLOCK = 1 << 22  # symbols handled at a time
_CONTINUATION = (0x80, 0xC0)  # bytes of a UTF-8 sequence after its first


class Symbols:
    """The distinct symbols met so far, numbered in order of appearance.

    Example:
        >>> symbols = Symbols()
        >>> symbols.number(np.array([98, 97, 98], np.uint32)).tolist()
        [1, 0, 1]
        >>> symbols.codes.tolist()
        [97, 98]
    """

    def __init__(self) -> None:
        self.codes: UInt32[Array, " n"] = np.empty(0, np.uint32)
        self._table = np.full(BOUNDARY_CODE + 1, -1, np.int32)

    def __len__(self) -> int:
        return len(self.codes)

    def number(self, codes: UInt32[Array, " n"]) -> UInt16[Array, " n"]:
        """The number of each code; new codes get the next ones.

        Raises:
            DataError: there are more than 65,536 distinct ones.
        """
        numbers: Int32[Array, " n"] = self._table[codes]
        if (numbers < 0).any():
            new = np.unique(codes[numbers < 0])
            self._table[new] = np.arange(len(self), len(self) + len(new))
            self.codes = np.concatenate([self.codes, new.astype(np.uint32)])
            if len(self) > _MAX_DISTINCT:
                raise DataError(
                    f"the text has more than {_MAX_DISTINCT:,} distinct characters",
                    why="no text has, so it is no text, or decoded with the wrong encoding",
                    fix="name the encoding with --encoding, or use --unit byte",
                )
            numbers = self._table[codes]
        return numbers.astype(np.uint16)


@dataclass
class Part:
    """One part of a corpus (training text, or a validation file), spooled as provisional numbers.

    Attributes:
        symbols: the numbering, shared by all parts.
        config: unit, documents, take_chars and val_fraction.
        spool: where the numbers are; read and written from the start.
        digest: takes the text's UTF-8; shared by all parts.
        num_chars: characters of the cleaned text, breaks between documents included.
        length: symbols, boundaries included.
    """

    symbols: Symbols
    config: TextConfig
    spool: BinaryIO
    digest: hashlib._Hash
    num_chars: int = 0
    length: int = 0
    splitter: Splitter = field(init=False)
    _ended: bool = True  # whether the last character was a newline, or there is none

    def __post_init__(self) -> None:
        self.splitter = Splitter(self.config.documents)

    @property
    def full(self) -> bool:
        """Whether `take_chars` characters were taken."""
        return self.config.take_chars is not None and self.num_chars >= self.config.take_chars

    def feed(self, text: str) -> None:
        """Take the next piece of cleaned text."""
        if self.config.take_chars is not None:
            text = text[: max(self.config.take_chars - self.num_chars, 0)]
        if text:
            self._ended = text.endswith("\n")
            for start in range(0, len(text), _BLOCK):
                self._take(text[start : start + _BLOCK])

    def end_file(self) -> None:
        """Say that a file ends here, and with it its last document."""
        self._write(*self.splitter.feed("", final=True))

    def begin_file(self) -> None:
        """Say that another file begins: its first line does not go on the last line of the one before."""
        if not self._ended:
            self.feed("\n")

    def blocks(self) -> Iterator[UInt16[Array, " n"]]:
        """The numbers, from the start, some at a time."""
        self.spool.seek(0)
        while data := self.spool.read(2 * _BLOCK):
            yield np.frombuffer(data, np.uint16)

    def _take(self, text: str) -> None:
        self.num_chars += len(text)
        self.digest.update(text.encode("utf-8", "surrogatepass"))
        self._write(*self.splitter.feed(text))

    def _write(self, text: str, starts: Int64[Array, " n"]) -> None:
        codes = codes_of(text, self.config.unit)
        if self.config.unit == "byte":
            starts = np.flatnonzero(begins_char(codes))[starts]
        marked = np.insert(codes, starts, BOUNDARY_CODE) if len(starts) else codes
        self.spool.write(self.symbols.number(marked).tobytes())
        self.length += len(marked)


def begins_char(codes: UInt32[Array, " n"]) -> Bool[Array, " n"]:
    """Which bytes begin a character of UTF-8 (boundaries do too)."""
    return (codes < _CONTINUATION[0]) | (codes >= _CONTINUATION[1])


def share(count: int, fraction: float) -> int:
    """The whole part of ``count × fraction``, as on paper: 1 − 0.9 counts as a tenth, not as a little less.

    Example:
        >>> share(10, 1 - 0.9), int(10 * (1 - 0.9))
        (1, 0)
    """
    return int(round(count * fraction, 6))


def find_cut(part: Part) -> int:
    """Where validation begins: the first ``1 − val_fraction`` of the characters (and boundaries) are for training.

    The cut is at a character's first byte with unit byte, and moves on to the next document's beginning where
    there are documents (back to the last one's, if none follows).

    Returns:
        An index into the part's symbols; their number if nothing is held out.

    Raises:
        DataError: there is only one document.
    """
    fraction = part.config.val_fraction
    documents = part.config.documents != "none"
    if fraction == 0.0:
        return part.length
    if part.config.unit == "char" and not documents:
        return share(part.length, 1 - fraction)
    units = part.length
    if part.config.unit == "byte":
        units = sum(int(begins_char(part.symbols.codes[block]).sum()) for block in part.blocks())
    index = share(units, 1 - fraction)
    if documents:  # the first document is always for training
        index = max(index, 1)
    last, position = 0, 0
    for block in part.blocks():
        codes = part.symbols.codes[block]
        is_unit = begins_char(codes) if part.config.unit == "byte" else np.ones(len(codes), bool)
        allowed = np.flatnonzero(codes == BOUNDARY_CODE if documents else is_unit)
        after = allowed[np.cumsum(is_unit)[allowed] - 1 >= index]
        if len(after):
            return position + int(after[0])
        last = position + int(allowed[-1]) if len(allowed) else last
        index -= int(is_unit.sum())
        position += len(block)
    if last == 0:
        raise DataError(
            "the text is one document",
            why=f"documents are never cut, so none can be held out of {part.splitter.num_documents}",
            fix="give more documents, another --documents, a --val FILE, or --val-fraction 0",
        )
    return last


def count_symbols(parts: list[tuple[Part, int]]) -> dict[int, int]:
    """How often each code occurs in the first so many symbols of each part."""
    symbols = parts[0][0].symbols
    counts = np.zeros(len(symbols), np.int64)
    for part, stop in parts:
        position = 0
        for block in part.blocks():
            counts += np.bincount(block[: max(stop - position, 0)], minlength=len(symbols))
            position += len(block)
    return {code: count for code, count in zip(symbols.codes.tolist(), counts.tolist(), strict=True) if count}


def id_blocks(part: Part, vocab: Vocabulary) -> Iterator[Array]:
    """The part's ids in the vocabulary, some at a time."""
    ids = {code: number for number, code in enumerate(vocab.symbols)}
    if vocab.boundary_id is not None:
        ids[BOUNDARY_CODE] = vocab.boundary_id
    renamed = [ids.get(code, vocab.unk_id) for code in part.symbols.codes.tolist()]
    assert None not in renamed, "a symbol is missing from the vocabulary made of it"
    table = np.array(renamed, vocab.dtype)
    for block in part.blocks():
        yield table[block]
