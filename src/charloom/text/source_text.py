"""A source as one text: in cleaned pieces, or in segments of UTF-8 that a reading can be taken up again from."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.kernels.crc32 import crc32
from charloom.text.changes import Changes
from charloom.text.decode import decode_blocks, detect, is_utf8_so_far, raw_pieces, undecodable
from charloom.text.mojibake import mojibake_note
from charloom.text.normalise import Cleaner
from charloom.text.segments import Cutter, Segment
from charloom.text.sources import Source

_UTF8 = ("utf-8", "utf-8-sig")
_LONG = 1 << 16  # bytes of a file from which on reading it twice takes long
_SAMPLE = 1 << 20  # bytes searched for mojibake
_STATE = ("num_bytes", "crc", "encoding", "is_assumed", "notes", "cut", "streamed")


class OutdatedError(DataError):
    """A source is not what it was when its reading began, or was taken to be: read all again, without assumptions."""


@dataclass
class Reading:
    """One source being read, and information gathered while reading.

    `num_bytes` counts the decompressed bytes read so far and `crc` is their CRC-32; `encoding`, the detected codec, is
    empty until the first piece; `notes` for the user are complete after the last piece. `ended` says
    whether all of it has been read. `cut`, `streamed` and `may_assume` are used by
    `SourceText`.
    """

    source: Source
    config: TextConfig
    num_bytes: int = 0
    crc: int = 0
    encoding: str = ""
    notes: list[str] = field(default_factory=list)
    cut: int = 0
    streamed: int = 0
    ended: bool = False
    may_assume: bool = False

    @property
    def progress(self) -> int:
        """How many bytes of the file, compressed or not, have been read."""
        return self.source.meter.num_bytes

    def _counted(self) -> Iterator[bytes]:
        for block in self.source.blocks():
            self.num_bytes += len(block)
            self.crc = crc32(block, self.crc)
            yield block
        self.ended = True

    def _note(self, note: str | None) -> None:
        if note:
            self.notes.append(f"{self.source.name}: {note}")


@dataclass
class SourceText(Reading):
    """A source as one text, in cleaned pieces or in segments.

    A stream of segments can be taken up again: of its `streamed` bytes, those up to `cut` were in segments. If it
    `may_assume` so, a long file that begins as UTF-8 is not read once before to be sure of it.
    """

    is_assumed: bool = False

    @property
    def label(self) -> str:
        """Its name in messages."""
        return self.source.name

    def pieces(self, changes: Changes) -> Iterator[str]:
        """Decode and clean, piece by piece; joined, the pieces equal the cleaned whole.

        Args:
            changes: counts what cleaning changes.

        Raises:
            DecodeError: a byte does not fit the encoding.
            DataError: it cannot be read or is not text.
        """
        with contextlib.closing(self.source):
            if self.config.is_raw:
                yield from raw_pieces(self._counted())
                return
            cleaner = Cleaner(self.config, changes)
            yield from map(cleaner.feed, self.decoded())
            yield cleaner.feed("", final=True)

    def state(self) -> dict[str, Any]:
        """How far it has been read, as JSON."""
        return {name: getattr(self, name) for name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Return to what `state` described; `segments` then goes on from there."""
        for name in _STATE:
            setattr(self, name, state[name])

    def decoded(self) -> Iterator[str]:
        """The text as it stands in the source, piece by piece; raises as `pieces`."""
        self._detect()
        for number, text in enumerate(decode_blocks(self._counted(), self.encoding, self.source.name)):
            if number == 0:
                self._note(mojibake_note(text))
            yield text

    def segments(self) -> Generator[Segment, None, None]:
        """The text as UTF-8, not cleaned yet, in segments that can be cleaned by themselves; raw bytes as they are.

        Raises:
            DataError: it cannot be read or is not text, or is not what was read before (`OutdatedError`).
            DecodeError: it is not in its encoding; of UTF-8, `invalid_utf8` says it.
        """
        with contextlib.closing(self.source):
            if not self.config.is_raw and not self.encoding:
                self._detect()
            stream = self._stream()
            carry = self._taken_up(stream) if self.streamed else b""
            cutter = Cutter(self.config, self.source.name, carry=carry, read=self.streamed)
            is_first = self.cut == 0
            for segment in cutter.segments(stream):
                data = segment.data
                if is_first and not self.config.is_raw:
                    data = self._begin(data)
                is_first = False
                self.cut, self.streamed = segment.end, cutter.read
                yield Segment(data, segment.end)

    def invalid_utf8(self, error: UnicodeDecodeError, segment: Segment) -> DataError:
        """The error for a segment that is not UTF-8."""
        if self.is_assumed:
            return OutdatedError(
                f"{self.source.name} is not UTF-8", why="it began so", fix="detect its encoding"
            )
        start = segment.end - len(segment.data)
        name = self.encoding.removesuffix("-sig")
        return undecodable(error, name, self.source.name, start + error.start)

    def _detect(self) -> None:
        if self.may_assume and self.config.encoding is None:
            head = self.source.head(self.source.block_size)
            if len(head) >= _LONG and is_utf8_so_far(head, self.source.name):
                self.encoding, self.is_assumed = _UTF8[0], True
                return
        found = detect(self.source.blocks(), encoding=self.config.encoding, source=self.source.name)
        self.encoding = found.name
        self._note(found.note)

    def _stream(self) -> Iterator[bytes]:
        if self.config.is_raw or self.encoding in _UTF8:
            return self._counted()
        texts = decode_blocks(self._counted(), self.encoding, self.source.name)
        return (text.encode("utf-8", "surrogatepass") for text in texts)

    def _begin(self, data: bytes) -> bytes:
        """The first segment without byte-order marks; looks for mojibake in it."""
        marks = (self.encoding in _UTF8) + (
            self.encoding == _UTF8[1]
        )  # as Python's decoders and ours drop them
        for _ in range(marks):
            data = data.removeprefix(codecs.BOM_UTF8)
        self._note(mojibake_note(data[:_SAMPLE].decode("utf-8", "ignore")))
        return data

    def _taken_up(self, stream: Iterator[bytes]) -> bytes:
        """Read again what was read before, and check that it is the same; return what was not in a segment yet."""
        expected, self.num_bytes, self.crc = self.crc, 0, 0
        read, carry = 0, b""
        for block in stream:
            read += len(block)
            carry += block
            carry = carry[max(0, len(carry) - (self.streamed - self.cut)) :]
            if read >= self.streamed:
                break
        if read != self.streamed or self.crc != expected:
            raise OutdatedError(
                f"{self.source.name} has changed since it was read",
                why="its beginning is no longer the same",
                fix="prepare the text again from the start",
            )
        return carry
