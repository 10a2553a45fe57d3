"""A text in memory: a str, bytes, an open file, or any iterable of documents."""

import io
from pathlib import Path

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text import corpus_from_text

NAMES = ["anna", "bo\nbo", "cleo"]
ALL = TextConfig(documents="file", val_fraction=0)


def documents_of(corpus):
    return corpus.vocab.decode(corpus.train, boundary="\x00").split("\x00")[1:]


@pytest.mark.parametrize("make", [list, tuple, iter, lambda names: (name for name in names)])
def test_each_item_of_an_iterable_is_a_document(make):
    assert documents_of(corpus_from_text(make(NAMES), ALL)) == NAMES


def test_documents_need_no_settings():
    corpus = corpus_from_text(["a" * 9] * 20)
    assert corpus.config.documents == "file"
    assert len(corpus.validation) == 20


def test_many_documents_are_all_read():
    texts = [f"n{number}" for number in range(10_000)]
    corpus = corpus_from_text(texts, ALL)
    assert documents_of(corpus) == texts
    assert corpus.num_chars == sum(map(len, texts)) + len(texts) - 1


def test_where_documents_end_is_part_of_the_hash():
    assert corpus_from_text(["a", "b"], ALL).sha256 != corpus_from_text(["a\nb"], ALL).sha256


def test_documents_are_split_further_or_joined_as_the_setting_says():
    assert documents_of(corpus_from_text(NAMES, TextConfig(documents="line", val_fraction=0))) == [
        "anna",
        "bo",
        "bo",
        "cleo",
    ]
    corpus = corpus_from_text(NAMES, TextConfig(val_fraction=0))
    assert corpus.vocab.decode(corpus.train) == "anna\nbo\nbo\ncleo"


def test_a_limit_in_characters_holds_for_documents():
    assert documents_of(
        corpus_from_text(NAMES, TextConfig(documents="file", val_fraction=0, take_chars=7))
    ) == [
        "anna",
        "bo",
    ]


def test_missing_and_empty_documents_are_counted():
    corpus = corpus_from_text(["a", None, float("nan"), "", "b", "\n"], ALL)
    assert documents_of(corpus) == ["a", "b"]
    assert corpus.notes == (
        "text: 2 missing rows left out",
        "text: 1 empty row left out",
        "text: 1 empty documents left out",
    )


def test_bytes_and_open_files_are_decoded():
    expected = corpus_from_text("été\n" * 9).sha256
    assert corpus_from_text(("été\n" * 9).encode("utf-16")).sha256 == expected
    assert corpus_from_text(io.BytesIO(("été\r\n" * 9).encode())).sha256 == expected
    assert corpus_from_text(io.StringIO("été\n" * 9)).sha256 == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([1, 2], "document 0 is 1, of type int"),
        (["a", {"text": "b"}], r"document 1 .* of type dict"),
        ({"text": "a"}, "of type dict"),
        (5, "of type int"),
        (Path("a.txt"), "pass the path without text="),
    ],
)
def test_anything_else_is_explained(text, message):
    with pytest.raises(DataError, match=message):
        corpus_from_text(text, ALL)


def test_a_table_of_several_columns_is_explained():
    frame = type("DataFrame", (), {"iloc": None, "columns": ["text"]})()
    with pytest.raises(DataError, match=r"text=frame\['text'\]"):
        corpus_from_text(frame, ALL)


def test_a_text_in_memory_may_have_a_validation_file(tmp_path):
    (tmp_path / "held").write_text("abc", "utf-8")
    corpus = corpus_from_text("abcabc", val=tmp_path / "held", test=tmp_path / "held")
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (6, 3, 3)
