"""Escape text so that a terminal displays it and does not act on it.

A model can generate any character of its corpus, including escape sequences, and a model from a stranger is untrusted
input. Characters that control a terminal or reorder the text around them are replaced by visible signs:

    C0 controls except newline and tab; delete      their pictures: ␀ ␛ ␍ … ␡
    C1 controls; line and paragraph separators      <U+0085> <U+2028>
    bidirectional embeddings, overrides, isolates   <U+202E> <U+2066>
    lone surrogates, which no encoding can print    <U+D800>

Unchanged: U+200E, U+200F and U+061C (direction marks) and U+200C and U+200D (joiners). They are part of the spelling in
Arabic, Persian and Hebrew, and a mark only affects the spaces and punctuation next to it. Right-to-left text stays in
logical order: a terminal that reorders text would reverse it a second time.
"""

from __future__ import annotations

import unicodedata

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "␡"}
_NAMED = (range(0x80, 0xA0), range(0x2028, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000))
_SIGNS = _PICTURES | {code: f"<U+{code:04X}>" for codes in _NAMED for code in codes}


def visible(text: str) -> str:
    """Replace control characters by visible signs, so that the text is safe to print.

    Characters are replaced independently, so a text can also be escaped piece by piece. The result has no control
    characters except newline and tab, and can be encoded as UTF-8 even if the text has lone surrogates.

    Example:
        >>> visible("plain \\x1b[31mred, \\u202edesrever")
        'plain ␛[31mred, <U+202E>desrever'
    """
    return text.translate(_SIGNS)


_SIGN_OF = {
    " ": "␣",
    "\n": "↵",
    "\t": "⇥",
    "\u200c": "<ZWNJ>",
    "\u200d": "<ZWJ>",
    "\u00ad": "<SHY>",
    "\ufeff": "<BOM>",
}
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"
_RIGHT_TO_LEFT = {"R", "AL", "AN"}


def sign(char: str) -> str:
    """Show one character as a visible sign: white space as a picture, a combining mark on a dotted circle.

    Example:
        >>> [sign(char) for char in "a \\n\u0301\\x00\\u200f"]
        ['a', '␣', '↵', '◌́', '␀', '<U+200F>']
    """
    if char in _SIGN_OF:
        return _SIGN_OF[char]
    if len(char) > 1:  # a separator between documents
        return "".join(map(sign, char))
    kind = unicodedata.category(char) if char else ""
    if kind.startswith("M"):
        return "◌" + char
    shown = visible(char)
    return f"<U+{ord(char):04X}>" if shown == char and kind in ("Cf", "Zs", "Cn", "Co") else shown


def isolated(text: str) -> str:
    """Escape a text and, if it has right-to-left characters, wrap it in isolates so that it reorders nothing around it.

    Example:
        >>> isolated("abc"), isolated("نعم") == "\\u2068نعم\\u2069"
        ('abc', True)
    """
    shown = visible(text)
    if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in shown):
        return f"{_FIRST_STRONG_ISOLATE}{shown}{_POP_ISOLATE}"
    return shown
