"""A schema: the type of a document, and the error that says where a value breaks it.

    value → Schema(type, …).check(value, source) → the same value, or an error with file, path, found and allowed

The types are msgspec's: structures with types, bounds and lengths. A checked value stays as it was, so names that a newer
version has added are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from charloom.errors import CharloomError

Document = TypeVar("Document", bound=msgspec.Struct)
Fault = Callable[[str, str], CharloomError]
"""Makes the error of a document from what was found and what is allowed."""

_MESSAGE = re.compile(r"(?P<why>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_SHOWN = 60


class Schema(Generic[Document]):
    """Checks documents of one kind.

    Args:
        document: the structure that they must have.
        fault: makes the error for one that has not.
    """

    def __init__(self, document: type[Document], fault: Fault) -> None:
        self.document, self._fault = document, fault

    def check(self, value: Any, source: str) -> Any:
        """Return the value unchanged if it fits.

        Args:
            value: plain values, as JSON and TOML have them.
            source: where it was read, for the error.

        Raises:
            CharloomError: the fault, with the path of the first value that does not fit.
        """
        self.parsed(value, source)
        return value

    def parsed(self, value: Any, source: str) -> Document:
        """Return the document as a structure.

        Raises:
            CharloomError: as `check`.
        """
        try:
            return msgspec.convert(value, self.document)
        except msgspec.ValidationError as error:
            found = _MESSAGE.fullmatch(str(error))
            why, path = (found["why"], found["path"] or "$") if found else (str(error), "$")
            what = f"{source}: {path} is {_shown(_at(value, path))}"
            raise self._fault(what, why.replace("`", "").rstrip(".")) from error


def _at(value: Any, path: str) -> Any:
    """The value at a path such as ``$.corpus.sources[2]``, as deep as the path can be followed."""
    for name, number in _STEP.findall(path):
        try:
            value = value[int(number)] if number else value[name]
        except (KeyError, IndexError, TypeError):
            break
    return value


def _shown(value: Any) -> str:
    """A value in a message, cut short.

    Example:
        >>> _shown({"a": 1}), _shown("x"), _shown(None)
        ('an object of 1 names', "'x'", 'null')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"an object of {len(value):,} names"
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    text = repr(value[: 2 * _SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
