"""New words and new documents in generated text; `memorisation` finds copied passages.

A *word* is a letter and the letters and combining marks that follow it; apostrophes and zero-width joiners may occur
inside (don't, aujourd’hui, می‌خواهم). Digits, punctuation and white space end it. Words are compared as written: case
matters, and both texts must be in the same normal form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from charloom.errors import DataError

_INSIDE_WORDS = "'’\u200c\u200d"  # apostrophes; the joiners of Persian and Indic words


def known_word_share(generated: str, training_text: str) -> float:
    """Share of the generated words that occur in the training text, in [0, 1]; repeated words count each time.

    Raises:
        DataError: the generated text does not contain a word.

    Example:
        >>> known_word_share("the cat zat, the end", "The end of the cat")
        0.8
    """
    words = _word_pattern(generated).findall(generated)
    if not words:
        raise DataError(
            f"a text of {len(generated)} characters does not contain a word",
            why="the share of known words is a mean over words",
            fix="generate a longer text",
        )
    known = {match.group() for match in _word_pattern(training_text).finditer(training_text)}
    return sum(word in known for word in words) / len(words)


def unseen_share(items: list[str], training_items: Iterable[str]) -> float:
    """Share of generated documents, such as names, that are not training documents, in [0, 1].

    Repeated items count each time. `training_items` is read once and not stored.

    Raises:
        DataError: there are no generated documents.

    Example:
        >>> unseen_share(["emma", "lumia", "noah", "noah"], ["emma", "noah", "olivia"])
        0.25
    """
    if not items:
        raise DataError(
            "there are no generated documents",
            why="the share of unseen ones is a mean over them",
            fix="generate at least one",
        )
    known = set(items).intersection(training_items)
    return sum(item not in known for item in items) / len(items)


def _word_pattern(text: str) -> re.Pattern[str]:
    """A pattern for the words of one text, built from the letters that occur in it."""
    kinds = {char: unicodedata.category(char)[0] for char in set(text)}
    letters = "".join(char for char, kind in kinds.items() if kind == "L")
    marks = "".join(char for char, kind in kinds.items() if kind == "M")
    run = f"[{letters}][{letters}{marks}]*" if letters else "(?!)"
    return re.compile(f"{run}(?:[{_INSIDE_WORDS}]{run})*")
