"""Where output goes: results to standard output, the rest to standard error, always in UTF-8."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from charloom.progress import is_live

SCHEMA = 1
_DIM, _MARK, _PLAIN = "\x1b[2m", "\x1b[1;4m", "\x1b[0m"  # a mark is bold and underlined, without colour


def prepare_streams() -> None:
    """Make the output streams write UTF-8 with plain newlines, regardless of the locale.

    Characters that UTF-8 cannot encode (lone surrogates) are written as escapes, which are valid in JSON too.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def colours(stream: TextIO) -> bool:
    """Whether to colour what is written to a stream; ``NO_COLOR`` is honoured."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


class Show:
    """Prints the output of a verb.

    Args:
        json: print results as one JSON object.
        quiet: print no progress and no notes.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = json, quiet

    def line(self, text: str = "") -> None:
        """Print one or more lines of the result; nothing with ``--json``."""
        if not self.as_json:
            sys.stdout.write(text + "\n")

    def text(self, text: str, *, dim: bool = False, mark: bool = False) -> None:
        """Print part of a generated text unchanged and at once; dim and mark only affect terminals."""
        if (dim or mark) and text and colours(sys.stdout):
            text = f"{_MARK if mark else _DIM}{text}{_PLAIN}"
        sys.stdout.write(text)
        sys.stdout.flush()

    def object(self, values: Mapping[str, Any]) -> None:
        """Print the JSON object; nothing without ``--json``."""
        if self.as_json:
            print_json(values)

    def note(self, text: str = "") -> None:
        """Print text that is not part of the result."""
        if not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def notes(self, *texts: str) -> None:
        """Print notes, one per line."""
        for text in texts:
            self.note(f"note: {text}")


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output; non-finite numbers become null."""
    text = json.dumps(_finite({"schema": SCHEMA, **values}), ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
