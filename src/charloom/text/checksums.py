"""Checksums of a prepared corpus's ids: one for each chunk of the file, compared when the chunk is first used.

    checksums[k] = CRC-32 of bytes k·C … (k+1)·C of the ids        C a power of two, at least 1 MiB, at most 65,536 chunks

They find what disks and copies do to a file; they do not protect against someone who changes it on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.errors import DataError
from charloom.kernels.crc32 import crc32

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

_MIN_CHUNK = 1 << 20
_MAX_CHUNKS = 1 << 16
_DIGITS = 8  # hexadecimal, of a CRC-32


def chunk_bytes_for(num_bytes: int) -> int:
    """The size of a chunk for ids of that many bytes.

    Example:
        >>> chunk_bytes_for(10), chunk_bytes_for(1 << 40)
        (1048576, 16777216)
    """
    size = _MIN_CHUNK
    while size * _MAX_CHUNKS < num_bytes:
        size *= 2
    return size


def num_chunks(num_bytes: int, chunk_bytes: int) -> int:
    """How many chunks ids of that many bytes have."""
    return -(-num_bytes // chunk_bytes)


class ChecksumWriter:
    """Takes the bytes of the ids in order, in pieces of any size, and computes the checksum of each chunk.

    Example:
        >>> writer = ChecksumWriter(4)
        >>> for piece in (b"abc", b"defg", b"hij"):
        ...     writer.update(piece)
        >>> writer.finish() == [crc32(chunk) for chunk in (b"abcd", b"efgh", b"ij")]
        True
    """

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes, self._values = chunk_bytes, list[int]()
        self._crc = self._filled = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data).cast("B")
        while len(view):
            piece = view[: self._chunk_bytes - self._filled]
            self._crc, self._filled = crc32(piece, self._crc), self._filled + len(piece)
            view = view[len(piece) :]
            if self._filled == self._chunk_bytes:
                self._values.append(self._crc)
                self._crc = self._filled = 0

    def finish(self) -> list[int]:
        """The checksums, the last of a chunk that may be shorter."""
        return [*self._values, self._crc] if self._filled else list(self._values)


def checksums_to_json(values: list[int], chunk_bytes: int) -> dict[str, Any]:
    """Checksums as stored in the header of a prepared corpus; the length depends on their number only."""
    return {"chunk_bytes": chunk_bytes, "crc32": "".join(f"{value:0{_DIGITS}x}" for value in values)}


@dataclass(eq=False)
class Checksums:
    """The checksums of the ids of one file, and which chunks have been compared.

    Attributes:
        path: the file, for messages.
        values: CRC-32 of each chunk, (K,).
        chunk_bytes: bytes in each but the last.
    """

    path: Path
    values: Int[Array, " K"]
    chunk_bytes: int
    _good: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._good = np.zeros(len(self.values), bool)

    @classmethod
    def from_json(cls, document: object, path: Path, num_bytes: int) -> Checksums | None:
        """Read the output of `checksums_to_json`, for ids of that many bytes; None if the header has none.

        Raises:
            ValueError: it is not that.
        """
        if document is None:
            return None
        if not isinstance(document, Mapping) or type(size := document.get("chunk_bytes")) is not int:
            raise ValueError("checksums must have chunk_bytes and crc32")
        text = document.get("crc32")
        if size < 1 or not isinstance(text, str) or len(text) != _DIGITS * num_chunks(num_bytes, size):
            raise ValueError(f"there must be a checksum for each {size!r:.20} bytes of {num_bytes:,}")
        if not re.fullmatch("[0-9a-f]*", text):
            raise ValueError("checksums must be hexadecimal digits")
        return cls(path, np.frombuffer(bytes.fromhex(text), ">u4").astype(np.int64), size)

    def verify(self, ids: Array, chunks: Int[Array, " n"]) -> None:
        """Compare those of the chunks that have not been compared yet; `ids` are all of the file's.

        Raises:
            DataError: one differs.
        """
        if self._good[chunks].all():
            return
        for chunk in np.unique(chunks).tolist():
            if not self._good[chunk]:
                self._verify_one(ids, chunk)

    def verify_all(self, ids: Array) -> int:
        """Compare every chunk; return their number. Raises as `verify`."""
        for chunk in range(len(self.values)):
            self._verify_one(ids, chunk)
        return len(self.values)

    def _verify_one(self, ids: Array, chunk: int) -> None:
        size = self.chunk_bytes // ids.dtype.itemsize
        piece = np.ascontiguousarray(ids[chunk * size : (chunk + 1) * size])
        if crc32(piece.data.cast("B")) != self.values[chunk]:
            first = chunk * self.chunk_bytes
            raise DataError(
                f"{self.path} is damaged: bytes {first:,} to {first + piece.nbytes:,} of its ids are not what was written",
                why="their checksum differs from the one in its header",
                fix="copy the file again from where it was prepared, or run charloom prepare again",
            )
        self._good[chunk] = True


class CheckedIds(np.memmap[Any, Any]):
    """Ids in a file that know their checksums; other slices than `part` and copies do not.

    `verify_windows` compares the chunks that are about to be read.
    """

    _checksums: Checksums | None = None
    _all: Any = None
    _first: int = 0

    def __getitem__(self, index: Any) -> Any:
        """Like any array's; what is no longer in the file is a plain array."""
        found = super().__getitem__(index)
        is_copy = isinstance(found, CheckedIds) and found._mmap is None  # type: ignore[attr-defined]
        return found.view(np.ndarray) if is_copy else found

    def checked_by(self, checksums: Checksums | None) -> CheckedIds:
        """The same ids with checksums."""
        view: CheckedIds = self[:]
        view._checksums, view._all, view._first = checksums, self, 0
        return view

    def verify_file(self) -> int:
        """Compare every checksum of the file, not only of this part; return their number.

        Raises:
            DataError: one differs.
        """
        return 0 if self._checksums is None else self._checksums.verify_all(self._all)

    def part(self, start: int, stop: int) -> CheckedIds:
        """A slice that knows its place in the file."""
        view: CheckedIds = self[start:stop]
        view._checksums, view._all, view._first = self._checksums, self._all, self._first + start
        return view


def verify_windows(ids: Array, starts: Int[Array, " n"], length: int) -> None:
    """Compare the checksums of all chunks that windows of ids lie in, unless they have been; other arrays have none.

    Args:
        ids: of a corpus, (N,).
        starts: the first id of each window.
        length: ids in each; 0 reads nothing.

    Raises:
        DataError: the file is damaged there.
    """
    if not isinstance(ids, CheckedIds) or ids._checksums is None or not length or not len(starts):
        return
    size = ids._checksums.chunk_bytes // ids.dtype.itemsize
    first, last = (starts + ids._first) // size, (starts + (ids._first + length - 1)) // size
    spans = np.arange(int((last - first).max()) + 1)
    chunks = np.minimum(first[:, None] + spans, last[:, None])
    ids._checksums.verify(ids._all, chunks)
