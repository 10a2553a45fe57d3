"""The guess at a legacy encoding, by charset-normalizer, imported only when a text is not UTF-8."""

from __future__ import annotations

import codecs

_SETTLED = ("utf_8", "utf_7", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le")
"""Encodings that were told by their marks, NULs or strict decoding before anything is guessed."""
_COMMON = ("cp1252", "cp1256", "cp1251")
"""Of encodings that fit equally well, as many do on a few bytes, the one that most texts are in."""
_EVIDENCE = 5  # with so many bytes above ASCII, half the guesser's confidence is believed


def best_match(sample: bytes) -> tuple[str, float] | None:
    """The likeliest codec of some bytes, with a confidence in [0, 1]; none if every one leaves a mess.

    The confidence is one minus the guesser's share of disorder, lowered where few bytes speak for it.

    Example:
        >>> best_match("هذا نص عربي قصير عن اللغة والكتابة".encode("cp1256"))
        ('cp1256', 0.84...)
        >>> best_match("été à la plage".encode("latin-1"))
        ('cp1252', 0.375)
    """
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_exclusion=list(_SETTLED)))
    if not matches:
        return None
    first = matches[0]
    equal = {
        match.encoding: match
        for match in matches
        if match.chaos <= first.chaos and match.coherence >= first.coherence
    }
    equal |= dict.fromkeys(first.could_be_from_charset, first)
    name = next((name for name in _COMMON if name in equal), first.encoding)
    above_ascii = sum(byte > 0x7F for byte in sample)
    return codecs.lookup(name).name, (1.0 - first.chaos) * above_ascii / (above_ascii + _EVIDENCE)
