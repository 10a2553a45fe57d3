"""A text in place of a file name is recognised, and the error says how to pass it."""

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text import read_corpus, read_text

SENTENCES = [
    "the cat sat",
    "What is it?",
    "a [b] *c* d",
    "two\nlines.txt",
    "x" * 5000,
    "nul \0 in it",
    "ein Satz.",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_a_text_is_not_taken_for_a_file(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (read_text, read_corpus):
        with pytest.raises(DataError) as caught:
            read([text], TextConfig())
        assert "looks like the text itself" in caught.value.why
        assert "printf %s '" in caught.value.fix or len(text) == 5000
        assert "write - in its place" in caught.value.fix
        assert len(caught.value.what) < 100


def test_a_file_with_spaces_in_its_name_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my text").write_text("abc", encoding="utf-8")
    assert read_text(["my text"], TextConfig())[0] == "abc"
    assert read_text(["my te*"], TextConfig())[0] == "abc"


def test_a_misspelt_path_with_spaces_is_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my text.txt").write_text("abc", encoding="utf-8")
    with pytest.raises(DataError, match=r"did you mean my text\.txt"):
        read_text(["my txt.txt"], TextConfig())


def test_a_single_word_may_be_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        read_text(["CCO"], TextConfig())
    assert caught.value.what == "CCO does not exist"
    assert "check the path" in caught.value.fix
    assert "printf %s CCO | charloom" in caught.value.fix
