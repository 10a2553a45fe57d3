import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.generation import isolated, sign, visible

any_text = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x00\x07\x08\r", "␀␇␈␍"),
        ("\x1b]0;title\x07\x1b[2J", "␛]0;title␇␛[2J"),
        ("\x7f\x85\x9b31m", "␡<U+0085><U+009B>31m"),
        ("\u202eabc\u202c", "<U+202E>abc<U+202C>"),
        ("\u202a\u202d\u2066\u2069", "<U+202A><U+202D><U+2066><U+2069>"),
        ("a\u2028b\u2029", "a<U+2028>b<U+2029>"),
        ("\ud800\udfff", "<U+D800><U+DFFF>"),
        ("line\n\ttab", "line\n\ttab"),
        (
            "كان\u200f می\u200cخواهم\u061c",
            "كان\u200f می\u200cخواهم\u061c",
        ),  # logical order, marks and joiners kept
    ],
)
def test_by_hand(text, shown):
    assert visible(text) == shown


def test_every_control_character_of_unicode_is_shown():
    for code in range(0x110000):
        char = chr(code)
        commands = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(
            char
        ) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF"),
            *("LRI", "RLI", "FSI", "PDI"),
        )
        assert (visible(char) != char) == (commands and char not in "\n\t"), hex(code)


@given(any_text, any_text)
def test_pieces_may_be_shown_one_by_one(left, right):
    assert visible(left + right) == visible(left) + visible(right)
    visible(left).encode("utf-8")
    assert visible(visible(left)) == visible(left)


@given(st.characters(exclude_categories=()))
def test_a_sign_stands_by_itself_on_one_line(char):
    shown = sign(char)
    assert visible(shown) == shown
    assert not any(one.isspace() for one in shown)
    assert not unicodedata.category(shown[0]).startswith(("M", "C", "Z"))


def test_signs_by_hand():
    assert [sign(char) for char in "a ع\u0651\u200c\xa0\u202e"] == [
        "a",
        "␣",
        "ع",
        "◌\u0651",
        "<ZWNJ>",
        "<U+00A0>",
        "<U+202E>",
    ]
    assert sign("\n \n") == "↵␣↵"


@pytest.mark.parametrize("text", ["ع", "א", "٣", "a ע"])  # letters of both kinds, Arabic digits, a mixture
def test_right_to_left_is_isolated(text):
    assert isolated(text) == f"\u2068{text}\u2069"


@given(any_text)
def test_an_isolated_text_is_closed_where_it_was_opened(text):
    shown = isolated(text)
    inside = visible(text)
    assert shown in (inside, f"\u2068{inside}\u2069")
    right_to_left = any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in inside)
    assert (shown != inside) == right_to_left
