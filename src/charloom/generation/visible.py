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
