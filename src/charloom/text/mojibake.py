"""Signs of wrong decoding in a text: mojibake, replacement, control and direction characters.

charloom warns about them and never repairs them: one wrong repair would corrupt a text silently.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

_MISREADINGS = ("cp1252", "latin-1", "cp1256")
_SAMPLE = 200_000  # characters checked for mojibake
_MIN_PLACES = 3
_NUM_LISTED = 6  # characters named in a note
_BIDI_CONTROLS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = (*range(1, 9), *range(0x0E, 0x20), 0x7F, *range(0x80, 0xA0))
_FILLERS = {
    0x34F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x3164,
    0xFFA0,
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
}
"""Fillers, joiners and variation selectors that are not format characters by category."""
_SPELLING = {0x200C, 0x200D, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)}
"""Joiners and variation selectors: part of the spelling in Persian, Indic scripts, Mongolian and emoji."""
_VISIBLE_FORMATS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Signs that enclose the digits after them, such as the end of a verse."""


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
    foreign = _num_foreign(sample)
    for codec in _MISREADINGS:
        again = sample.encode(codec, "ignore").decode("utf-8", "replace")
        wrong = again.count("\N{REPLACEMENT CHARACTER}")
        places = _num_foreign(again) - wrong
        if places >= _MIN_PLACES and places > 4 * wrong and 4 * places > foreign:
            return (
                f"looks like UTF-8 that was once read as {codec} ({places} places): repair it before training"
            )
    return None


def _num_foreign(text: str) -> int:
    """How many characters are not ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def character_notes(text: str) -> list[str]:
    """`count_notes` of a text's characters."""
    codes = (
        *_BIDI_CONTROLS,
        *_CONTROLS,
        0,
        0xFFFD,
    )  # a training reports other invisible ones, with their places
    return count_notes({code: text.count(chr(code)) for code in codes})


def count_notes(counts: Mapping[int, int], places: Mapping[int, str] | None = None) -> list[str]:
    """Report characters that are rarely intended, given the count of each code point and perhaps its first place.

    Example:
        >>> count_notes({0x61: 9, 0x200F: 2, 0xFFFD: 1})
        ['1 replacement character U+FFFD: some program could not decode the original',
         '2 direction controls (bidi), invisible but learnt like any other character: U+200F (2)']
    """
    invisible = sorted(code for code in counts if is_invisible(code) and code not in _BIDI_CONTROLS)
    kinds = (
        ((0xFFFD,), "replacement character", " U+FFFD: some program could not decode the original"),
        ((0,), "NUL character", " U+0000"),
        (_CONTROLS, "control character", ", learnt like any other character"),
        (_BIDI_CONTROLS, "direction control", " (bidi), invisible but learnt like any other character"),
        (invisible, "invisible character", ", learnt like any other"),
    )
    notes = []
    for codes, noun, rest in kinds:
        found = {code: counts[code] for code in codes if counts.get(code)}
        total = sum(found.values())
        if total:
            named = "" if noun.startswith(("replacement", "NUL")) else ": " + _listed(found, places or {})
            if noun.startswith("replacement") and places and codes[0] in places:
                rest = f" U+FFFD, first {places[codes[0]]}: some program could not decode the original"
            drop = ",".join(f"U+{code:04X}=" for code in found if code in invisible and code not in _SPELLING)
            advice = f"; --replace-chars {drop} leaves out what is not wanted" if drop else ""
            notes.append(f"{total:,} {noun}{'s' * (total > 1)}{rest}{named}{advice}")
    return notes


def _listed(found: Mapping[int, int], places: Mapping[int, str]) -> str:
    first = {code: f", first {places[code]}" if code in places else "" for code in found}
    listed = [f"U+{code:04X} ({count:,}{first[code]})" for code, count in list(found.items())[:_NUM_LISTED]]
    return ", ".join(listed) + (f" and {len(found) - _NUM_LISTED} more" if len(found) > _NUM_LISTED else "")


def is_invisible(code: int) -> bool:
    """Whether a character of Unicode shows nothing of its own and is neither a space nor a control of ASCII.

    Example:
        >>> [is_invisible(code) for code in (0xFEFF, 0x200B, 0xAD, 0xFE0F, 0x20, 0x61)]
        [True, True, True, True, False, False]
    """
    if code >= 0x110000:
        return False
    signs = code in _VISIBLE_FORMATS
    return code in _FILLERS or (unicodedata.category(chr(code)) in ("Cf", "Zl", "Zp") and not signs)


def is_notable(code: int) -> bool:
    """Whether a note says where a character occurs first."""
    return code == 0xFFFD or code in _CONTROLS or is_invisible(code)
