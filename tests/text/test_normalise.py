import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.text.normalise import Cleaner, clean, with_sorted_marks

# Letters, marks of several classes, Hangul jamo, half-width kana marks, Indic vowel signs, line ends: characters that a cut could affect.
DELICATE = "aeAq\r\n\r\n \u0301\u0323\u0300\u0345\u0651\u064e\u0622\u0627\u0653\u1100\u1161\u11a8\uac00\u0b47\u0b3e\uff76\uff9e\u304b\u3099\u1e0b\u0344\ufb01\u4e00"
FORMS = ["nfc", "nfd", "nfkc", "nfkd", "none"]


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text(st.sampled_from(DELICATE)), cuts=st.lists(st.integers(0, 60), max_size=8))
def test_cleaning_is_independent_of_the_pieces(form, text, cuts):
    config = TextConfig(normalization=form)
    cleaner, edges = Cleaner(config), sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [cleaner.feed(text[start:stop]) for start, stop in itertools.pairwise(edges)]
    assert "".join(pieces) + cleaner.feed("", final=True) == clean(text, config)


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text(st.characters(exclude_categories=()), max_size=40))
def test_single_characters_of_all_of_unicode_are_cleaned_like_the_whole(form, text):
    config = TextConfig(normalization=form)
    cleaner = Cleaner(config)
    assert "".join(map(cleaner.feed, text)) + cleaner.feed("", final=True) == clean(text, config)


def test_a_stream_is_not_buffered():
    cleaner, text = Cleaner(TextConfig()), "漢字かな交じり文" * 10
    assert cleaner.feed(text) == text[:-1]
    assert cleaner.feed(text) == text[-1] + text[:-1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "text",
    [
        "a\r\nb\r\n\r\rc\r\n",
        "\u4e00\r\n\u4e00\r\n",
        "\u1100\u1161\u11a8\u1100\u1161\u11a8",  # Hangul jamo: no marks, yet three become one
        "\u0b47\u0b3e\u0b47\u0b3e",  # Oriya vowel signs, both of combining class 0
        "\u30ab\uff9e\u30ab\uff9e",  # a half-width sound mark joins only under NFKC
        "\u0627\u0653\u0627\u064e\u0651",
    ],
)
def test_every_cut_of_text_that_combines_backwards(form, text):
    config = TextConfig(normalization=form)
    for cut in range(len(text) + 1):
        cleaner = Cleaner(config)
        pieces = cleaner.feed(text[:cut]) + cleaner.feed(text[cut:]) + cleaner.feed("", final=True)
        assert pieces == clean(text, config)


def test_newlines_and_normal_forms():
    assert clean("a\r\nb\rc\n\r", TextConfig()) == "a\nb\nc\n\n"
    assert clean("e\u0301ﬁ", TextConfig()) == "éﬁ"
    assert clean("e\u0301ﬁ", TextConfig(normalization="nfkc")) == "éfi"
    assert clean("e\u0301ﬁ", TextConfig(normalization="none")) == "e\u0301ﬁ"


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_is_in_normal_form(text):
    cleaned = clean(text, TextConfig())
    assert unicodedata.is_normalized("NFC", cleaned)
    assert clean(cleaned, TextConfig()) == cleaned


@pytest.mark.parametrize("form", FORMS)
@given(
    text=st.text(st.sampled_from(DELICATE + "\u200b\ufffd")), cuts=st.lists(st.integers(0, 60), max_size=8)
)
def test_replacing_is_independent_of_the_pieces(form, text, cuts):
    config = TextConfig(normalization=form, replace_chars="U+FFFD=,U+200B=,a=\u0301")
    cleaner, edges = Cleaner(config), sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [cleaner.feed(text[start:stop]) for start, stop in itertools.pairwise(edges)]
    assert "".join(pieces) + cleaner.feed("", final=True) == clean(text, config)


def test_characters_are_replaced_as_they_would_be_learnt():
    assert clean("a\ufffdb\u200b", TextConfig(replace_chars="U+FFFD=?,U+200B=")) == "a?b"
    assert clean("e\u0301", TextConfig(replace_chars="U+00E9=e")) == "e"  # after normalisation
    assert (
        clean("e\u200b\u0301", TextConfig(replace_chars="U+200B=")) == "\u00e9"
    )  # what meets is normalised again


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_raw_bytes_are_not_changed(text):
    assert clean(text, TextConfig(unit="byte")) == text
    assert clean("e\u0301\r\n", TextConfig(unit="byte", clean_bytes=True)) == "\u00e9\n"


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_long_runs_of_marks_have_the_same_normal_form(form, rng):
    """Also of marks that consist of two, that only a compatibility form has, and next to what they combine with."""
    pool, num_changed = (
        "a\u0301\u0327\u0344\u0f71\u0f72\u0f73\u0f75\u0345\uff9e\uff9f\u3099é\uac00\u11a8\u0323\u05b0",
        0,
    )
    for rare in (0.0, 0.02, 1.0):
        weights = np.array([rare if char in "aé\uac00\u11a8" else 1.0 for char in pool])
        for length in rng.integers(0, 400, 40):
            text = "".join(rng.choice(list(pool), length, p=weights / weights.sum()))
            sorted_text = with_sorted_marks(text, form)
            assert unicodedata.normalize(form, sorted_text) == unicodedata.normalize(form, text)
            num_changed += sorted_text != text
    assert num_changed > 30
