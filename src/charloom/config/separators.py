r"""Characters in settings: escapes in a document separator, and pairs of characters to replace.

An escape is a backslash and one more character: ``\n`` is a newline, ``\t`` a tab and ``\\`` a backslash. Any other
backslash is itself, so ``\section`` needs no second one, but ``\\newpage`` and ``\\textit`` do.
"""

from __future__ import annotations

import re

from charloom.errors import ConfigError

NAMED_SEPARATORS = ("none", "line", "blank-line", "file")
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\", "\\r": "\r", "\\0": "\0"}
_CODE_POINT = re.compile(r"U\+([0-9A-Fa-f]{4,6})")


def unescaped(text: str, *, also: str = "") -> str:
    r"""A separator as it is searched for.

    Args:
        text: with escapes.
        also: further escapes, of ``r`` (carriage return) and ``0`` (NUL).

    Example:
        >>> unescaped(r"\n\n[Event "), unescaped(r"\\newpage"), unescaped(r"\section")
        ('\n\n[Event ', '\\newpage', '\\section')
    """
    return re.sub(rf"\\[nt\\{also}]", lambda found: _ESCAPES[found[0]], text)


def escaped(text: str) -> str:
    r"""A separator as it is given in a setting: `unescaped` returns it.

    Example:
        >>> print(escaped("\n\\newpage"))
        \n\\newpage
    """
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def parse_replacements(text: str) -> dict[str, str]:
    """Parse ``X=TEXT,…``: a character, or its code point as U+XXXX, and the text to put in its place.

    Example:
        >>> parse_replacements("U+FFFD=,U+2019=',—=U+002D U+002D")
        {'\\ufffd': '', '’': "'", '—': '--'}

    Raises:
        ConfigError: it does not have that form, or names a character twice.
    """
    found: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, target = pair.lstrip(" ").partition("=")
        char = _chars(name, text)
        if not equals or len(char) != 1:
            raise _invalid(text, f"{pair!r} is not one character, an equals sign and a text")
        if char in found:
            raise _invalid(text, f"it names {name} twice")
        found[char] = _chars(target, text)
    return found


def _chars(part: str, whole: str) -> str:
    """A part itself, or the characters that it names as U+XXXX, separated by spaces."""
    words = part.split()
    if not words or not all(_CODE_POINT.fullmatch(word) for word in words):
        return part
    codes = [int(word[2:], 16) for word in words]
    if any(code > 0x10FFFF or 0xD800 <= code < 0xE000 for code in codes):
        raise _invalid(whole, f"{part} is not a code point of Unicode")
    return "".join(map(chr, codes))


def _invalid(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"replace_chars is {text!r}",
        why=why,
        fix="write U+FFFD= to leave a character out, U+FFFD=? to replace it; separate pairs with commas",
    )
