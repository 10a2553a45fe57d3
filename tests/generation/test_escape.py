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
        # logical order, marks and joiners are kept
        ("كان\u200f می\u200cخواهم\u061c", "كان\u200f می\u200cخواهم\u061c"),
    ],
)
def test_visible_by_hand(text, shown):
    assert visible(text) == shown


def test_every_unicode_control_character_is_replaced():
    reordering = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for code in range(0x110000):
        char = chr(code)
        controls = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        controls |= unicodedata.bidirectional(char) in reordering
        assert (visible(char) != char) == (controls and char not in "\n\t"), hex(code)


@given(any_text, any_text)
def test_a_text_can_be_escaped_piece_by_piece(left, right):
    assert visible(left + right) == visible(left) + visible(right)
    visible(left).encode("utf-8")
    assert visible(visible(left)) == visible(left)


@given(st.characters(exclude_categories=()))
def test_a_sign_is_visible_and_stays_on_one_line(char):
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


# Arabic and Hebrew letters, Arabic digits, mixed text
@pytest.mark.parametrize("text", ["ع", "א", "٣", "a ע"])
def test_right_to_left_text_is_isolated(text):
    assert isolated(text) == f"\u2068{text}\u2069"


@given(any_text)
def test_only_right_to_left_text_is_wrapped_in_one_pair_of_isolates(text):
    shown = isolated(text)
    inside = visible(text)
    assert shown in (inside, f"\u2068{inside}\u2069")
    right_to_left = any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in inside)
    assert (shown != inside) == right_to_left
