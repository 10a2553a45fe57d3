r"""Where a text may be cut so that the cleaned halves join to the cleaned whole.

before a printable character of ASCII, or a newline      unless `replace_chars` replaces it
before ``\r``, but not between ``\r`` and ``\n``
before any character that joins nothing before it        looked for where there is no ASCII nearby
before any byte but the later ones of a character        if the bytes are read as they are
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.changes import Changes, joins_backwards
from charloom.text.normalise import FORMS, Cleaner

_SAFE_CHARS = bytes(range(0x20, 0x7F))
"""Characters that a cleaned text may be cut before, whatever is before them."""

_LINE_ENDS = b"\r\n"
_NEAR = 1 << 16  # bytes at the end searched for a safe character
_NEAR_CHARS = 4096  # characters at the end searched for one that joins nothing
_MAX_CARRY = 1 << 24
_SPAN = 4096  # bytes cleaned at a time, from a character on that cleaning may change
_WIDER, _WIDEST_SPAN = 4, 1 << 18  # where such characters are frequent
_NEAR_SPAN = 64  # bytes searched backwards for the beginning of such a span


@dataclass(frozen=True)
class Segment:
    """A stretch of a stream that can be cleaned by itself, and the number of bytes up to its end."""

    data: bytes
    end: int


def _safe_bytes(chars: bytes, replaced: Collection[str]) -> bytes:
    """Those characters of ASCII that are not replaced."""
    return bytes(byte for byte in chars if chr(byte) not in replaced)


class Cutter:
    """Cuts a stream of blocks into segments; what cannot be cut yet is kept for the next one.

    Example:
        >>> cutter = Cutter(TextConfig(), "a.txt")
        >>> [segment.data for segment in cutter.segments(iter([b"one tw", b"o three"]))]
        [b'one t', b'wo thre', b'e']
    """

    def __init__(self, config: TextConfig, name: str, *, carry: bytes = b"", read: int = 0) -> None:
        """Begin, or go on: `carry` was not cut yet when `read` bytes had been read."""
        self._raw, self._name = config.is_raw, name
        self._form = FORMS[config.normalization]
        cleaner = Cleaner(config)
        self._replaced = cleaner.replaced
        line_ends = b"" if cleaner.makes_line_ends else _safe_bytes(_LINE_ENDS, cleaner.replaced)
        self._safe = _safe_bytes(_SAFE_CHARS, cleaner.replaced) + (line_ends if len(line_ends) == 2 else b"")
        self._unsafe = bytes(byte for byte in range(256) if byte not in self._safe)
        self._carry, self.read = carry, read

    def segments(self, blocks: Iterator[bytes]) -> Iterator[Segment]:
        """The segments of a stream.

        Raises:
            DataError: 16 MB of it have no place to be cut.
        """
        for block in blocks:
            data = self._carry + block if self._carry else block
            self.read += len(block)
            end = self._end_raw(data) if self._raw else self._end(data)
            if end == 0 and len(data) > _MAX_CARRY:
                raise DataError(
                    f"{self._name} has more than {_MAX_CARRY:,} bytes of combining characters in a row",
                    why="no text has that, and they cannot be normalised without being sorted",
                    fix="read it as it is (--normalization none, or --unit byte), or repair it",
                )
            self._carry = data[end:]
            if end:
                yield Segment(data[:end], self.read - len(self._carry))
        if self._carry:
            rest, self._carry = self._carry, b""
            yield Segment(rest, self.read)

    def _end_raw(self, data: bytes) -> int:
        near = data[-_NEAR:]
        kept = len(near.rstrip(bytes(range(0x80, 0xC0))))
        return len(data) - len(near) + kept - 1 if kept else len(data)

    def _end(self, data: bytes) -> int:
        near = data[-_NEAR:]
        start = len(data) - len(near)
        end = start + len(near.rstrip(self._unsafe)) - 1
        if end >= start:
            return end - (data[end : end + 1] == b"\n" and data[end - 1 : end] == b"\r")
        return self._end_by_char(near, start)

    def _end_by_char(self, near: bytes, start: int) -> int:
        """The start of the last whole character that nothing before it can join."""
        text = near[-4 * _NEAR_CHARS :].decode("utf-8", "surrogateescape")
        size = 0
        for char in reversed(text):
            is_byte = "\udc80" <= char <= "\udcff"
            size += 1 if is_byte else len(char.encode())
            if is_byte or char < "\x80" or char in self._replaced:
                continue
            if self._form is None or not joins_backwards(char):
                return start + len(near) - size
        return 0


class Spans:
    """The spans of a segment that must be cleaned, because of a character that cleaning may change.

    Example:
        >>> spans, data = Spans(TextConfig()), "café cafe\u0301 ".encode()
        >>> position = data.index("\u0301".encode())
        >>> spans.is_changeable(0x301), spans.is_changeable(0xE9), data[spans.begin(data, 0, position) : position]
        (True, False, b'e')
    """

    def __init__(self, config: TextConfig, changes: Changes | None = None) -> None:
        self.cleaner = Cleaner(config, changes)
        self._form = FORMS[config.normalization]
        safe = _safe_bytes(_SAFE_CHARS, self.cleaner.replaced)
        self._unsafe = bytes(byte for byte in range(256) if byte not in safe)
        self._safe = re.compile(b"[" + re.escape(safe) + b"]" if safe else b"(?!)")

    def is_changeable(self, code: int) -> bool:
        """Whether cleaning may change a character, or the one before it."""
        char = chr(code)
        if char == "\r" or char in self.cleaner.replaced:
            return True
        normal = self._form is None or unicodedata.is_normalized(self._form, char)
        return self._form is not None and (not normal or joins_backwards(char))

    def begin(self, data: bytes, first: int, position: int) -> int:
        """Where the span around the byte at `position` begins; not before `first`, where one may begin."""
        near = max(first, position - _NEAR_SPAN)
        begin = near + len(data[near:position].rstrip(self._unsafe)) - 1
        return begin if begin >= near else first

    def widened(self, span: int, stretch: int) -> int:
        """The bytes of the next span: more after a `stretch` that is shorter than the last one, if there was one."""
        return min(_WIDER * span, _WIDEST_SPAN) if stretch < span else _SPAN

    def end(self, data: bytes, position: int, span: int) -> int:
        """Where the span of that many bytes from the one at `position` on may end."""
        found = self._safe.search(data, position + span)
        return len(data) if found is None else found.start()
