"""Text to numbers in one pass: UTF-8 is decoded and each code point looked up; numbers are counted, and become ids.

    slots    what is known of each code: its number (16 bits), and bits above them that stop the reading

A reader stops at a code that it must first hear about, is told its position, and goes on from there. Without the
compiled library NumPy does the same, about ten times slower.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.kernels.library import library, pointer

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64, UInt16, UInt32
    from numpy import ndarray as Array

NUMBER = 0xFFFF
"""The bits of a slot that are a number."""


class Kind(IntEnum):
    """What is numbered: code points, code points and lone surrogates, or bytes."""

    CODE_POINTS = 0
    SURROGATES_TOO = 1
    BYTES = 2


class Ending(IntEnum):
    """Why a reading ended: all bytes are read, a slot stopped it, or the bytes are not UTF-8, or not yet."""

    ALL_READ = 0
    STOPPED = 1
    NOT_UTF8 = 2
    CUT_SHORT = 3


_ENDINGS = tuple(Ending)


class NumbersRead(NamedTuple):
    """How far a reading came: bytes read, numbers written, and the code that stopped it if one did."""

    ending: Ending
    num_bytes: int
    num_numbers: int
    code: int


def utf8_numbers(
    data: bytes,
    slots: Int32[Array, " codes"],
    numbers: UInt16[Array, " n"],
    *,
    start: int = 0,
    written: int = 0,
    stops: int,
    kind: Kind = Kind.CODE_POINTS,
) -> NumbersRead:
    """Number the codes of `data` from byte `start` on, until one has a slot with any bit of `stops`.

    Args:
        data: UTF-8, or any bytes with `Kind.BYTES`.
        slots: for each code, its number and flags.
        numbers: where they are written, from index `written` on; there must be room for one for each byte.
        start: a byte that begins a character.
        written: numbers written before.
        stops: a mask of flags.
        kind: what a code is.

    Example:
        >>> slots, numbers = np.full(0x110000, 1 << 16, np.int32), np.zeros(4, np.uint16)
        >>> slots[97] = 5
        >>> utf8_numbers(b"aab", slots, numbers, stops=1 << 16)
        NumbersRead(ending=<Ending.STOPPED: 1>, num_bytes=2, num_numbers=2, code=98)
        >>> numbers.tolist()
        [5, 5, 0, 0]
    """
    assert len(numbers) - written >= len(data) - start
    compiled = library()
    if compiled is None:
        return _plain_numbers(data, slots, numbers, start, written, stops, kind)
    at = (ctypes.c_int64 * 3)(start, written, -1)
    ending = compiled.function("utf8_numbers", "float32")(
        data, len(data), kind, pointer(slots), stops, pointer(numbers), ctypes.addressof(at)
    )
    return NumbersRead(_ENDINGS[ending], *at)


class LinesMarked(NamedTuple):
    """Numbers with a boundary before each line; how many lines begin, are empty and end in them."""

    numbers: UInt16[Array, " m"]
    num_begun: int
    num_empty: int
    num_newlines: int


def mark_lines(
    numbers: UInt16[Array, " n"], newline: int, boundary: int, *, inside: bool = False
) -> LinesMarked:
    """Begin each line with a boundary and leave the newlines out; a line without a number is dropped.

    Args:
        numbers: a piece of a text.
        newline: the number that ends a line.
        boundary: the number that begins one.
        inside: whether the piece begins inside a line.

    Example:
        >>> marked = mark_lines(np.array([5, 5, 0, 0, 7], np.uint16), 0, 9)
        >>> marked.numbers.tolist(), marked.num_begun, marked.num_empty, marked.num_newlines
        ([9, 5, 5, 9, 7], 2, 1, 2)
    """
    compiled = library()
    if compiled is None:
        return _plain_lines(numbers, newline, boundary, inside)
    numbers, marked = np.ascontiguousarray(numbers), np.empty(len(numbers) + 1, np.uint16)
    counts = (ctypes.c_int64 * 4)(inside)
    length = compiled.function("mark_lines", "float32")(
        pointer(numbers), len(numbers), newline, boundary, pointer(marked), ctypes.addressof(counts)
    )
    return LinesMarked(marked[:length], *counts[1:])


def count_numbers(numbers: UInt16[Array, " n"], counts: Int64[Array, " m"]) -> None:
    """Add to `counts` how often each number occurs; there must be a place for each."""
    compiled = library()
    if compiled is None:
        counts += np.bincount(numbers, minlength=len(counts))
        return
    numbers = np.ascontiguousarray(numbers)
    compiled.function("count_numbers", "float32")(
        pointer(numbers), len(numbers), pointer(counts), len(counts)
    )


def ids_of_numbers(
    numbers: UInt16[Array, " n"], table: UInt32[Array, " m"], dtype: np.dtype[np.unsignedinteger[Any]]
) -> Array:
    """The id of each number in a table with a place for each, as `dtype`."""
    compiled = library()
    if compiled is None:
        plain: Array = table.astype(dtype)[numbers]
        return plain
    numbers, ids = np.ascontiguousarray(numbers), np.empty(len(numbers), dtype)
    compiled.function("ids_of_numbers", "float32")(
        pointer(numbers), len(numbers), pointer(table), dtype.itemsize, pointer(ids)
    )
    return ids


def _plain_numbers(
    data: bytes, slots: Array, numbers: Array, start: int, written: int, stops: int, kind: Kind
) -> NumbersRead:
    codes, ending, end = _codes_and_end(data[start:], kind)
    found = slots[codes]
    stopped = np.flatnonzero(found & stops)
    code = -1
    if len(stopped):
        ending, code = Ending.STOPPED, int(codes[stopped[0]])
        codes, found = codes[: stopped[0]], found[: stopped[0]]
        end = int(_sizes(codes).sum()) if kind != Kind.BYTES else len(codes)
    numbers[written : written + len(found)] = found & NUMBER
    return NumbersRead(ending, start + end, written + len(found), code)


def _plain_lines(numbers: Array, newline: int, boundary: int, inside: bool) -> LinesMarked:
    is_end = numbers == newline
    after_end = np.concatenate([[not inside], is_end])[: len(numbers)]
    begins, is_empty = after_end & ~is_end, after_end & is_end
    starts = np.flatnonzero(begins)
    kept = np.cumsum(~is_end) - 1  # the place of each number without the newlines
    marked: Array = np.insert(numbers[~is_end], kept[starts], np.uint16(boundary))
    return LinesMarked(marked, len(starts), int(np.count_nonzero(is_empty)), int(np.count_nonzero(is_end)))


def _codes_and_end(data: bytes, kind: Kind) -> tuple[Array, Ending, int]:
    """The codes of the bytes up to the first that does not fit, why they end there, and where."""
    if kind == Kind.BYTES:
        return np.frombuffer(data, np.uint8), Ending.ALL_READ, len(data)
    errors = "surrogatepass" if kind == Kind.SURROGATES_TOO else "strict"
    ending, end = Ending.ALL_READ, len(data)
    try:
        text = data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        ending = Ending.CUT_SHORT if error.reason == "unexpected end of data" else Ending.NOT_UTF8
        end = error.start
        text = data[:end].decode("utf-8", errors)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"), ending, end


def _sizes(codes: Array) -> Array:
    """The number of bytes of each code point in UTF-8."""
    sizes: Array = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return sizes
