import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.text.documents import Splitter, missing_separator_note

MODES = ["none", "line", "blank-line", "file", "--", "aa", r"\n-\n", "aab"]
TEXTS = st.text(st.sampled_from("ab-\n \t"), max_size=40)


def documents(mode, *files, size=None, keep="no"):
    """The documents of some files, fed in pieces of `size` characters."""
    splitter, text, starts = Splitter(mode, keep), "", []
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


@pytest.mark.parametrize("mode", MODES[4:])
@pytest.mark.parametrize("keep", ["begin", "end"])
@given(text=TEXTS, size=st.sampled_from([1, 2, 3, 5, None]))
def test_a_separator_is_kept_on_the_side_that_is_asked_for(mode, keep, text, size):
    separator = mode.replace("\\n", "\n")
    first, *others = text.split(separator)
    parts = [first, *(separator + part for part in others)]
    if keep == "end":
        parts = [*(part + separator for part in [first, *others][:-1]), [first, *others][-1]]
    expected = [stripped for part in parts if (stripped := part.strip("\n"))]
    assert documents(mode, text, size=size, keep=keep)[0] == expected


def test_a_chess_game_keeps_its_first_tag():
    games = '[Event "a"]\n1. e4\n\n[Event "b"]\n1. d4\n'
    found, _ = documents(r"\n\n[Event ", games, keep="begin")
    assert found == ['[Event "a"]\n1. e4', '[Event "b"]\n1. d4']


@pytest.mark.parametrize(
    ("mode", "text", "expected"),
    [
        (r"\\newpage", "one\\newpage two", ["one", " two"]),
        (r"\section", "one\\section two", ["one", " two"]),
        (r"\n\\n", "one\n\\ntwo", ["one", "two"]),  # both at once
        (r"\newpage", "one\newpage two", ["one", " two"]),
    ],
)
def test_a_backslash_can_be_escaped(mode, text, expected):
    assert documents(mode, text)[0] == expected


def test_a_separator_that_never_occurs_is_told_with_how_it_was_read():
    _, splitter = documents(r"\newpage", "one\\newpage two")
    assert r"does not occur in the text: \n is a newline, \t a tab and \\ a" in missing_separator_note(
        r"\newpage", splitter
    )
    _, splitter = documents("--", "one--two")
    assert missing_separator_note("--", splitter) is None
    assert missing_separator_note("line", Splitter("line")) is None
