"""Hostile texts: each gives the right corpus or a clear error, in bounded time."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.errors import DataError, DecodeError
from charloom.text.load import corpus_from_text, read_corpus
from charloom.text.preparation import prepare
from charloom.text.prepared import open_prepared

WHOLE = {"val_fraction": 0.0}


def decoded(path, **settings):
    corpus = read_corpus([path], TextConfig(**WHOLE, **settings))
    return corpus.vocab.decode(corpus.train, boundary="|")


def prepared_text(path, **settings):
    out = path.with_suffix(".ids")
    prepare([path], out, TextConfig(**WHOLE, **settings))
    corpus = open_prepared(out)
    return corpus.vocab.decode(corpus.train, boundary="|")


def test_every_plane_of_unicode(tmp_path):
    planes = [chr(plane << 16 | low) for plane in range(17) for low in (0x41, 0x1234, 0x2FFF, 0xFFFE)]
    text = "".join(char for char in planes if not 0xD800 <= ord(char) < 0xE000) * 3
    (tmp_path / "t").write_bytes(text.encode())
    assert prepared_text(tmp_path / "t", normalization="none") == text


def test_nul_inside_a_text(tmp_path):
    text = "line\n" * 3000 + "a\0b\n"
    (tmp_path / "t").write_bytes(text.encode())
    corpus = read_corpus([tmp_path / "t"], TextConfig(**WHOLE))
    assert corpus.vocab.decode(corpus.train) == text
    assert any("1 NUL character" in note for note in corpus.notes)


def test_lone_surrogates_in_memory_and_in_a_table(tmp_path):
    corpus = corpus_from_text("a\ud800b" * 20, TextConfig(**WHOLE))
    assert corpus.vocab.symbols == (0x61, 0x62, 0xD800)
    (tmp_path / "t.jsonl").write_text('{"x": "a\\ud800b"}\n' * 9, "utf-8")
    corpus = read_corpus([tmp_path / "t.jsonl"], TextConfig(column="x", **WHOLE))
    assert 0xD800 in corpus.vocab.symbols
    (tmp_path / "t").write_bytes(b"text " * 30 + b"\xed\xa0\x80")
    with pytest.raises(DecodeError, match="not utf-8 at byte 150"):
        read_corpus([tmp_path / "t"], TextConfig(encoding="utf-8"))


@pytest.mark.parametrize("marks", ["\u0301", "\u0323\u0301", "\u0301\u0323"])
def test_a_million_combining_marks(tmp_path, marks):
    text = "a" + marks * (10**6 // len(marks)) + "\n"
    (tmp_path / "t").write_bytes(text.encode())
    with pytest.raises(DataError, match="combining marks in a row"):
        read_corpus([tmp_path / "t"], TextConfig())
    assert prepared_text(tmp_path / "t", normalization="none") == text


def test_a_long_run_of_marks_that_can_be_sorted(tmp_path):
    text = "".join("a" + "\u0301\u0323" * (25 * number) + " x\n" for number in range(1, 40))
    (tmp_path / "t").write_bytes(text.encode())
    assert prepared_text(tmp_path / "t") == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("documents", ["none", "line"])
def test_a_line_of_50_mb(tmp_path, documents):
    (tmp_path / "t").write_bytes(b"word " * 10_000_000 + b"\nend\n")
    prepare([tmp_path / "t"], tmp_path / "out", TextConfig(documents=documents, val_fraction=0.0))
    corpus = open_prepared(tmp_path / "out")
    assert corpus.num_chars == 50_000_005
    assert len(corpus.train) == 50_000_005  # a boundary takes the place of a newline
    counts = np.bincount(corpus.train)
    assert dict(zip(corpus.vocab.symbols, counts.tolist(), strict=False))[ord("w")] == 10**7


def test_mixed_newlines_and_old_mac_newlines(tmp_path):
    (tmp_path / "t").write_bytes(b"one\rtwo\r\nthree\n\r\n\rfour\r" * 2000)
    assert prepared_text(tmp_path / "t") == "one\ntwo\nthree\n\n\nfour\n" * 2000


def test_byte_order_marks_inside(tmp_path):
    (tmp_path / "a").write_text("one \ufeff two\n", "utf-8-sig")
    (tmp_path / "b").write_text("three\n", "utf-8-sig")
    corpus = read_corpus([tmp_path / "a", tmp_path / "b"], TextConfig(**WHOLE))
    assert corpus.vocab.decode(corpus.train) == "one \ufeff two\nthree\n"
    assert any("U+FEFF (1, first in line 1 of" in note for note in corpus.notes)


def test_encodings_mixed_in_one_file_name_the_byte(tmp_path):
    (tmp_path / "t").write_bytes("été à la plage\n".encode() * 200 + "été".encode("cp1252") + b"\n")
    with pytest.raises(DecodeError, match="not UTF-8 at byte 3,600"):
        read_corpus([tmp_path / "t"], TextConfig())


def test_files_in_different_encodings_are_one_text(tmp_path):
    for name, encoding in (("a", "utf-8"), ("b", "utf-16"), ("c", "utf-8-sig")):
        (tmp_path / name).write_text("تجربة é\n" * 20, encoding)
    corpus = read_corpus([tmp_path / name for name in "abc"], TextConfig(**WHOLE))
    assert corpus.vocab.decode(corpus.train) == "تجربة é\n" * 60


def test_a_name_with_a_newline_and_bytes_that_are_not_utf_8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\nb\xff")
    Path(path).write_bytes(b"text\n" * 50)
    prepare([path], tmp_path / "out")
    assert open_prepared(tmp_path / "out").num_chars == 250


@pytest.mark.parametrize("size", [1, 1000, 1_048_576, 1_048_577])
def test_raw_bytes_are_as_many_as_the_file_has(tmp_path, size, rng):
    data = rng.bytes(size) + b"\r\n\xef\xbb\xbf\xff"
    (tmp_path / "t").write_bytes(data)
    prepare([tmp_path / "t"], tmp_path / "out", TextConfig(unit="byte", val_fraction=0.0))
    assert open_prepared(tmp_path / "out").train.tobytes() == data
