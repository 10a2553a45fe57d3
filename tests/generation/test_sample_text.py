import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.generation.sample_text import IncrementalDecoder, SampleText, StopMatcher
from charloom.text.vocabulary import Vocabulary

from .fakes import BYTES

texts = st.text("ab", max_size=30)
stop_lists = st.lists(st.text("ab", min_size=1, max_size=5), max_size=3)


def naive_end(text, stops):
    """Read until a stop string is complete at the end; cut the longest such string."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


def held_back(text, stops):
    """The length of the longest suffix that may be the start of a stop string."""
    return max((k for stop in stops for k in range(len(stop)) if text.endswith(stop[:k])), default=0)


@given(texts, stop_lists)
def test_the_stop_matcher_agrees_with_the_naive_version(text, stops):
    matcher, shown = StopMatcher(stops), ""
    for position, char in enumerate(text, start=1):
        final, stopped = matcher.push(char)
        shown += final
        if stopped:
            assert (shown, True) == naive_end(text, stops)
            return
        assert len(shown) == position - held_back(text[:position], stops)  # no less, no more
    assert (shown + matcher.rest(), False) == naive_end(text, stops)


@pytest.mark.parametrize(
    ("stops", "text", "written"),
    [
        (["END"], "xENDy", "x"),
        (["END"], "EEND", "E"),  # a start within a start
        (["aab"], "aaab", "a"),
        (["abc", "b"], "xabc", "xa"),  # the first to complete
        (["ab", "b"], "xab", "x"),  # both complete at once: the longer
        (["\n\n"], "a\nb\n\nc", "a\nb"),
        (["no"], "yes", "yes"),
        (["sure"], "su", "su"),  # never completed
    ],
)
def test_stop_strings_by_hand(stops, text, written):
    sample = SampleText(0, "", Vocabulary.from_text(text), stops=stops)
    for char_id in ids_of(text):
        sample.add(np.array([char_id]))
        if sample.finish_reason:
            break
    else:
        sample.finish("interrupted")
    assert sample.text == written


def ids_of(text):
    return Vocabulary.from_text(text).encode(text).tolist()


@given(st.binary(max_size=12))
def test_the_decoder_agrees_with_decode_for_any_bytes(data):
    decoder, chars = IncrementalDecoder(BYTES), []
    for byte in data:
        chars += decoder.push(byte)
    chars += decoder.rest()
    assert "".join(chars) == BYTES.decode(list(data))
    assert all(len(char) == 1 or char.startswith("\\x") for char in chars)


@given(st.text(max_size=8))
def test_pieces_are_whole_characters(text):
    sample, pieces = SampleText(0, "", BYTES), []
    for byte in text.encode("utf-8"):
        pieces.append(sample.add(np.array([byte])))
    assert "".join(pieces) == text
    assert [piece for piece in pieces if piece] == list(text)


@pytest.mark.parametrize(
    ("data", "length", "text"),
    [
        ("éà".encode(), 2, "éà"),  # characters, not bytes
        (b"\xc3\xc3\xa9", 2, "\\xc3é"),  # an invalid byte counts as one
        (b"\xe2\x82a", 1, "\\xe2"),  # one id gives three characters at once: the rest is cut
        (b"\xe2\x82a", 3, "\\xe2\\x82a"),
    ],
)
def test_length_counts_characters(data, length, text):
    sample = SampleText(0, "", BYTES, length=length)
    for byte in data:
        assert sample.finish_reason is None
        sample.add(np.array([byte]))
    assert (sample.text, sample.finish_reason) == (text, "length")


def test_an_incomplete_character_is_shown_when_the_sample_ends():
    sample = SampleText(0, "", BYTES, length=3)
    sample.add(np.array([0x61]))
    assert sample.add(np.array([0xE2])) == ""
    assert sample.finish("interrupted") == "\\xe2"
    assert (sample.text, sample.finish_reason) == ("a\\xe2", "interrupted")


@pytest.mark.parametrize(
    ("settings", "text", "reason"),
    [
        ({"length": 1}, "\\xe2", "length"),
        ({"stops": ["\\xe2"]}, "", "stop"),
        ({"length": 2}, "\\xe2", "boundary"),
    ],
)
def test_held_back_bytes_can_reach_the_length_or_complete_a_stop_string(settings, text, reason):
    sample = SampleText(0, "", BYTES, **settings)
    sample.add(np.array([0xE2]))
    assert sample.finish("boundary") == text
    assert (sample.text, sample.finish_reason) == (text, reason)


def test_reaching_the_length_releases_held_back_text():
    sample = SampleText(0, "", Vocabulary.from_text("ab"), stops=["ab"], length=2)
    assert [sample.add(np.array([1])), sample.add(np.array([0]))] == ["b", "a"]
    assert sample.finish_reason == "length"


def test_a_stop_string_that_ends_at_the_length_is_a_stop():
    sample = SampleText(0, "", Vocabulary.from_text("ab"), stops=["ab"], length=2)
    assert [sample.add(np.array([0])), sample.add(np.array([1]))] == ["", ""]
    assert (sample.text, sample.finish_reason) == ("", "stop")
