"""Cleaning: one kind of newline, one Unicode normal form and no unwanted characters, for whole texts and for streams.

    raw bytes    unchanged
    otherwise    \\r\\n and \\r become \\n; normalise; replace characters, if `replace_chars` names any, and normalise again

A stream may be cut only where the cleaned halves join to the cleaned whole: not inside ``\\r\\n``, and not before a
character that can combine with the one before it.
"""

from __future__ import annotations

import operator
import unicodedata
from functools import lru_cache

import numpy as np

from charloom.config import TextConfig, parse_replacements
from charloom.errors import DataError
from charloom.text.changes import Changes, Form, joins_backwards
from charloom.text.vocabulary import code_points

_FIRST_MARK = "\u0300"  # no character below it combines with, or is reordered before, the preceding one
FORMS: dict[str, Form | None] = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD", "none": None}
"""The form that each normalization stands for, as Python names it."""

_MOST_MARKS = 8192  # in a row; sorting more would take minutes, with the square of their number
_LONG_RUN = 32  # marks in a row that no script has: the stream-safe format of Unicode allows 30
_MOST_CLASS = 255  # of a combining mark
_NEAR = 4096  # characters searched backwards for such a one before the slower test


def clean(text: str, config: TextConfig) -> str:
    r"""Convert a text (or a prompt) to the newlines and the normal form that the model was trained on.

    Example:
        >>> clean("e\u0301\r\n", TextConfig())
        'é\n'
    """
    return Cleaner(config).feed(text, final=True)


class Cleaner:
    r"""`clean` for a text that arrives in pieces; `changes` counts what became of its characters, newlines apart.

    Example:
        >>> cleaner = Cleaner(TextConfig())
        >>> cleaner.feed("e") + cleaner.feed("\u0301\r") + cleaner.feed("\n", final=True)
        'é\n'
    """

    def __init__(self, config: TextConfig, changes: Changes | None = None) -> None:
        self._config = config
        self._changes = changes
        self._form = FORMS[config.normalization]
        replaced = {} if config.replace_chars is None else parse_replacements(config.replace_chars)
        self.replaced: frozenset[str] = frozenset(replaced)
        self.makes_line_ends = any("\r" in text for text in replaced.values())
        self._replaced = {ord(char): text for char, text in replaced.items()}
        self._stages = ("", "")  # what each of the two passes holds back

    def feed(self, text: str, *, final: bool = False) -> str:
        """Take the next piece; return the text that can no longer change, or all the rest if the piece is `final`."""
        if self._config.is_raw:
            return text
        first, second = self._stages
        text, first = self._normalised(first + text, final)
        if self._replaced:
            if self._changes is not None:
                self._changes.add_replaced(text, self._replaced)
            text, second = self._normalised(second + text.translate(self._replaced), final)
        self._stages = first, second
        return text

    def _normalised(self, text: str, final: bool) -> tuple[str, str]:
        """The text cleaned as far as it can no longer change, and the rest as it is."""
        end = len(text) if final else self._safe_end(text)
        text, rest = text[:end], text[end:]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self._form is None or text.isascii():
            return text, rest
        if self._changes is not None:  # of which every place is compared with its normal form
            _refuse_endless_marks(text)
        text = with_sorted_marks(text, self._form)
        normal = unicodedata.normalize(self._form, text)
        if self._changes is not None and normal != text:
            self._changes.add_normalised(text, self._form)
        return normal, rest

    def _safe_end(self, text: str) -> int:
        if self._form is None:
            return len(text) - text.endswith("\r")
        for position in range(len(text) - 1, max(len(text) - _NEAR, 0), -1):
            if text[position] < _FIRST_MARK and text[position - 1] != "\r":
                return position
        for position in range(len(text) - 1, 0, -1):
            if text[position - 1] != "\r" and not joins_backwards(text[position]):
                return position
        return 0


def with_sorted_marks(text: str, form: Form) -> str:
    """Put long runs of combining marks in canonical order, for which a normal form needs the square of their number.

    Marks of one class keep their order, so the normal form is the same. Every 32nd character is looked at.
    """
    decomposed: Form = "NFKD" if form.startswith("NFK") else "NFD"
    are_marks = [_is_mark(char, decomposed) for char in text[_LONG_RUN - 1 :: _LONG_RUN]]
    if not any(map(operator.and_, are_marks, are_marks[1:])):
        return text
    marks = {
        ord(char): unicodedata.normalize(decomposed, char) for char in set(text) if _is_mark(char, decomposed)
    }
    if of_several := {code: parts for code, parts in marks.items() if parts != chr(code)}:
        text = text.translate(of_several)
    classes = {ord(mark): unicodedata.combining(mark) for mark in set("".join(marks.values()))}
    known = np.array(sorted(classes), np.uint32)
    codes = code_points(text)
    near = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    class_of = np.where(known[near] == codes, np.array([classes[code] for code in known.tolist()])[near], 0)
    runs = np.cumsum(class_of == 0)  # a character that is no mark begins one
    order = np.argsort(runs * (_MOST_CLASS + 1) + class_of, kind="stable")
    return codes[order].tobytes().decode("utf-32-le", "surrogatepass")


@lru_cache(maxsize=4096)
def _is_mark(char: str, decomposed: Form) -> bool:
    """Whether a character consists of combining marks alone."""
    return unicodedata.combining(unicodedata.normalize(decomposed, char)[0]) != 0


def _refuse_endless_marks(text: str) -> None:
    """Refuse thousands of combining marks in a row, which a normal form sorts; only every 4,096th character is looked at."""
    step = _MOST_MARKS // 2
    looked_at = text[step - 1 :: step]
    if len(looked_at) < 2 or not any(map(unicodedata.combining, looked_at)):
        return
    for number, char in enumerate(looked_at[:-1], 1):
        first = number * step - 1
        run = text[first : first + step + 1]
        if unicodedata.combining(char) and all(map(unicodedata.combining, run)):
            raise DataError(
                f"there are more than {step:,} combining marks in a row, such as U+{ord(char):04X}",
                why="no text has that, and a normal form would sort them",
                fix="repair the text, or read it as it is (--normalization none, or --unit byte)",
            )
