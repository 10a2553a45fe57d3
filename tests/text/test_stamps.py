"""Stamps: a changed source is noticed, and one that was only touched is not called changed."""

import gzip
import os

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text import prepared
from charloom.text.preparation import check_prepared, prepare
from charloom.text.stamps import Stamp

from .test_prepared import change_header

TEXT = "the quick brown fox\n" * 50


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT, "utf-8")
    prepare([path], tmp_path / "out")
    return path


def finding(source):
    return check_prepared(source.parent / "out")["sources"][str(source)]


@pytest.mark.parametrize("new", [TEXT.replace("q", "Q", 1), TEXT + "x", TEXT[:-1], ""])
def test_a_changed_source_is_noticed_even_with_its_old_date(source, new):
    old = source.stat()
    source.write_text(new, "utf-8")
    os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert finding(source) == "changed"


def test_a_touched_source_is_unchanged(source):
    source.touch()
    assert finding(source) == "unchanged"


def test_a_missing_source(source):
    source.unlink()
    assert finding(source) == "missing"


def test_a_compressed_source_is_compared_as_text(tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(TEXT.encode(), 9))
    prepare([path], tmp_path / "out")
    path.write_bytes(gzip.compress(TEXT.encode(), 1))
    assert finding(path) == "unchanged"
    path.write_bytes(gzip.compress(TEXT.encode() + b"x", 1))
    assert finding(path) == "changed"
    path.write_bytes(path.read_bytes()[:-9])
    assert finding(path) == "changed"


def test_a_source_that_was_read_in_part_is_compared_in_that_part(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT, "utf-8")
    prepare([path], tmp_path / "out", TextConfig(take_chars=100), block_size=200)
    path.write_text(TEXT + "more", "utf-8")
    assert finding(path) == "unchanged"
    path.write_text("X" + TEXT, "utf-8")
    assert finding(path) == "changed"


def test_stamps_that_a_header_cannot_hold_are_left_out(tmp_path, monkeypatch):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(TEXT, "utf-8")
    paths = sorted(tmp_path.glob("*.txt"))
    monkeypatch.setattr(prepared, "_MAX_HEADER", 8_000)
    facts = prepare(paths, tmp_path / "out")
    assert "there are too many sources" in facts["notes"][-1]
    assert check_prepared(tmp_path / "out")["sources"] == {}


@pytest.mark.parametrize(
    "document",
    [3, {}, {"name": 1}, {"name": "a", "size": 1.5}, Stamp("a", 1, 1).to_json() | {"is_whole": 1}],
)
def test_stamps_of_another_form_are_refused(source, document):
    out = source.parent / "out"
    for stamps in ([document], document):
        out.write_bytes(change_header(out.read_bytes(), stamps=stamps))
        with pytest.raises(DataError, match="is not a readable prepared corpus"):
            check_prepared(out)
