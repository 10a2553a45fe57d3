"""Signs of wrong decoding in a text: mojibake, replacement, control and direction characters.

charloom warns about them and never repairs them: one wrong repair would corrupt a text silently.
"""

from __future__ import annotations

from collections.abc import Mapping

_MISREADINGS = ("cp1252", "latin-1", "cp1256")
_SAMPLE = 200_000  # characters checked for mojibake
_MIN_PLACES = 3
_BIDI_CONTROLS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = (*range(1, 9), *range(0x0E, 0x20), 0x7F, *range(0x80, 0xA0))


def mojibake_note(text: str) -> str | None:
    """Return a note if a text looks like UTF-8 that was decoded with another encoding.

    Encoded back with that other encoding, such a text is valid UTF-8 nearly everywhere; a correctly decoded one
    hardly anywhere.

    Example:
        >>> mojibake_note("déjà vu à Orléans".encode("utf-8").decode("latin-1"))
        'looks like UTF-8 that was once read as cp1252 (4 places): repair it before training'
        >>> mojibake_note("déjà vu à Orléans") is None
        True
    """
    sample = text[:_SAMPLE]
    if sample.isascii():
        return None
    foreign = sum(char > "\x7f" for char in sample)
    for codec in _MISREADINGS:
        again = sample.encode(codec, "ignore").decode("utf-8", "replace")
        wrong = again.count("\N{REPLACEMENT CHARACTER}")
        places = sum(char > "\x7f" for char in again) - wrong
        if places >= _MIN_PLACES and places > 4 * wrong and 4 * places > foreign:
            return (
                f"looks like UTF-8 that was once read as {codec} ({places} places): repair it before training"
            )
    return None


def character_notes(text: str) -> list[str]:
    """`count_notes` of a text's characters."""
    codes = (*_BIDI_CONTROLS, *_CONTROLS, 0, 0xFFFD)
    return count_notes({code: text.count(chr(code)) for code in codes})


def count_notes(counts: Mapping[int, int]) -> list[str]:
    """Report characters that are rarely intended, given the count of each code point.

    Example:
        >>> count_notes({0x61: 9, 0x200F: 2, 0xFFFD: 1})
        ['1 replacement character U+FFFD: some program could not decode the original',
         '2 direction controls (bidi), invisible but learnt like any other character']
    """
    kinds = (
        ((0xFFFD,), "replacement character", " U+FFFD: some program could not decode the original"),
        ((0,), "NUL character", " U+0000"),
        (_CONTROLS, "control character", ", learnt like any other character"),
        (_BIDI_CONTROLS, "direction control", " (bidi), invisible but learnt like any other character"),
    )
    totals = [(sum(counts.get(code, 0) for code in codes), noun, rest) for codes, noun, rest in kinds]
    return [f"{number:,} {noun}{'s' * (number > 1)}{rest}" for number, noun, rest in totals if number]
