"""Features of characters in short texts, labelled by hand."""

import pytest

from charloom.insight.features import CLASSES, char_class, chars_of, features, is_vowel
from charloom.text import Vocabulary

CASES = {
    "line_position": ("ab\nc\n\nde", [1, 2, 0, 1, 0, 0, 1, 2]),
    "word_position": ("ab c, dé", [1, 2, 0, 1, 0, 0, 1, 2]),
    "word_start": ("ab c, d", [1, 0, 0, 1, 0, 0, 1]),
    "inside_quotes": ('a"bc"d «e» “f”', [0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0]),
    "inside_brackets": ("a(b[c]d)e)f(", [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1]),
    "uppercase": ("aBÉ1", [0, 1, 1, 0]),
    "vowel": ("aBÉy اب1", [1, 0, 1, 1, 0, 1, 0, 0]),
    "letter": ("aع1 ", [1, 1, 0, 0]),
    "space": ("a \t\n", [0, 1, 1, 0]),
    "newline": ("a \t\n", [0, 0, 0, 1]),
    "digit": ("a1٣", [0, 1, 1]),
    "punctuation": ("a,؟-", [0, 1, 1, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_feature_of_a_short_text_matches_hand_labels(name):
    text, expected = CASES[name]
    assert features(text)[name].tolist() == expected


def test_every_feature_has_a_case():
    assert features("a").keys() == CASES.keys()


def test_unclosed_quotes_and_brackets_end_with_the_paragraph():
    assert features('a "b\nc\n\nd')["inside_quotes"].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert features("(b\n\nc")["inside_brackets"].tolist() == [1, 1, 1, 0, 0]


def test_a_vowel_sign_is_part_of_the_word():
    assert features("بَب")["word_position"].tolist() == [1, 2, 3]
    assert features("بَب")["vowel"].tolist() == [0, 0, 0]


def test_every_class_has_a_character():
    assert sorted({char_class(char) for char in "aAع\u064e1 \n,€"}) == sorted(CLASSES)


def test_vowels_in_three_scripts():
    assert [char for char in "aeéÜbяшωσايب" if is_vowel(char)] == list("aeéÜяωاي")


def test_the_character_of_each_id():
    assert chars_of(Vocabulary.from_text("ab")) == ("a", "b")
    with_specials = Vocabulary("char", (97,), ("<unk>", "<boundary>"))
    assert chars_of(with_specials) == ("a", "\N{REPLACEMENT CHARACTER}", "\n")
    in_bytes = chars_of(Vocabulary("byte", tuple(range(256))))
    assert (in_bytes[97], in_bytes[200], len(in_bytes)) == ("a", "\N{REPLACEMENT CHARACTER}", 256)
