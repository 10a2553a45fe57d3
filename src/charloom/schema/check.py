"""A schema: the type of a document, and the error that says where a value breaks it.

    value → Schema(type, …).check(value, source) → the same value, or an error with file, path, found and allowed

The types are msgspec's: structures with types, bounds and lengths. A checked value stays as it was, so names that a newer
version has added are kept.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from charloom.errors import CharloomError

Document = TypeVar("Document", bound=msgspec.Struct)
Fault = Callable[[str, str], CharloomError]
"""Makes the error of a document from what was found and what is allowed."""

_MESSAGE = re.compile(r"(?P<why>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_SHOWN = 60
_MOST_NAMED = 8


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
        except UnicodeEncodeError as error:  # in a name, or where one of a few words is allowed
            what = f"{source} has half of a surrogate pair, {error.object[error.start]!a}, in a name"
            raise self._fault(what, "names are Unicode text") from error

    def unknown(self, value: Any) -> tuple[str, ...]:
        """The names in a checked document that this version does not know, as paths such as ``results.extra``."""
        return tuple(_unknown(self.document, value, ""))


def unknown_note(source: str, names: tuple[str, ...], written_by: str) -> tuple[str, ...]:
    """A note on names that this version does not know; nothing if there are none.

    Args:
        source: what has them, at the beginning of a sentence.
        names: from `Schema.unknown`.
        written_by: the version of charloom that wrote it, if known.

    Example:
        >>> unknown_note("x.json", ("a", "b.c"), "9.0")
        ('x.json has 2 names that this version of charloom does not know, and keeps: a, b.c (written by charloom 9.0)',)
    """
    if not names:
        return ()
    number = "a name" if len(names) == 1 else f"{len(names):,} names"
    shown = ", ".join(
        name if len(name) <= _SHOWN else f"{name[: _SHOWN - 1]}…" for name in names[:_MOST_NAMED]
    )
    more = ", …" if len(names) > _MOST_NAMED else ""
    writer = f" (written by charloom {written_by[:_SHOWN]})" if written_by else ""
    return (
        f"{source} has {number} that this version of charloom does not know, and keeps: {shown}{more}{writer}",
    )


def _unknown(kind: Any, value: Any, path: str) -> Iterator[str]:
    """The paths of unknown names in a value of a declared type: structures, and lists and objects of them."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for name, inner in value.items():
            if name in known:
                yield from _unknown(known[name], inner, f"{path}{name}.")
            elif not getattr(kind, "is_open", False):
                yield f"{path}{name}"
        return
    inside = [one for one in typing.get_args(kind) if not isinstance(one, msgspec.Meta)]
    if typing.get_origin(kind) is list and isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _unknown(inside[0], inner, f"{path.removesuffix('.')}[{position}].")
    elif typing.get_origin(kind) is dict and isinstance(value, dict):
        for name, inner in value.items():
            yield from _unknown(inside[1], inner, f"{path}{name}.")
    else:
        for one in inside:  # a union, or an annotated type
            yield from _unknown(one, value, path)


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
