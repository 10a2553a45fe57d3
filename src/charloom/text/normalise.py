"""Cleaning: one kind of newline and one Unicode normal form, for whole texts and for streams.

A stream may be cut only where the cleaned halves join to the cleaned whole: not inside ``\\r\\n``, and not before a
character that can combine with the one before it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from charloom.config import TextConfig

_FIRST_MARK = "\u0300"  # no character below it combines with, or is reordered before, the preceding one
_NEAR = 4096  # characters searched backwards for such a one before the slower test


def clean(text: str, config: TextConfig) -> str:
    r"""Convert a text (or a prompt) to the newlines and the normal form that the model was trained on.

    Example:
        >>> clean("e\u0301\r\n", TextConfig())
        'é\n'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if config.normalization == "none" or text.isascii():
        return text
    return unicodedata.normalize("NFC" if config.normalization == "nfc" else "NFKC", text)


class Cleaner:
    r"""`clean` for a text that arrives in pieces.

    Example:
        >>> cleaner = Cleaner(TextConfig())
        >>> cleaner.feed("e") + cleaner.feed("\u0301\r") + cleaner.feed("\n", final=True)
        'é\n'
    """

    def __init__(self, config: TextConfig) -> None:
        self._config = config
        self._held = ""

    def feed(self, text: str, *, final: bool = False) -> str:
        """Take the next piece; return the text that can no longer change, or all the rest if the piece is `final`."""
        text = self._held + text
        end = len(text) if final else self._safe_end(text)
        self._held = text[end:]
        return clean(text[:end], self._config)

    def _safe_end(self, text: str) -> int:
        if self._config.normalization == "none":
            return len(text) - text.endswith("\r")
        for position in range(len(text) - 1, max(len(text) - _NEAR, 0), -1):
            if text[position] < _FIRST_MARK and text[position - 1] != "\r":
                return position
        for position in range(len(text) - 1, 0, -1):
            if text[position - 1] != "\r" and not _joins_backwards(text[position]):
                return position
        return 0


def _joins_backwards(char: str) -> bool:
    first = unicodedata.normalize("NFKD", char)[0]
    return unicodedata.combining(first) != 0 or first in _composing_seconds()


@lru_cache(maxsize=1)
def _composing_seconds() -> frozenset[str]:
    """Every character that is the second half of a canonical composition; computed on first use, in 0.1 s."""
    seconds = set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(chr(int(parts[1], 16)))
    return frozenset(seconds)
