"""Where output goes: results to standard output, the rest to standard error, always in UTF-8."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from charloom.progress import is_live

SCHEMA = 1
_ISOLATES = ("\u2068", "\u2069")
_BY_ISOLATE = re.compile("([\u2068\u2069])")
_DIM, _MARK, _PLAIN = "\x1b[2m", "\x1b[1;4m", "\x1b[0m"  # a mark is bold and underlined, without colour


def prepare_streams() -> None:
    """Make the output streams write UTF-8 with plain newlines, regardless of the locale.

    Characters that UTF-8 cannot encode (lone surrogates) are written as escapes, which are valid in JSON too.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def quoted(path: Path | str) -> str:
    """Quote a path for the shell."""
    return shlex.quote(str(path))


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
        self.doing: tuple[str, float | None] = ("working", None)
        self.printed_at, self.is_reporting = time.monotonic(), False
        self.is_beating, self._on_line = False, False

    def progress(self, what: str) -> Callable[[float], None]:
        """Say what is being done; the function returned notes the share that is done."""
        self.doing = (what, None)

        def note_share(share: float) -> None:
            self.doing = (what, share)

        return note_share

    def beat(self, line: str, *, live: bool) -> None:
        """Print a sign of life; on a terminal, over the last one."""
        self.erase()
        sys.stderr.write(line if live else line + "\n")
        sys.stderr.flush()
        self.printed_at, self.is_beating, self._on_line = time.monotonic(), True, live

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Inside the block, another display shows progress."""
        self.erase()
        self.is_reporting = True
        try:
            yield
        finally:
            self.is_reporting = False

    def erase(self) -> None:
        """Take a sign of life off the terminal."""
        if self._on_line:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._on_line = False

    def line(self, text: str = "", *, begin: str = "") -> None:
        """Print one or more lines of the result, with control characters as signs; nothing with ``--json``.

        `begin` is our own, may be coloured, and is printed first as it is.
        """
        self._is_printing()
        if not self.as_json:
            sys.stdout.write(begin + _safe(text) + "\n")

    def text(self, text: str, *, dim: bool = False, mark: bool = False) -> None:
        """Print part of a generated text unchanged and at once; dim and mark only affect terminals."""
        self._is_printing()
        if (dim or mark) and text and colours(sys.stdout):
            text = f"{_MARK if mark else _DIM}{text}{_PLAIN}"
        sys.stdout.write(text)
        sys.stdout.flush()

    def object(self, values: Mapping[str, Any]) -> None:
        """Print the JSON object; nothing without ``--json``."""
        self._is_printing()
        if self.as_json:
            print_json(values)

    def note(self, text: str = "") -> None:
        """Print text that is not part of the result, with control characters as signs."""
        self._is_printing()
        if not self.quiet:
            sys.stderr.write(_safe(text) + "\n")
            sys.stderr.flush()

    def _is_printing(self) -> None:
        self.erase()
        self.printed_at, self.is_beating = time.monotonic(), False

    def notes(self, *texts: str) -> None:
        """Print notes, one per line."""
        for text in texts:
            self.note(f"note: {text}")


def _safe(text: str) -> str:
    """The text without what a terminal would obey: escapes, overrides of the direction, lone surrogates.

    The isolates that we put around text of another direction stay; they end with their line.
    """
    if text.isascii() and text.isprintable():
        return text
    from charloom.generation.escape import visible

    return "".join(part if part in _ISOLATES else visible(part) for part in _BY_ISOLATE.split(text))


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
