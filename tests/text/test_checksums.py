"""Checksums of prepared corpora: written for each chunk, compared where ids are read."""

import numpy as np
import pytest

from charloom.config import TrainConfig
from charloom.errors import DataError
from charloom.text import checksums
from charloom.text.batching import Plan
from charloom.text.checksums import CheckedIds, Checksums, checksums_to_json, verify_windows
from charloom.text.preparation import check_prepared, prepare
from charloom.text.prepared import open_prepared

from .test_prepared import change_header

CHUNK = 64


@pytest.fixture
def corpus_file(tmp_path, monkeypatch):
    """A prepared corpus of 1,000 ids of one byte in small chunks; its train part begins the file."""
    monkeypatch.setattr(checksums, "_MIN_CHUNK", CHUNK)
    (tmp_path / "text").write_text("abcde fghij\n" * 83 + "abcd", "utf-8")
    prepare([tmp_path / "text"], tmp_path / "out")
    return tmp_path / "out"


def damage(path, position):
    """Change one id, counted from the first."""
    data = bytearray(path.read_bytes())
    data[len(data) - 1000 + position] ^= 1
    path.write_bytes(data)


def test_a_whole_file_passes(corpus_file):
    found = check_prepared(corpus_file)
    assert found["chunks"] == -(-1000 // CHUNK)
    assert list(found["sources"].values()) == ["unchanged"]


@pytest.mark.parametrize("position", [0, 63, 64, 500, 899, 900, 999])
def test_a_changed_byte_is_found_by_a_check(corpus_file, position):
    damage(corpus_file, position)
    first = position // CHUNK * CHUNK
    last = min(first + CHUNK, 1000)
    with pytest.raises(DataError, match=rf"damaged: bytes {first} to {last:,} of its ids"):
        check_prepared(corpus_file)


@pytest.mark.parametrize("batching", ["stream", "random", "sliding"])
def test_training_notices_damage_when_it_comes_to_it(corpus_file, batching):
    damage(corpus_file, 700)
    config = TrainConfig(batch_size=1, bptt_length=10, batching=batching, stride=10, stream_offset="fixed")
    plan = Plan(open_prepared(corpus_file).train, config)
    with pytest.raises(DataError, match="bytes 640 to 704"):
        list(map(plan.window, range(200), [range(1)] * 200))
    with pytest.raises(DataError, match="bytes 640 to 704"):
        Plan(open_prepared(corpus_file).train, config).places(0, 400)


def test_undamaged_chunks_can_be_read(corpus_file):
    damage(corpus_file, 700)
    ids = open_prepared(corpus_file).train
    verify_windows(ids, np.array([0, 600, 704]), 30)
    with pytest.raises(DataError):
        verify_windows(ids, np.array([0, 630]), 11)


def test_the_validation_part_knows_its_place(corpus_file):
    damage(corpus_file, 990)
    held_out = open_prepared(corpus_file).validation
    verify_windows(held_out, np.array([0]), 50)
    with pytest.raises(DataError, match="bytes 960 to 1,000"):
        verify_windows(held_out, np.array([0]), 70)


def test_a_chunk_is_compared_once(corpus_file, monkeypatch):
    ids, seen = open_prepared(corpus_file).train, []
    compare = Checksums._verify_one
    monkeypatch.setattr(
        Checksums, "_verify_one", lambda self, *rest: (seen.append(rest[1]), compare(self, *rest))
    )
    for _ in range(3):
        verify_windows(ids, np.array([0, 130]), 20)
    assert seen == [0, 2]


def test_slices_and_copies_are_plain(corpus_file):
    ids = open_prepared(corpus_file).train
    assert isinstance(ids, CheckedIds)
    assert type(ids[np.array([1, 2])]) is np.ndarray
    assert type(ids[3:5].astype(np.int64)[:1]) in (np.ndarray, CheckedIds)
    verify_windows(np.arange(5), np.array([0]), 2)  # an array without checksums passes


def test_a_file_of_before_is_opened_without(corpus_file):
    data = corpus_file.read_bytes()
    corpus_file.write_bytes(change_header(data, checksums=None, stamps=[]))
    verify_windows(open_prepared(corpus_file).train, np.array([0]), 10)
    assert check_prepared(corpus_file) == {"chunks": 0, "sources": {}}


GOOD = checksums_to_json([1] * 16, CHUNK)


@pytest.mark.parametrize(
    "document",
    [
        3,
        [],
        {},
        {**GOOD, "chunk_bytes": 0},
        {**GOOD, "chunk_bytes": "64"},
        {**GOOD, "chunk_bytes": True},
        {**GOOD, "crc32": GOOD["crc32"][:-1]},
        {**GOOD, "crc32": 5},
        {**GOOD, "crc32": "x" * len(GOOD["crc32"])},
        {**GOOD, "crc32": "１" * len(GOOD["crc32"])},
    ],
)
def test_checksums_of_another_form_are_refused(corpus_file, document):
    corpus_file.write_bytes(change_header(corpus_file.read_bytes(), checksums=document))
    with pytest.raises(DataError, match="is not a readable prepared corpus"):
        open_prepared(corpus_file)
