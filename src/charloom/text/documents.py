r"""Documents: where they end in a text, and the boundary symbol that begins each of them.

    ids = B d_1  B d_2  …  B d_n        B the boundary, d_i the characters of document i

One symbol thus resets the state, ends a generated text and is the target of a document's last character. In line
mode it replaces the newline, so every character is predicted once.

    none         one stream, no boundary
    line         each line is a document
    blank-line   one or more blank lines separate documents
    file         each file is a document, and each row of a table
    other text   that text separates documents; \n, \t and \\ in it mean newline, tab and backslash

The end of a file ends a document in every mode but none. Newlines at either end of a document belong to the break
and are dropped; so are empty documents. Other text is dropped too, or stays with the document that it begins or ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import NAMED_SEPARATORS, unescaped
from charloom.kernels.utf8 import mark_lines

if TYPE_CHECKING:
    from jaxtyping import Int, UInt16
    from numpy import ndarray as Array

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


class Marked(NamedTuple):
    """A piece of text without its breaks, and the offsets in it where documents begin."""

    text: str
    starts: Int[Array, " n"]


class Splitter:
    r"""Split a text that arrives in pieces into documents; where the pieces end does not matter.

    The mode is that of `TextConfig.documents`, and `keep` that of `TextConfig.keep_separator`.

    Example:
        >>> splitter = Splitter("line")
        >>> marked = splitter.feed("anna\n\nbo", final=True)
        >>> marked.text, marked.starts.tolist(), splitter.num_documents, splitter.num_empty
        ('annabo', [0, 4], 2, 1)
    """

    def __init__(self, mode: str, keep: str = "no") -> None:
        self.num_documents = 0
        self.num_empty = 0
        self.num_breaks = 0
        self._mode = mode
        self._part = _parting(mode, keep)
        self._trims = mode not in ("none", "line")
        self._held = ""  # the end of the last piece, which may begin a break
        self._newlines = ""  # at the end of the last output: kept if the document continues, else dropped
        self._inside = False  # whether a character of the current document was output

    @property
    def is_stream(self) -> bool:
        """Whether there are no documents."""
        return self._mode == "none"

    def feed(self, text: str, *, final: bool = False) -> Marked:
        """Take the next piece; `final` marks the end of a file."""
        if self._mode == "none":
            return Marked(text, np.empty(0, np.int64))
        parts, self._held = self._part(self._held + text, final)
        self.num_breaks += len(parts) - 1
        parts[0] = self._newlines + parts[0]
        pieces = self._trimmed(parts) if self._trims else parts
        begun = bool(pieces[-1]) or (len(pieces) == 1 and self._inside)
        marked = self._mark(pieces)
        self._inside = begun and not final
        self._newlines = parts[-1][len(parts[-1].rstrip("\n")) :] if self._inside and self._trims else ""
        return marked

    def feed_whole(self, documents: Sequence[str]) -> Marked:
        """Take whole documents, in mode file; none of them has been begun by `feed`."""
        assert self._mode == "file"
        assert not self._inside
        return self._mark([*(document.strip("\n") for document in documents), ""])

    def feed_lines(self, symbols: UInt16[Array, " n"], newline: int, boundary: int) -> UInt16[Array, " m"]:
        """`feed` in mode line for a text that is numbers already.

        Args:
            symbols: the next piece, not empty.
            newline: the number of the newline.
            boundary: the number of the boundary.

        Returns:
            The piece with a boundary before each document, and without newlines.

        Example:
            >>> splitter, text = Splitter("line"), np.array([5, 5, 0, 0, 7], np.uint16)
            >>> splitter.feed_lines(text, 0, 9).tolist(), splitter.num_documents, splitter.num_empty
            ([9, 5, 5, 9, 7], 2, 1)
        """
        assert self._mode == "line"
        marked = mark_lines(symbols, newline, boundary, inside=self._inside)
        self.num_empty += marked.num_empty
        self.num_documents += marked.num_begun
        self.num_breaks += marked.num_newlines
        self._inside = int(symbols[-1]) != newline
        return marked.numbers

    def state(self) -> dict[str, Any]:
        """What has been counted and held back, as JSON."""
        counts = {name: getattr(self, name) for name in ("num_documents", "num_empty", "num_breaks")}
        return {**counts, "held": self._held, "newlines": self._newlines, "inside": self._inside}

    def restore(self, state: dict[str, Any]) -> None:
        """Return to what `state` described."""
        self.num_documents, self.num_empty = state["num_documents"], state["num_empty"]
        self.num_breaks = state["num_breaks"]
        self._held, self._newlines, self._inside = state["held"], state["newlines"], state["inside"]

    def _trimmed(self, parts: list[str]) -> list[str]:
        pieces = [part.strip("\n") for part in parts]
        if self._inside:  # the first part continues a document, so its leading newlines are inside it
            pieces[0] = parts[0].rstrip("\n")
        return pieces

    def _mark(self, pieces: list[str]) -> Marked:
        """Join the pieces: the first continues the current document if there is one, the others begin their own."""
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        begins = lengths > 0
        closed_empty = ~begins[:-1]  # the text after a file's last break is not a document and never counts
        if self._inside:
            begins[0] = False
            closed_empty = closed_empty[1:]
        self.num_empty += int(closed_empty.sum())
        self.num_documents += int(begins.sum())
        return Marked("".join(pieces), (np.cumsum(lengths) - lengths)[begins])


def missing_separator_note(mode: str, splitter: Splitter) -> str | None:
    r"""A note if a separator string of a text never occurred in it, and on how the string was read.

    Example:
        >>> splitter = Splitter(r"\newpage")
        >>> _ = splitter.feed(r"one \newpage two", final=True)
        >>> print(missing_separator_note(r"\newpage", splitter))
        the separator '\newpage' does not occur in the text: \n is a newline, \t a tab and \\ a backslash
    """
    if mode in NAMED_SEPARATORS or splitter.num_breaks:
        return None
    read_as = r": \n is a newline, \t a tab and \\ a backslash" if unescaped(mode) != mode else ""
    return f"the separator '{mode}' does not occur in the text{read_as}"


def _parting(mode: str, keep: str) -> Callable[[str, bool], tuple[list[str], str]]:
    """The function (text, final) → (parts between breaks, a possible beginning of a break to hold back)."""
    if mode == "line":
        return lambda text, _: (text.split("\n"), "")
    if mode == "file":
        return lambda text, _: ([text], "")
    if mode == "blank-line":
        return _part_at_blank_lines
    separator = unescaped(mode)
    begin, end = (separator if keep == side else "" for side in ("begin", "end"))

    def part(text: str, final: bool) -> tuple[list[str], str]:
        parts, held = _part_at(separator, text, final)
        parts[1:] = [begin + piece for piece in parts[1:]]
        parts[:-1] = [piece + end for piece in parts[:-1]]
        return parts, held

    return part


def _part_at_blank_lines(text: str, final: bool) -> tuple[list[str], str]:
    solid = len(text.rstrip(" \t\n"))
    line_end = text.find("\n", solid)
    end = len(text) if final or line_end < 0 else line_end
    return _BLANK_LINES.split(text[:end]), text[end:]


def _part_at(separator: str, text: str, final: bool) -> tuple[list[str], str]:
    parts = text.split(separator)
    rest = parts[-1]
    for length in range(0 if final else min(len(separator) - 1, len(rest)), 0, -1):
        if rest.endswith(separator[:length]):
            parts[-1] = rest[:-length]
            return parts, rest[-length:]
    return parts, ""
