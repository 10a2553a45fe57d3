"""Short forms of results: three lines of text, a small table in a notebook, or the fields with arrays as shapes."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from dataclasses import fields
from html import escape
from typing import Any, NamedTuple

MAX_WIDTH = 110
"""Characters of one line of text."""

MAX_ROWS = 2
"""Rows below the title in the text; a notebook shows all."""

MAX_FIELDS_WIDTH = 2 * MAX_WIDTH


class Summary(NamedTuple):
    """A title, and rows of a label and a text, the most important first."""

    title: str
    rows: tuple[tuple[str, str], ...] = ()


class Summarised(ABC):
    """A result that shows its summary: as text of at most three lines, in a notebook as a table."""

    __slots__ = ()

    @abstractmethod
    def summary(self) -> Summary:
        """Describe the result by the numbers that matter."""

    def __repr__(self) -> str:
        title, rows = self.summary()
        return "\n".join([cut(title), *(cut(f"  {label}: {text}") for label, text in rows[:MAX_ROWS])])

    def _repr_html_(self) -> str:
        title, rows = self.summary()
        cells = "".join(
            f"<tr><th style='text-align:start;vertical-align:top'>{escape(label)}</th>"
            f"<td style='text-align:start;white-space:pre-wrap'>{escape(text)}</td></tr>"
            for label, text in rows
        )
        return f"<div><strong>{escape(title)}</strong><table>{cells}</table></div>"


def cut(text: str, width: int = MAX_WIDTH) -> str:
    r"""Return a text as one printable line of at most `width` characters.

    Example:
        >>> cut("two\nlines"), cut("a long line", 6)
        ('two\\nlines', 'a lon…')
    """
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: width + 1])
    return line if len(line) <= width else line[: width - 1] + "…"


def short_fields(result: Any) -> str:
    """Return the repr of a dataclass with its long values cut and its arrays as shapes, in one line.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Losses:
        ...     nats: list
        ...     __repr__ = short_fields
        >>> Losses([1.5] * 1000)
        Losses(nats=[1.5, 1.5, 1.5, ...])
    """
    shown = (f"{spec.name}={_SHORT.repr(getattr(result, spec.name))}" for spec in fields(result) if spec.repr)
    return cut(f"{type(result).__name__}({', '.join(shown)})", MAX_FIELDS_WIDTH)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 3
        self.maxstring = self.maxother = 40

    def repr_ndarray(self, array: Any, level: int) -> str:
        """Return an array's kind and shape."""
        del level
        return f"<{array.dtype} {array.shape}>"

    repr_memmap = repr_ndarray


_SHORT = _Short()
