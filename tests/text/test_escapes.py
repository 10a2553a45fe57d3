import pytest

from charloom.text.escapes import unescape


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"\n", "\n"),
        (r"\r\n\t\0", "\r\n\t\0"),
        (r"\\newpage", r"\newpage"),
        (r"\newpage", "\newpage"),
        (r"\\\n", "\\\n"),
        (r"\d+\.", r"\d+\."),
        ("a\nb\\", "a\nb\\"),
        ("", ""),
    ],
)
def test_escapes_by_hand(typed, meant):
    assert unescape(typed) == meant


def test_every_text_can_be_written():
    for text in ("\\", "\n", "\\n", "\\\\n", "\n\\", "\\0\0"):
        assert unescape(text.replace("\\", "\\\\")) == text
