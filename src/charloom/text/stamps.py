"""Stamps of the sources of a prepared corpus, by which a change is noticed: size, time of change, and a checksum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from charloom.errors import DataError
from charloom.kernels.crc32 import crc32
from charloom.text.source_text import Reading
from charloom.text.sources import Source

Finding = Literal["unchanged", "changed", "missing"]


@dataclass(frozen=True)
class Stamp:
    """What a file was like when it was read.

    Attributes:
        name: its absolute path.
        size: bytes of the file.
        mtime_ns: when it was changed last.
        num_bytes: bytes read of it, decompressed.
        crc32: of those bytes.
        is_whole: whether they are all that it has.
    """

    name: str
    size: int
    mtime_ns: int
    num_bytes: int = 0
    crc32: int = 0
    is_whole: bool = True

    def to_json(self) -> dict[str, Any]:
        """The stamp as stored in a header."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> Stamp:
        """Read the output of `to_json`.

        Raises:
            ValueError: it is not that.
        """
        if not isinstance(document, Mapping) or not isinstance(name := document.get("name"), str):
            raise ValueError("a stamp of a source must have a name")
        numbers = [document.get(key) for key in ("size", "mtime_ns", "num_bytes", "crc32")]
        if not all(type(number) is int for number in numbers):
            raise ValueError("size, mtime_ns, num_bytes and crc32 of a source must be integers")
        if type(is_whole := document.get("is_whole")) is not bool:
            raise ValueError("is_whole of a source must be true or false")
        size, mtime_ns, num_bytes, crc32 = (int(str(number)) for number in numbers)
        return cls(name, size, mtime_ns, num_bytes, crc32, is_whole)

    def compare(self) -> Finding:
        """Whether the file still begins with the bytes that were read; all of them are read again."""
        crc, left = 0, self.num_bytes
        try:
            for block in Source(self.name, Path(self.name)).blocks():
                crc, left = crc32(block[: max(left, 0)], crc), left - len(block)
                if left < 0:
                    break
        except DataError:
            return "changed" if Path(self.name).exists() else "missing"
        is_same = crc == self.crc32 and (left == 0 if self.is_whole else left <= 0)
        return "unchanged" if is_same else "changed"


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file that has not been read yet; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(str(path.absolute()), found.st_size, found.st_mtime_ns)


def stamps_of(readings: list[Reading]) -> list[Stamp]:
    """The stamps of sources that have been read; standard input has none."""
    stamps = []
    for reading in readings:
        stamp = stamp_of(reading.source.path) if reading.source.path is not None else None
        if stamp is not None:
            stamps.append(
                replace(stamp, num_bytes=reading.num_bytes, crc32=reading.crc, is_whole=reading.ended)
            )
    return stamps
