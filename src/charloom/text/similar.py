"""The known character nearest to an unknown one: ' for ’, e for é, ي for ی.

Two characters are near if they have the same skeleton: the first letter of the compatibility decomposition, without
accents and case, with all members of a family below treated as one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

FAMILIES = (
    "'’‘‚‛ʼ`´′",
    '"“”„‟«»″',
    "-‐‑‒–—―−ـ",
    ".…۔。",
    ",،、",
    ";؛",
    "?؟",
    "%٪",
    "*٭•·",
    " \t\n\u2028\u2029",
    "كکڪ",
    "يیىې",
    "هةەہھ",
    "اٱ",
    "вѵ",
    "ßs",
    "æa",
    "œo",
    "øo",
    "łl",
    "đd",
    "ðd",
    "ıi",
)
_FAMILY = {char: family[0] for family in FAMILIES for char in family}


def skeleton(char: str) -> str:
    """Reduce a character to its base letter, without accent, case, form and family.

    Example:
        >>> [skeleton(char) for char in "É’ﻙ٣"]
        ['e', "'", 'ك', '3']
    """
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    for part in unicodedata.normalize("NFKD", char):
        if not unicodedata.combining(part):
            folded = part.casefold()[:1] or part
            return _FAMILY.get(folded, folded)
    return char


def group_by_skeleton(chars: Iterable[str]) -> dict[str, list[str]]:
    """The characters of each skeleton, in the order given."""
    groups: dict[str, list[str]] = {}
    for char in chars:
        groups.setdefault(skeleton(char), []).append(char)
    return groups


def similar_char(char: str, known: frozenset[str], by_skeleton: Mapping[str, list[str]]) -> str | None:
    """The known text nearest to `char`: its decomposition, else a character of its skeleton, preferably of its case.

    `by_skeleton` has the characters of `known`, as returned by `group_by_skeleton`.
    """
    if char in known:
        return char
    for form in ("NFC", "NFKC", "NFKD"):
        expansion = unicodedata.normalize(form, char)
        if all(part in known for part in expansion):
            return expansion
    candidates = by_skeleton.get(skeleton(char), [])
    return min(candidates, key=lambda candidate: candidate.isupper() != char.isupper(), default=None)
