"""Text that a terminal shows and does not obey.

A model can write any character of its corpus, escape sequences among them, and a stranger's model is a stranger's
text. So the characters that command a terminal, or that turn the order of the text around them, are replaced by
signs that name them:

    C0 controls but newline and tab; delete         their pictures: ␀ ␛ ␍ … ␡
    C1 controls; line and paragraph separators      <U+0085> <U+2028>
    bidirectional embeddings, overrides, isolates   <U+202E> <U+2066>
    lone surrogates, which no encoding can print    <U+D800>

Kept as they are: U+200E, U+200F and U+061C (direction marks) and U+200C and U+200D (joiners). They are spelling in
Arabic, Persian and Hebrew, and a mark turns nothing but the spaces and punctuation beside it.
Right-to-left text stays in logical order: terminals that reorder would turn it round a second time.
"""

from __future__ import annotations

import unicodedata

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "␡"}
_NAMED = (range(0x80, 0xA0), range(0x2028, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000))
_SIGNS = _PICTURES | {code: f"<U+{code:04X}>" for codes in _NAMED for code in codes}


def visible(text: str) -> str:
    """Replace control characters by visible signs, so that printing the text does nothing but print.

    Each character is replaced by itself, so the pieces of a text can be made visible one by one.

    Args:
        text: any text, also one that holds lone surrogates.

    Returns:
        The text with no control character but newline and tab; it can be encoded as UTF-8.

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
    """One character as a sign that can stand by itself: white space has a picture, a combining mark a circle to sit on.

    Example:
        >>> [sign(char) for char in "a \\n\u0301\\x00\\u200f"]
        ['a', '␣', '↵', '◌́', '␀', '<U+200F>']
    """
    if char in _SIGN_OF:
        return _SIGN_OF[char]
    if len(char) > 1:  # what parts two documents
        return "".join(map(sign, char))
    kind = unicodedata.category(char) if char else ""
    if kind.startswith("M"):
        return "◌" + char
    shown = visible(char)
    return f"<U+{ord(char):04X}>" if shown == char and kind in ("Cf", "Zs", "Cn", "Co") else shown


def isolated(text: str) -> str:
    """A text made visible whose direction moves nothing around it: wrapped in isolates where it reads from right to left.

    Example:
        >>> isolated("abc"), isolated("نعم") == "\\u2068نعم\\u2069"
        ('abc', True)
    """
    shown = visible(text)
    if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in shown):
        return f"{_FIRST_STRONG_ISOLATE}{shown}{_POP_ISOLATE}"
    return shown
