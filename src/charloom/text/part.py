"""One part of a corpus (training text, or a held-out file), encoded as provisional numbers.

    UTF-8 → numbers, in one compiled pass                        where cleaning changes nothing and there are no documents
    text → cleaned → documents marked → UTF-8 → numbers          everywhere else

The numbers go to a spool (memory or a file). They become ids when all symbols are known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.kernels.sha256 import Sha256
from charloom.kernels.utf8 import Ending, Kind, count_numbers
from charloom.text.changes import Changes
from charloom.text.documents import Splitter
from charloom.text.places import FirstPlaces
from charloom.text.segments import Spans
from charloom.text.symbols import Symbols
from charloom.text.vocabulary import BOUNDARY_CODE, byte_counts, to_bytes

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64, UInt16
    from numpy import ndarray as Array

_BETWEEN_DOCUMENTS = "\x1e"  # in the hash of documents that are not in files; in ASCII, the record separator
_NEWLINE = 0x0A
_BLOCK = 1 << 20  # symbols processed at a time


@dataclass
class Part:
    """One part of a corpus, spooled as provisional numbers.

    All parts share `symbols`, the numbering, and `digest`, the hash of the text as UTF-8. `num_chars` counts the
    characters of the cleaned text, breaks between documents included; `length` the symbols, boundaries included.
    `counts` has how often each number occurs. `held_out` tells for each document whether it was drawn for
    validation: such documents come after all others. `places` says where each character that deserves a note occurs
    first, `changes` what cleaning changed.
    """

    symbols: Symbols
    config: TextConfig
    spool: BinaryIO
    digest: Sha256
    num_chars: int = 0
    length: int = 0
    counts: Int64[Array, " symbols"] = field(default_factory=lambda: np.zeros(0, np.int64))
    held_out: Bool[Array, " documents"] | None = None
    places: FirstPlaces = field(init=False)
    changes: Changes = field(default_factory=Changes)
    splitter: Splitter = field(init=False)
    _ended: bool = True  # whether the last character was a newline, or nothing was read yet

    def __post_init__(self) -> None:
        self.splitter = Splitter(self.config.documents, self.config.keep_separator)
        self.places = FirstPlaces(self.symbols, wanted=self.config.unit == "char")
        self._spans = Spans(self.config, self.changes)

    @property
    def full(self) -> bool:
        """Whether `take_chars` characters have been read."""
        return self.config.take_chars is not None and self.num_chars >= self.config.take_chars

    def feed_utf8(self, data: bytes) -> None:
        """Take the next piece as it stands in a source: UTF-8, or any bytes if the ids are those of the file.

        It must be cut where the cleaned halves join to the cleaned whole (see `charloom.text.segments`).

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        whole = self.config.take_chars is None
        if whole and self.config.unit == "char" and self.config.documents in ("none", "line"):
            self._feed_unchanged(data)
        elif whole and self.config.is_raw and self.config.documents == "none":
            self._count(data, len(data.decode("utf-8", "surrogateescape")))
            self._ended = data.endswith(b"\n") if data else self._ended
            self._append(self.symbols.numbers(data, Kind.BYTES))
        elif self.config.is_raw:
            self.feed(data.decode("utf-8", "surrogateescape"))
        else:
            self.feed(self._spans.cleaner.feed(data.decode("utf-8"), final=True))

    def feed(self, text: str) -> None:
        """Take the next piece of cleaned text."""
        if self.config.take_chars is not None:
            text = text[: max(self.config.take_chars - self.num_chars, 0)]
        if text:
            self._ended = text.endswith("\n")
        for start in range(0, len(text), _BLOCK):
            piece = text[start : start + _BLOCK]
            data = self._counted(piece)
            self._write(*self.splitter.feed(piece))
            self.places.pass_over(data, b"\n", "line")

    def feed_documents(self, documents: Sequence[str]) -> None:
        """Take whole documents; in the modes that split a text, each is split further."""
        if self.config.documents == "file" and self.config.take_chars is None:
            if not documents:
                return
            joined = _BETWEEN_DOCUMENTS.join(documents)
            if self.length:
                self._counted(_BETWEEN_DOCUMENTS)
            data = self._counted(joined)
            self._write(*self.splitter.feed_whole(documents))
            self.places.pass_over(data, _BETWEEN_DOCUMENTS.encode(), "document")
            self.places.line += 1
            return
        for document in documents:
            self.begin_file(self.places.label)
            self.feed(document)
            self.end_file()
            if self.full:
                return

    def end_file(self) -> None:
        """End the current file, and with it the last document."""
        self._write(*self.splitter.feed("", final=True))

    def begin_file(self, label: str) -> None:
        """Begin another file: its first line does not continue the last line of the previous one."""
        if not self._ended:
            self.feed("\n")
        self.places.begin(label)

    def blocks(self) -> Iterator[UInt16[Array, " n"]]:
        """The numbers in blocks: those for training, then those held out."""
        if self.held_out is None:
            yield from self.blocks_in_text_order()
            return
        for wanted in (False, True):
            for block, documents in self.blocks_with_documents():
                yield block[self.held_out[documents] == wanted]

    def blocks_in_text_order(self, start: int = 0) -> Iterator[UInt16[Array, " n"]]:
        """The numbers from the start of the text, or from a later one on, in blocks."""
        self.spool.seek(2 * start)
        while data := self.spool.read(2 * _BLOCK):
            yield np.frombuffer(data, np.uint16)

    def blocks_with_documents(self) -> Iterator[tuple[UInt16[Array, " n"], Int64[Array, " n"]]]:
        """The numbers in the order of the text, each with the index of its document."""
        last = -1
        for block in self.blocks_in_text_order():
            documents = last + np.cumsum(self.symbols.codes[block] == BOUNDARY_CODE)
            yield block, documents
            last = int(documents[-1])

    def state(self) -> dict[str, Any]:
        """All but the shared numbering and hash, as JSON; the numbers themselves are in the spool."""
        return {
            "num_chars": self.num_chars,
            "length": self.length,
            "counts": self.counts.tolist(),
            "places": self.places.state(),
            "changes": self.changes.state(),
            "splitter": self.splitter.state(),
            "ended": self._ended,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Return to what `state` described."""
        self.num_chars, self.length = state["num_chars"], state["length"]
        self.counts = np.array(state["counts"], np.int64)
        self.places.restore(state["places"])
        self.changes.restore(state["changes"])
        self.splitter.restore(state["splitter"])
        self._ended = state["ended"]
        self.spool.truncate(2 * self.length)
        self.spool.seek(0, os.SEEK_END)

    def _feed_unchanged(self, data: bytes) -> None:
        """Number the stretches that cleaning leaves as they are in one pass, and clean the spans between them."""
        done = position = written = span = 0
        while True:
            read = self.symbols.read_unchanged(data, position, written, self._spans.is_changeable)
            if read.ending == Ending.ALL_READ:
                self._take(data[done:], read.num_numbers)
                return
            if read.ending != Ending.STOPPED:
                data.decode("utf-8")
                raise AssertionError("Python reads as UTF-8 what charloom does not")
            begin = self._spans.begin(data, done, read.num_bytes)
            span = self._spans.widened(span, read.num_bytes - done)
            end = self._spans.end(data, read.num_bytes, span)
            dropped = len(data[begin : read.num_bytes].decode("utf-8"))
            self._take(data[done:begin], read.num_numbers - dropped)
            self.feed(self._spans.cleaner.feed(data[begin:end].decode("utf-8"), final=True))
            done, position, written = end, end, 0

    def _take(self, data: bytes, num_numbers: int) -> None:
        """Take text that needs no cleaning and whose numbers are in the room of the symbols."""
        if data:
            numbers = self.symbols.room_for(b"")[:num_numbers]
            self._count(data, num_numbers)
            self._ended = data.endswith(b"\n")
            newline = self.symbols.number(_NEWLINE)
            if self.splitter.is_stream:
                before = int(self.counts[newline : newline + 1].sum())
                self._append(numbers)
                num_ends = int(self.counts[newline]) - before
            else:
                before, boundary = self.splitter.num_breaks, self.symbols.number(BOUNDARY_CODE)
                self._append(self.splitter.feed_lines(numbers, newline, boundary))
                num_ends = self.splitter.num_breaks - before
            self.places.pass_over(data, b"\n", "line", num_ends)

    def _counted(self, piece: str) -> bytes:
        """Count and hash a piece of cleaned text; return its bytes."""
        data = hashed_bytes(piece, self.config)
        self._count(data, len(piece))
        return data

    def _count(self, data: bytes, num_chars: int) -> None:
        self.num_chars += num_chars
        self.digest.update(data)

    def _write(self, text: str, starts: Int64[Array, " n"]) -> None:
        self._append(_numbered(self.symbols, text, starts, self.config.unit))

    def _append(self, numbers: UInt16[Array, " n"]) -> None:
        if len(self.counts) < len(self.symbols):
            self.counts = np.concatenate(
                [self.counts, np.zeros(len(self.symbols) - len(self.counts), np.int64)]
            )
        count_numbers(numbers, self.counts)
        self.spool.write(numbers.data)
        self.length += len(numbers)


def _numbered(symbols: Symbols, text: str, starts: Int64[Array, " n"], unit: str) -> UInt16[Array, " m"]:
    """The numbers of a text with a boundary before each character, or byte, where a document begins."""
    if unit == "byte":
        numbers = symbols.numbers(to_bytes(text), Kind.BYTES)
        if len(starts):
            starts = np.concatenate([[0], np.cumsum(byte_counts(text))])[starts]
    else:
        numbers = symbols.numbers(text.encode("utf-8", "surrogatepass"), Kind.SURROGATES_TOO)
    return np.insert(numbers, starts, symbols.number(BOUNDARY_CODE)) if len(starts) else numbers


def hashed_bytes(text: str, config: TextConfig) -> bytes:
    """The bytes of a cleaned text that the hash of a corpus is about: UTF-8, or the file's own."""
    return to_bytes(text) if config.is_raw else text.encode("utf-8", "surrogatepass")
