"""The distinct symbols of a text, numbered in order of appearance, and the table through which a text becomes numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from charloom.errors import DataError
from charloom.kernels.utf8 import NUMBER, Ending, Kind, NumbersRead, utf8_numbers
from charloom.text.vocabulary import BOUNDARY_CODE

if TYPE_CHECKING:
    from jaxtyping import UInt16, UInt32
    from numpy import ndarray as Array

_MAX_DISTINCT = 1 << 16  # the range of uint16; no real text has more
_CHANGEABLE = 1 << 16  # cleaning may change it, or the character before it
_NO_NUMBER = 1 << 17
_UNKNOWN = 1 << 18


class Symbols:
    """The distinct symbols seen so far, numbered in order of appearance.

    Example:
        >>> symbols = Symbols()
        >>> symbols.numbers(b"bab", Kind.CODE_POINTS).tolist(), symbols.codes.tolist()
        ([0, 1, 0], [98, 97])
    """

    def __init__(self) -> None:
        self._list: list[int] = []
        self._array: UInt32[Array, " n"] = np.empty(0, np.uint32)
        self._slots = np.full(BOUNDARY_CODE + 1, _UNKNOWN | _NO_NUMBER, np.int32)
        self._room = np.empty(0, np.uint16)

    def __len__(self) -> int:
        return len(self._list)

    @property
    def codes(self) -> UInt32[Array, " n"]:
        """The code of each number."""
        if len(self._array) != len(self._list):
            self._array = np.array(self._list, np.uint32)
        return self._array

    def codes_from(self, number: int) -> list[int]:
        """The codes that have this number or a later one."""
        return self._list[number:]

    def number(self, code: int) -> int:
        """The number of a code; a new one gets the next.

        Raises:
            DataError: there are more than 65,536 distinct ones.
        """
        slot = int(self._slots[code])
        if not slot & _NO_NUMBER:
            return slot & NUMBER
        if len(self) == _MAX_DISTINCT:
            raise DataError(
                f"the text has more than {_MAX_DISTINCT:,} distinct characters",
                why="no real text has that many, so this is not text or was decoded with the wrong encoding",
                fix="give the encoding with --encoding, or use --unit byte",
            )
        self._slots[code] = (slot & (_CHANGEABLE | _UNKNOWN)) | len(self)
        self._list.append(code)
        return len(self) - 1

    def add(self, codes: list[int]) -> None:
        """Number these codes in this order."""
        for code in codes:
            self.number(code)

    def numbers(self, data: bytes, kind: Kind) -> UInt16[Array, " n"]:
        """The number of each code of a cleaned text, or of each byte; the array is overwritten by the next call.

        Raises:
            DataError: as `number`.
        """
        numbers, start, written = self.room_for(data), 0, 0
        while True:
            read = utf8_numbers(
                data, self._slots, numbers, start=start, written=written, stops=_NO_NUMBER, kind=kind
            )
            if read.ending != Ending.STOPPED:
                assert read.ending == Ending.ALL_READ, "a cleaned text is valid UTF-8"
                return numbers[: read.num_numbers]
            self.number(read.code)
            start, written = read.num_bytes, read.num_numbers

    def read_unchanged(
        self, data: bytes, start: int, written: int, is_changeable: Callable[[int], bool]
    ) -> NumbersRead:
        """Number the code points of a text that is not cleaned yet, up to one that cleaning may change.

        Args:
            data: UTF-8; its numbers are written to `room_for(data)`.
            start: the byte to begin at.
            written: numbers written before.
            is_changeable: asked once for each distinct code.
        """
        numbers = self.room_for(data)
        while True:
            stops = _NO_NUMBER | _CHANGEABLE | _UNKNOWN
            read = utf8_numbers(data, self._slots, numbers, start=start, written=written, stops=stops)
            start, written = read.num_bytes, read.num_numbers
            if read.ending != Ending.STOPPED:
                return read
            if self._slots[read.code] & _UNKNOWN:
                self._slots[read.code] += (_CHANGEABLE if is_changeable(read.code) else 0) - _UNKNOWN
            if self._slots[read.code] & _CHANGEABLE:
                return read
            self.number(read.code)

    def room_for(self, data: bytes) -> UInt16[Array, " n"]:
        """An array with room for a number for each byte; the same one until a longer one is needed."""
        if len(self._room) < len(data):
            self._room = np.empty(len(data), np.uint16)
        return self._room
