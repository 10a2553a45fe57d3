"""A text where the name of a file is expected: recognise it, and say how to pass it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from charloom.errors import DataError

_SHOWN = 40  # characters of the text in a message
_SUFFIX = re.compile(r"\.\w{1,12}$")


def is_text_itself(name: str) -> bool:
    r"""Whether what was given as the name of a file is a text: no file has that name, and few would.

    Example:
        >>> [is_text_itself(name) for name in ("the cat sat.", "a\nb", "x" * 300, "my texts/the cat.txt", "CCO")]
        [True, True, True, False, False]
    """
    try:
        if Path(name).exists():
            return False
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return True
    return "\n" in name or (bool(re.search(r"\s", name)) and not _SUFFIX.search(name))


def how_to_pass(text: str) -> str:
    """The command that passes a text itself instead of a file.

    Example:
        >>> how_to_pass("the cat sat")
        "pipe the text and write - in its place: printf %s 'the cat sat' | charloom …"
    """
    return f"pipe the text and write - in its place: printf %s {shlex.quote(_short(text))} | charloom …"


def passed_itself(text: str) -> DataError:
    """The error for a text in place of a file."""
    return DataError(
        f"no file is named {_short(text)!r}",
        why="the name of a file is expected here, and this looks like the text itself",
        fix=f"{how_to_pass(text)} (in Python: train(text=…), score(text))",
    )


def _short(text: str) -> str:
    line = text.replace("\0", " ").split("\n", 1)[0]
    return text if line == text and len(text) <= _SHOWN else f"{line[:_SHOWN]}…"
