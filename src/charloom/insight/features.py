"""What a reader would say of each character: its class, its place in the word and the line, what it stands inside of.

All of it is about the character just read and what came before: a network that has read no further can know it too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from charloom.text.similar import skeleton
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

VOWELS = frozenset(map(skeleton, "aeiouyаеиоуыэюяαεηιουωاوي"))
"""Skeletons of vowel letters, Latin, Cyrillic and Greek; of Arabic the long ones, which alone are letters."""

QUOTES = {"“": 1, "”": -1, "«": 1, "»": -1}
"""What opens and what closes; a straight double quote does either, and a single one is an apostrophe too often to count."""

BRACKETS = dict.fromkeys("([{", 1) | dict.fromkeys(")]}", -1)

CLASSES = ("lowercase", "uppercase", "letter", "mark", "digit", "space", "newline", "punctuation", "other")
"""Every character belongs to one. ``letter`` is one without case, ``mark`` an accent or vowel sign of its own."""


def chars_of(vocab: Vocabulary) -> tuple[str, ...]:
    """What each id stands for, one character each: a boundary is a newline, what is no character by itself is U+FFFD."""
    pieces = [vocab.decode([i], boundary="\n") for i in range(len(vocab))]
    return tuple(piece if len(piece) == 1 else "\N{REPLACEMENT CHARACTER}" for piece in pieces)


def char_class(char: str) -> str:
    r"""The one of `CLASSES` that a character belongs to.

    Example:
        >>> [char_class(char) for char in "aÉع4 \n!€"]
        ['lowercase', 'uppercase', 'letter', 'digit', 'space', 'newline', 'punctuation', 'other']
    """
    if char == "\n":
        return "newline"
    category = unicodedata.category(char)
    if category in ("Ll", "Lu", "Lt"):
        return "lowercase" if category == "Ll" else "uppercase"
    if char.isspace():
        return "space"
    return {"L": "letter", "M": "mark", "N": "digit", "P": "punctuation"}.get(category[0], "other")


def is_vowel(char: str) -> bool:
    """Whether a letter is a vowel, accents and case aside."""
    return skeleton(char) in VOWELS


def features(chars: Sequence[str]) -> dict[str, Int[Array, "N"]]:
    """Label every character of a text; 0 and 1 where it is a matter of yes or no.

    ``line_position`` counts the characters since the last newline, ``word_position`` the letters since the word began, 0 outside words.
    Quotes and brackets that nobody closes end with their paragraph: a blank line shuts them.
    """
    named = np.array(classes_of(chars))
    letters = np.isin(named, ("lowercase", "uppercase", "letter", "mark"))
    word = _run_length(letters)
    return {
        "line_position": _run_length(named != "newline"),
        "word_position": word,
        "inside_quotes": _inside(chars, QUOTES, toggles='"'),
        "inside_brackets": _inside(chars, BRACKETS),
        "uppercase": (named == "uppercase").astype(int),
        "vowel": np.array([is_vowel(char) for char in chars]).astype(int) * letters,
        "letter": letters.astype(int),
        "word_start": (word == 1).astype(int),
        "space": (named == "space").astype(int),
        "newline": (named == "newline").astype(int),
        "digit": (named == "digit").astype(int),
        "punctuation": (named == "punctuation").astype(int),
    }


def _run_length(inside: Array) -> Int[Array, "N"]:
    """How many true values in a row end at each place."""
    at = np.arange(1, len(inside) + 1)
    last_outside = np.maximum.accumulate(np.where(inside, 0, at))
    return at - last_outside


def _inside(chars: Sequence[str], signs: dict[str, int], toggles: str = "") -> Int[Array, "N"]:
    """Whether something opened earlier is still open; the sign that closes it stands outside."""
    depth, found, before = 0, [], ""
    for char in chars:
        if char == before == "\n":
            depth = 0
        step = signs.get(char, 0) if char not in toggles else (-1 if depth else 1)
        depth = max(0, depth + step)
        found.append(depth > 0)
        before = char
    return np.array(found, int)


def classes_of(chars: Sequence[str]) -> list[str]:
    """`char_class` of every character of a text."""
    known = {char: char_class(char) for char in set(chars)}
    return [known[char] for char in chars]
