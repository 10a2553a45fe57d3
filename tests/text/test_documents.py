import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.text.documents import Splitter

MODES = ["none", "line", "blank-line", "file", "--", "aa", r"\n-\n", "aab"]
TEXTS = st.text(st.sampled_from("ab-\n \t"), max_size=40)


def documents(mode, *files, size=None):
    """The documents of some files, fed in pieces of `size` characters."""
    splitter, text, starts = Splitter(mode), "", []
    for file in files:
        edges = range(0, len(file), size or max(len(file), 1))
        for marked in [
            *(splitter.feed(file[at : at + (size or len(file))]) for at in edges),
            splitter.feed("", final=True),
        ]:
            starts += [len(text) + start for start in marked.starts.tolist()]
            text += marked.text
    assert not starts or starts[0] == 0
    parts = [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)])]
    return (parts if mode != "none" else [text]), splitter


def plain(mode, file):
    """The documents of a file, straight from the definition."""
    if mode == "line":
        parts = file.split("\n")
    elif mode == "blank-line":
        parts = [part.strip("\n") for part in re.split(r"\n(?:[ \t]*\n)+", file)]
    elif mode == "file":
        parts = [file.strip("\n")]
    else:
        parts = [part.strip("\n") for part in file.split(mode.replace("\\n", "\n"))]
    return [part for part in parts if part]


@pytest.mark.parametrize("mode", MODES[1:])
@given(files=st.lists(TEXTS, max_size=3), size=st.sampled_from([1, 2, 3, 5, None]))
def test_pieces_of_any_size_give_the_defined_documents(mode, files, size):
    found, splitter = documents(mode, *files, size=size)
    assert found == [part for file in files for part in plain(mode, file)]
    assert splitter.num_documents == len(found)


@given(TEXTS)
def test_mode_none_changes_nothing(text):
    assert documents("none", text)[0] == [text]


def test_every_character_of_a_line_corpus_is_kept_once():
    text = "anna\nbo\n"
    found, splitter = documents("line", text)
    assert found == ["anna", "bo"]
    assert sum(map(len, found)) + splitter.num_documents == len(text)  # the boundary replaces the newline


def test_empty_documents_are_counted():
    _, splitter = documents("line", "a\n\n\nb\n")
    assert (splitter.num_documents, splitter.num_empty) == (2, 2)


@pytest.mark.parametrize("size", [1, 2, 3, None])
def test_the_count_of_empty_documents_is_independent_of_the_piece_size(size):
    _, splitter = documents("--", "a----b--\n--c--", size=size)
    assert (splitter.num_documents, splitter.num_empty) == (3, 2)
