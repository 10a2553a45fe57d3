import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.generation.rows import Row, Spelling, StopWatch
from charloom.text.vocabulary import Vocabulary

from .fakes import BYTES

texts = st.text("ab", max_size=30)
stop_lists = st.lists(st.text("ab", min_size=1, max_size=5), max_size=3)


def naive_end(text, stops):
    """Read on until some stop string stands complete at the end; cut the longest that does."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


def held_back(text, stops):
    """The length of the longest end of a text that may be the beginning of a stop string."""
    return max((k for stop in stops for k in range(len(stop)) if text.endswith(stop[:k])), default=0)


@given(texts, stop_lists)
def test_stop_watch_is_its_twin(text, stops):
    watch, shown = StopWatch(stops), ""
    for position, char in enumerate(text, start=1):
        sure, stopped = watch.push(char)
        shown += sure
        if stopped:
            assert (shown, True) == naive_end(text, stops)
            return
        assert len(shown) == position - held_back(text[:position], stops)  # no less, no more
    assert (shown + watch.rest(), False) == naive_end(text, stops)


@pytest.mark.parametrize(
    ("stops", "text", "written"),
    [
        (["END"], "xENDy", "x"),
        (["END"], "EEND", "E"),  # a beginning inside a beginning
        (["aab"], "aaab", "a"),
        (["abc", "b"], "xabc", "xa"),  # the first to be complete
        (["ab", "b"], "xab", "x"),  # both complete at once: the longer
        (["\n\n"], "a\nb\n\nc", "a\nb"),
        (["no"], "yes", "yes"),
        (["sure"], "su", "su"),  # never completed
    ],
)
def test_stops_by_hand(stops, text, written):
    row = Row(0, "", Vocabulary.from_text(text), stops=stops)
    for char_id in row_ids(text):
        row.read(np.array([char_id]))
        if row.finish_reason:
            break
    else:
        row.finish("interrupted")
    assert row.text == written


def row_ids(text):
    return Vocabulary.from_text(text).encode(text).tolist()


@given(st.binary(max_size=12))
def test_bytes_spell_what_decode_shows(data):
    spelling, chars = Spelling(BYTES), []
    for byte in data:
        chars += spelling.push(byte)
    chars += spelling.rest()
    assert "".join(chars) == BYTES.decode(list(data))
    assert all(len(char) == 1 or char.startswith("\\x") for char in chars)


@given(st.text(max_size=8))
def test_pieces_are_whole_characters(text):
    row, pieces = Row(0, "", BYTES), []
    for byte in text.encode("utf-8"):
        pieces.append(row.read(np.array([byte])))
    assert "".join(pieces) == text
    assert [piece for piece in pieces if piece] == list(text)


@pytest.mark.parametrize(
    ("data", "length", "text"),
    [
        ("éà".encode(), 2, "éà"),  # characters, not bytes
        (b"\xc3\xc3\xa9", 2, "\\xc3é"),  # a byte that is none counts as one
        (b"\xe2\x82a", 1, "\\xe2"),  # one id gives three characters at once: the rest is cut
        (b"\xe2\x82a", 3, "\\xe2\\x82a"),
    ],
)
def test_length_counts_characters(data, length, text):
    row = Row(0, "", BYTES, length=length)
    for byte in data:
        assert row.finish_reason is None
        row.read(np.array([byte]))
    assert (row.text, row.finish_reason) == (text, "length")


def test_an_unfinished_character_is_shown_when_the_sample_ends():
    row = Row(0, "", BYTES, length=3)
    row.read(np.array([0x61]))
    assert row.read(np.array([0xE2])) == ""
    assert row.finish("interrupted") == "\\xe2"
    assert (row.text, row.finish_reason) == ("a\\xe2", "interrupted")


@pytest.mark.parametrize(
    ("settings", "text", "reason"),
    [
        ({"length": 1}, "\\xe2", "length"),
        ({"stops": ["\\xe2"]}, "", "stop"),
        ({"length": 2}, "\\xe2", "boundary"),
    ],
)
def test_the_rest_itself_may_reach_the_length_or_be_a_stop_string(settings, text, reason):
    row = Row(0, "", BYTES, **settings)
    row.read(np.array([0xE2]))
    assert row.finish("boundary") == text
    assert (row.text, row.finish_reason) == (text, reason)


def test_the_length_releases_what_was_held_back():
    row = Row(0, "", Vocabulary.from_text("ab"), stops=["ab"], length=2)
    assert [row.read(np.array([1])), row.read(np.array([0]))] == ["b", "a"]
    assert row.finish_reason == "length"


def test_a_stop_string_that_ends_at_the_length_is_a_stop():
    row = Row(0, "", Vocabulary.from_text("ab"), stops=["ab"], length=2)
    assert [row.read(np.array([0])), row.read(np.array([1]))] == ["", ""]
    assert (row.text, row.finish_reason) == ("", "stop")
