"""Compressed texts: all members, nothing after them, and no bombs."""

import bz2
import gzip
import io
import lzma
import tracemalloc

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text import unpack
from charloom.text.load import read_corpus
from charloom.text.preparation import prepare
from charloom.text.unpack import MAX_EXPANSION, packed_format, unpacked

PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
TEXT = b"the quick brown fox jumps over the lazy dog\n" * 2000


def read(data, block_size=1000, max_expansion=MAX_EXPANSION):
    packed = packed_format(data[:6])
    assert packed is not None
    blocks = unpacked(io.BytesIO(data), packed, "t", block_size=block_size, max_expansion=max_expansion)
    return list(blocks)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("block_size", [1, 999, 1 << 20])
def test_every_member_is_read(suffix, block_size):
    pack, size = PACKERS[suffix], 3000
    data = b"".join(pack(part) for part in (TEXT[:size], b"", TEXT[size : size + 7], b"x" * 10))
    blocks = read(data, block_size)
    assert b"".join(blocks) == TEXT[: size + 7] + b"x" * 10
    assert max(map(len, blocks)) <= block_size


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("rest", [b"x", b"hello world", b"\x1f", b"BZ", b"\0\0x"])
def test_what_follows_the_last_member_is_an_error(suffix, rest):
    data = PACKERS[suffix](TEXT)
    with pytest.raises(DataError, match="other data after the end") as caught:
        read(data + rest)
    assert caught.value.fix.startswith("copy or download the file again, or cut it there: head -c ")


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_zeros_may_pad_the_end(suffix):
    assert b"".join(read(PACKERS[suffix](TEXT) + bytes(512))) == TEXT


@pytest.mark.parametrize("suffix", PACKERS)
def test_damage_and_truncation_are_errors(suffix):
    data = PACKERS[suffix](TEXT)
    damaged = data[:40] + bytes([data[40] ^ 0xFF]) + data[41:]
    for broken in (data[:-1], data[: len(data) // 2], data[:11], damaged):
        with pytest.raises(DataError, match="cannot be decompressed to the end"):
            read(broken)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_bomb_is_refused_early_and_the_cap_can_be_raised(suffix, monkeypatch, tmp_path):
    monkeypatch.setattr(unpack, "BOMB_SIZE", 1 << 20)
    bomb = PACKERS[suffix](bytes(30 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"decompresses from [\d,]+ to more than") as caught:
        read(bomb, 1 << 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20  # xz itself takes 8 MiB
    assert "more than 250 bytes for each" in caught.value.why
    assert "--max-expansion" in caught.value.fix
    (tmp_path / "text.gz").write_bytes(PACKERS[suffix](b"a line\n" * 200_000))
    with pytest.raises(DataError, match="decompresses from"):
        read_corpus([tmp_path / "text.gz"], TextConfig())
    facts = prepare([tmp_path / "text.gz"], tmp_path / "out", max_expansion=100_000)
    assert facts["bytes"] == 1_400_000
