r"""Escapes in texts that are typed into a shell, such as a separator or a stop text.

    \n newline   \r carriage return   \t tab   \0 NUL   \\ one backslash

A backslash before any other character stands for itself, so ``\d`` is two characters.
"""

from __future__ import annotations

import re

_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\"}


def unescape(typed: str) -> str:
    r"""Return what a text with escapes stands for.

    Example:
        >>> unescape(r"\n\n[Event "), unescape(r"\\newpage"), unescape(r"\d")
        ('\n\n[Event ', '\\newpage', '\\d')
    """
    return re.sub(r"\\([nrt0\\])", lambda found: _ESCAPED[found[1]], typed)
