"""A column of a CSV, JSON or Parquet file: each row is a document, whatever its quotes and line ends."""

import csv
import gzip
import importlib.util
import io
import json

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError, MissingExtraError
from charloom.text import encode_for_scoring, read_corpus, read_texts

TEXTS = ['he said "hi", then left', "two\nlines", "a; b\tc | d", "line\u2028separator", "café"]
COLUMN = TextConfig(column="text", val_fraction=0)


def as_csv(texts, *, delimiter=",", encoding="utf-8"):
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, delimiter=delimiter)
    writer.writerows([("id", "text", "n"), *((number, text, 0) for number, text in enumerate(texts))])
    return lines.getvalue().encode(encoding)


def as_jsonl(texts):
    return "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode()


FILES = {
    "comma.csv": as_csv(TEXTS),
    "marked.csv": as_csv(TEXTS, encoding="utf-8-sig"),
    "wide.csv": as_csv(TEXTS, encoding="utf-16"),
    "semicolon.CSV": as_csv(TEXTS, delimiter=";"),
    "tab.tsv": as_csv(TEXTS, delimiter="\t"),
    "packed.csv.gz": gzip.compress(as_csv(TEXTS)),
    "old.csv": as_csv(TEXTS).replace(b"\r\n", b"\r"),
    "lines.jsonl": as_jsonl(TEXTS),
    "packed.ndjson.gz": gzip.compress(as_jsonl(TEXTS)),
    "list.json": json.dumps([{"text": text} for text in TEXTS]).encode(),
}


def documents_of(corpus):
    return corpus.vocab.decode(corpus.train, boundary="\x00").split("\x00")[1:]


@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", FILES)
def test_each_row_is_a_document(tmp_path, name, block_size):
    (tmp_path / name).write_bytes(FILES[name])
    corpus = read_corpus([tmp_path / name], COLUMN, block_size=block_size)
    assert documents_of(corpus) == TEXTS
    assert corpus.config.documents == "file"
    (note,) = corpus.notes
    assert "U+2028 (1, first in document 4 of" in note


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 1 << 20])
def test_a_line_end_cut_in_two_is_one_line_end(tmp_path, block_size):
    (tmp_path / "a.csv").write_bytes(b"text\r\none\r\ntwo\r\n")
    corpus = read_corpus([tmp_path / "a.csv"], COLUMN, block_size=block_size)
    assert documents_of(corpus) == ["one", "two"]
    assert corpus.notes == ()


@pytest.mark.parametrize("data", [FILES["comma.csv"], FILES["lines.jsonl"], FILES["list.json"]])
def test_standard_input_is_recognised(data):
    assert documents_of(read_corpus(["-"], COLUMN, stdin=io.BytesIO(data))) == TEXTS


def test_missing_and_empty_cells_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,one\n2,""\n3\n\n4,NA\n', "utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n\n{"text": null}\n{"id": 3}\n{"text": ""}\n', "utf-8")
    corpus = read_corpus([tmp_path / "a.csv", tmp_path / "b.jsonl"], COLUMN)
    assert documents_of(corpus) == ["one", "NA", "two"]
    assert [note.rpartition(": ")[2] for note in corpus.notes] == [
        "1 missing row left out",
        "1 empty row left out",
        "2 missing rows left out",
        "1 empty row left out",
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.csv",
            "id,txt\n1,a\n",
            r"no column 'text': its columns are: id, txt \(fix: did you mean --column txt",
        ),
        ("a.csv", "id,text\n1,foo, bar\n", "begins in line 2 has 3 fields, and the first line names 2"),
        ("a.csv", 'id,text\n1,a\n2,"never closed\n3,b\n', "begins in line 3: unexpected end of data"),
        ("a.csv", "text,text\na,b\n", "has 2 columns named text"),
        ("a.csv", "", "no column 'text'"),
        ("a.jsonl", '{"body": "a"}\n', "no column 'text': its columns are: body"),
        ("a.jsonl", '{"text": 5}\n', "line 1 of .* has 5 in column text"),
        ("a.jsonl", '{"text": "a"}\n{oops\n', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "not an object with named values"),
        ("a.json", '{"text": "a"}', "not a list of objects"),
        ("a.txt", "hello", "a.txt has no columns"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, name, data, message):
    (tmp_path / name).write_text(data, "utf-8")
    with pytest.raises(DataError, match=message):
        read_corpus([tmp_path / name], COLUMN)


def test_a_cell_may_be_longer_than_the_limit_of_the_csv_module(tmp_path):
    long, limit = "word " * 40_000, csv.field_size_limit()
    (tmp_path / "a.csv").write_bytes(as_csv([long]))
    assert documents_of(read_corpus([tmp_path / "a.csv"], COLUMN)) == [long]
    assert csv.field_size_limit() == limit


def test_of_a_folder_only_tables_are_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(FILES["comma.csv"])
    (tmp_path / "readme.md").write_text("about")
    corpus = read_corpus([tmp_path], COLUMN)
    assert documents_of(corpus) == TEXTS
    assert corpus.notes[0] == f"{tmp_path}: 1 of 2 files skipped as not tables (readme.md)"


def test_rows_end_documents_when_they_are_scored_too(tmp_path):
    (tmp_path / "a.csv").write_bytes(FILES["comma.csv"])
    corpus = read_corpus([tmp_path / "a.csv"], COLUMN)
    texts, _ = read_texts([tmp_path / "a.csv"], COLUMN)
    assert encode_for_scoring(corpus.vocab, texts, COLUMN).ids.tolist() == corpus.train.tolist()
    (tmp_path / "a.txt").write_text("two\n", "utf-8")
    assert read_texts([tmp_path / "a.txt"], COLUMN) == (["two\n"], ())


def test_without_a_column_a_table_is_plain_text_and_that_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,one\n", "utf-8")
    corpus = read_corpus([tmp_path / "a.csv"], TextConfig(val_fraction=0))
    assert corpus.vocab.decode(corpus.train) == "id,text\n1,one\n"
    assert "--column NAME reads one column" in corpus.notes[0]


def test_parquet_is_named_with_what_it_needs(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(90) + b"PAR1")
    with pytest.raises(DataError, match=r"is a Parquet table.*--column"):
        read_corpus([tmp_path / "a.parquet"], TextConfig())
    absent = not any(importlib.util.find_spec(name) for name in ("pyarrow", "pandas"))
    kind, message = (MissingExtraError, "pip install pyarrow") if absent else (DataError, "cannot be read")
    with pytest.raises(kind, match=message):
        read_corpus([tmp_path / "a.parquet"], COLUMN)


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_read(tmp_path, packed):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table, file = pyarrow.table({"text": [*TEXTS, None, ""], "id": range(len(TEXTS) + 2)}), io.BytesIO()
    parquet.write_table(table, file)
    path = tmp_path / ("a.parquet.gz" if packed else "a.parquet")
    path.write_bytes(gzip.compress(file.getvalue()) if packed else file.getvalue())
    corpus = read_corpus([path], COLUMN)
    assert documents_of(corpus) == TEXTS
    assert len(corpus.notes) == 3
    with pytest.raises(DataError, match="no column 'txt'"):
        read_corpus([path], TextConfig(column="txt"))


class FakeFrame(dict):
    columns = property(lambda self: list(self))


def test_pandas_reads_parquet_where_pyarrow_is_missing(tmp_path, monkeypatch):
    from charloom.text import tables

    frame = FakeFrame(text=["one", float("nan"), "two"])
    fake = type("pandas", (), {"read_parquet": staticmethod(lambda _: frame)})
    monkeypatch.setitem(__import__("sys").modules, "pandas", fake)
    monkeypatch.setattr(tables, "find_spec", lambda name: name == "pandas" or None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert documents_of(read_corpus([tmp_path / "a.parquet"], COLUMN)) == ["one", "two"]
