"""The checksum against zlib's, whole, continued and in memory that is not aligned."""

import zlib

import numpy as np
import pytest

from charloom.kernels.crc32 import crc32
from charloom.kernels.library import Library, library

SIZES = [0, 1, 15, 64, 1_023, 1_024, 1_025, 1_039, 1_040, 1_087, 1_088, 1_104, 4_096, 70_001, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_the_checksum_is_zlibs(size, rng, without_library):
    data = rng.bytes(size)
    expected = zlib.crc32(data), zlib.crc32(data, 0xDEADBEEF)
    for _ in ("compiled", "plain"):
        assert (crc32(data), crc32(data, 0xDEADBEEF)) == expected
        without_library()


@pytest.mark.parametrize("offset", range(1, 17))
def test_bytes_need_not_be_aligned(offset, rng):
    data = memoryview(rng.bytes(5_000))
    assert crc32(data[offset:]) == zlib.crc32(data[offset:])
    assert crc32(data[offset:], crc32(data[:offset])) == zlib.crc32(data)


def test_what_is_not_bytes_is_taken_as_bytes(rng):
    numbers = rng.integers(0, 1 << 16, 3_000).astype(np.uint16)
    assert crc32(numbers.data) == zlib.crc32(numbers.tobytes())


def test_zlib_computes_where_the_processor_cannot(rng, monkeypatch):
    monkeypatch.setattr(Library, "function", lambda *_: lambda *_: -1)
    data = rng.bytes(3_001)
    assert crc32(data, 7) == zlib.crc32(data, 7)


def test_there_is_a_library_to_compare_with():
    assert library() is not None
