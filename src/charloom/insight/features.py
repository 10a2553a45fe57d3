"""Visible features of each character: its class, its position in word and line, whether it is quoted or bracketed.

Every feature depends only on the character just read and those before it, so the network can know it too.
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
"""Skeletons of Latin, Cyrillic and Greek vowels, and of the long Arabic vowels, the only ones written as letters."""

QUOTES = {"“": 1, "”": -1, "«": 1, "»": -1}
"""Opening and closing quotes; a straight double quote can be either, and a single quote is too often an apostrophe."""

BRACKETS = dict.fromkeys("([{", 1) | dict.fromkeys(")]}", -1)

CLASSES = ("lowercase", "uppercase", "letter", "mark", "digit", "space", "newline", "punctuation", "other")
"""The classes of characters. ``letter`` is a letter without case, ``mark`` a combining accent or vowel sign."""


def chars_of(vocab: Vocabulary) -> tuple[str, ...]:
    """The character of each id: a newline for a boundary, U+FFFD for an id that is not a single character."""
    pieces = [vocab.decode([i], boundary="\n") for i in range(len(vocab))]
    return tuple(piece if len(piece) == 1 else "\N{REPLACEMENT CHARACTER}" for piece in pieces)


def char_class(char: str) -> str:
    r"""The class of a character, one of `CLASSES`.

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
    """Whether a letter is a vowel, ignoring accents and case."""
    return skeleton(char) in VOWELS


def features(chars: Sequence[str]) -> dict[str, Int[Array, "N"]]:
    """Label every character of a text; binary features are 0 or 1.

    ``line_position`` counts the characters since the last newline, ``word_position`` the letters since the word
    began (0 outside words). A blank line closes any open quotes and brackets.
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
    """The length of the run of true values that ends at each position."""
    at = np.arange(1, len(inside) + 1)
    last_outside = np.maximum.accumulate(np.where(inside, 0, at))
    return at - last_outside


def _inside(chars: Sequence[str], signs: dict[str, int], toggles: str = "") -> Int[Array, "N"]:
    """Whether a quote or bracket opened earlier is still open; the closing sign itself counts as outside."""
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
