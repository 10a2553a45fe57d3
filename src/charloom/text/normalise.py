"""Cleaning: one kind of newline, one Unicode normal form and no unwanted characters, for whole texts and for streams.

    raw bytes    unchanged
    otherwise    \\r\\n and \\r become \\n; normalise; replace characters, if `replace_chars` names any, and normalise again

A stream may be cut only where the cleaned halves join to the cleaned whole: not inside ``\\r\\n``, and not before a
character that can combine with the one before it.
"""

from __future__ import annotations

import unicodedata

from charloom.config import TextConfig, parse_replacements
from charloom.text.changes import Changes, Form, joins_backwards

_FIRST_MARK = "\u0300"  # no character below it combines with, or is reordered before, the preceding one
_FORMS: dict[str, Form | None] = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD", "none": None}
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
        self._form = _FORMS[config.normalization]
        replaced = {} if config.replace_chars is None else parse_replacements(config.replace_chars)
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
