"""What in a generated text is new: words that do not exist, names that were not known; what was copied is for `copies` to tell.

A *word* is a letter with the letters and combining marks after it; apostrophes and zero-width joiners may stand inside
(don't, aujourd’hui, می‌خواهم). Digits, punctuation and white space end it. Words are compared as they are written: case
counts, and both texts are expected in one normal form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from charloom.errors import DataError

_INSIDE_WORDS = "'’\u200c\u200d"  # apostrophes; the joiners of Persian and Indic words


def known_word_share(generated: str, training_text: str) -> float:
    """Share of the generated words that occur in the training text, each counted as often as it was written.

    Args:
        generated: the text to judge, at least one word.
        training_text: the text whose words are known.

    Returns:
        A share in [0, 1].

    Raises:
        DataError: the generated text holds no word.

    Example:
        >>> known_word_share("the cat zat, the end", "The end of the cat")
        0.8
    """
    words = _word_pattern(generated).findall(generated)
    if not words:
        raise DataError(
            f"a text of {len(generated)} characters holds no word",
            why="the share of known words is a mean over words",
            fix="generate a longer text",
        )
    known = {match.group() for match in _word_pattern(training_text).finditer(training_text)}
    return sum(word in known for word in words) / len(words)


def unseen_share(items: list[str], training_items: Iterable[str]) -> float:
    """Share of generated documents, names for example, that are none of the training documents.

    Args:
        items: the generated documents, at least one; repeated ones count each time.
        training_items: the training documents; an iterator is read once and not stored.

    Returns:
        A share in [0, 1].

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
    """A pattern for the words of one text; its letters are those that the text holds."""
    kinds = {char: unicodedata.category(char)[0] for char in set(text)}
    letters = "".join(char for char, kind in kinds.items() if kind == "L")
    marks = "".join(char for char, kind in kinds.items() if kind == "M")
    run = f"[{letters}][{letters}{marks}]*" if letters else "(?!)"
    return re.compile(f"{run}(?:[{_INSIDE_WORDS}]{run})*")
