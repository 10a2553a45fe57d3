"""Compressed texts (.gz, .xz, .bz2), read to their very end: all members of a file, and nothing after them.

Python's own readers stop silently at the first byte after a member of .xz and .bz2 that does not begin another. Here
that is an error, as is a file that expands beyond any text.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from charloom.errors import DataError

BOMB_SIZE = 1 << 30  # decompressed bytes above which the ratio is checked
MAX_EXPANSION = 250
"""Decompressed bytes per compressed byte; text reaches 10, logs 50."""

_DAMAGED = (EOFError, lzma.LZMAError, zlib.error, OSError, ValueError)
_READ = 1 << 16  # compressed bytes read at a time


class _Format(NamedTuple):
    """A format of compressed files: what begins a member, a new decompressor, and bytes that may pad the end."""

    magic: bytes
    suffix: str
    new: Callable[[], _Gzip | bz2.BZ2Decompressor | lzma.LZMADecompressor]
    padding: bytes


class _Gzip:
    """zlib's decompressor of one member of .gz with the interface of the other two; it checks length and checksum."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return not self._member.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._member.decompress(self._member.unconsumed_tail + data, max_length)


_FORMATS = (
    _Format(b"\x1f\x8b", ".gz", _Gzip, b"\0"),
    _Format(b"\xfd7zXZ\0", ".xz", lzma.LZMADecompressor, b"\0"),
    _Format(b"BZh", ".bz2", bz2.BZ2Decompressor, b""),
)


def packed_format(start: bytes) -> _Format | None:
    """The format of a file by its first bytes; None if it is not compressed."""
    return next((packed for packed in _FORMATS if start.startswith(packed.magic)), None)


def unpacked(
    handle: BinaryIO, packed: _Format, name: str, *, block_size: int, max_expansion: int
) -> Iterator[bytes]:
    """The decompressed bytes of a file, in blocks.

    Args:
        handle: open at its start; `handle.tell()` is then how much has been read.
        packed: its format.
        name: of the file, for messages.
        block_size: the most bytes in a block.
        max_expansion: decompressed bytes per compressed byte at which it is refused, from 1 GiB on.

    Raises:
        DataError: it is damaged or truncated, something else follows it, or it expands too much.
    """
    total = 0
    for block in _members(handle, packed, name, block_size):
        total += len(block)
        read = max(handle.tell(), 1)
        if total > BOMB_SIZE and total > max_expansion * read:
            raise DataError(
                f"{name} decompresses from {read:,} to more than {total:,} bytes",
                why=f"that is more than {max_expansion} bytes for each; text reaches 10, so this is a mistake or a "
                "decompression bomb",
                fix=f"if this is intended, pass --max-expansion {2 * total // read} to charloom prepare, or "
                "decompress it yourself",
            )
        yield block


def _members(handle: BinaryIO, packed: _Format, name: str, block_size: int) -> Iterator[bytes]:
    member, data = packed.new(), handle.read(_READ)
    while True:
        try:
            block = member.decompress(data, block_size)
            if not block and not data and not member.eof:
                raise EOFError("it ends before the end that it announces")
        except _DAMAGED as error:
            raise _damaged(name, f"{error}".rstrip(".")) from error
        if block:
            yield block
        if not member.eof:
            data = handle.read(_READ) if member.needs_input else b""
            continue
        rest = _after_member(handle, member.unused_data, packed, name)
        if not rest:
            return
        member, data = packed.new(), rest


def _after_member(handle: BinaryIO, rest: bytes, packed: _Format, name: str) -> bytes:
    """The beginning of the next member; empty if there is none."""
    while True:
        rest = rest.lstrip(packed.padding) if packed.padding else rest
        if len(rest) >= len(packed.magic):
            break
        more = handle.read(_READ)
        if not more:
            break
        rest += more
    if not rest or rest.startswith(packed.magic):
        return rest
    at = handle.tell() - len(rest)
    raise DataError(
        f"{name} has other data after the end of its compressed text, at byte {at:,}",
        why=f"what follows does not begin another member of {packed.suffix}, so it is damaged or not only text",
        fix=f"copy or download the file again, or cut it there: head -c {at} {name}",
    )


def _damaged(name: str, why: str) -> DataError:
    return DataError(
        f"{name} cannot be decompressed to the end",
        why=why or "it is truncated or damaged",
        fix="copy or download the file again; its size or checksum will differ",
    )
