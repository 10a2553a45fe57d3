"""JSON and TOML from a file as plain values, with limits on what a hostile file could make the parser do.

Deep nesting, numbers of thousands of digits, numbers that are not finite, names that occur twice and keys of thousands of
parts are refused before they cost memory or time.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from typing import Any

import numpy as np

MOST_DIGITS = 1000
"""Longest number: every finite float can be written in fewer."""

MOST_TOML_CHARS = 1_000_000
_PIECE_CHARS = 1 << 14
MOST_KEY_PARTS = 16
_KEY_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_LONG_KEY = re.compile(rf"(?m)^[ \t]*(?:\[+[ \t]*)?(?:{_KEY_PART}){{{MOST_KEY_PARTS}}}")


class MalformedError(ValueError):
    """The text is not JSON or TOML within the limits; the message is a clause that begins with "it"."""


def json_value(data: str | bytes, *, finite: bool = True, most_containers: int | None = None) -> Any:
    """Parse JSON.

    Args:
        data: the text, or its bytes in UTF-8.
        finite: refuse NaN and infinities, which JSON does not have, but our own records do.
        most_containers: refuse more lists and objects before they are made; None = any number.

    Example:
        >>> json_value('{"step": 3}')
        {'step': 3}
        >>> json_value("1e999")
        Traceback (most recent call last):
        charloom.schema.plain.MalformedError: it has a number, 1e999, beyond every float

    Raises:
        MalformedError: it is not JSON, or breaks a limit.
    """
    try:
        data = data if isinstance(data, str) else data.decode("utf-8")
        if most_containers is not None and _has_more_containers(data, most_containers):
            raise MalformedError(f"it has more than {most_containers:,} lists and objects")
        return json.loads(
            data,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refused if finite else float,
        )
    except MalformedError:
        raise
    except RecursionError as error:
        raise MalformedError("it is nested too deeply") from error
    except ValueError as error:  # also of bytes that are not Unicode
        raise MalformedError(f"it is not valid JSON ({error})") from error


def toml_value(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        MalformedError: it is not TOML, or breaks a limit.
    """
    if len(text) > MOST_TOML_CHARS:
        raise MalformedError(f"it has {len(text):,} characters, and {MOST_TOML_CHARS:,} are read at most")
    if (found := _LONG_KEY.search(text)) is not None:
        line = text.count("\n", 0, found.end()) + 1
        raise MalformedError(f"it has a key of more than {MOST_KEY_PARTS} parts in line {line}")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise MalformedError("it is nested too deeply") from error
    except ValueError as error:  # also of numbers with thousands of digits
        raise MalformedError(f"it is not valid TOML ({error})") from error


def _has_more_containers(text: str, most: int) -> bool:
    """Whether more lists and objects are in a text of JSON: brackets that open outside strings, counted until they are too many."""
    if text.count("[") + text.count("{") <= most:
        return False
    if "\\" in text:  # no quotes are to be left but those around strings
        text = text.replace("\\\\", "  ").replace('\\"', "  ")
    found, is_inside = 0, 0
    for start in range(0, len(text), _PIECE_CHARS):
        codes = np.frombuffer(text[start : start + _PIECE_CHARS].encode("utf-8", "surrogatepass"), np.uint8)
        quotes = np.flatnonzero(codes == ord('"'))
        opening = np.flatnonzero((codes == ord("[")) | (codes == ord("{")))
        found += int(((np.searchsorted(quotes, opening) + is_inside) % 2 == 0).sum())
        is_inside = (is_inside + len(quotes)) % 2
        if found > most:
            return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without repeated names, of which two readers might use different values."""
    if len(found := dict(pairs)) != len(pairs):
        raise MalformedError("it has an object in which a name occurs twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise MalformedError(f"it has a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > MOST_DIGITS:
        raise MalformedError(f"it has a number of {len(digits):,} digits")
    if not math.isfinite(value := float(digits)):
        raise MalformedError(f"it has a number, {digits[:20]}, beyond every float")
    return value


def _refused(name: str) -> float:
    raise MalformedError(f"it has {name}, which is not a number")
