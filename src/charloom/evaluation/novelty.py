"""What in a generated text is new: words that do not exist, stretches that were copied, names that were known.

A *word* is a letter with the letters and combining marks after it; apostrophes and zero-width joiners may stand inside
(don't, aujourd’hui, می‌خواهم). Digits, punctuation and white space end it. Words are compared as they are written: case
counts, and both texts are expected in one normal form.

The longest copy is exact. Windows of one length are compared by a polynomial hash mod 2⁶⁴,

    P_i = Σ_{j<i} x_j B^j,      hash(i, L) = (P_{i+L} − P_i) B^{−i} = Σ_{j<L} x_{i+j} B^j      (1)

with B odd, so that B^{−1} exists. Equal windows have equal hashes, so none is missed; unequal windows with equal hashes
are found out by comparing the characters. The training text is read in pieces, so memory does not grow with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import UInt64
    from numpy import ndarray as Array

_INSIDE_WORDS = "'’\u200c\u200d"  # apostrophes; the joiners of Persian and Indic words
_PIECE = 1 << 20  # characters of the training text hashed at a time
_BASE = 0x9E3779B97F4A7C15  # odd; the golden ratio's 64 bits
_INVERSE_BASE = pow(_BASE, -1, 1 << 64)
_SIEVE_BITS = 20
_SIEVE_SHIFT = np.uint64(64 - _SIEVE_BITS)


class Copy(NamedTuple):
    """The longest stretch of a generated text that stands verbatim in the training text.

    Args:
        length: characters; 0 when the texts share none.
        text: the stretch.
        offset_in_generated: where it first stands in the generated text, in characters.
        offset_in_training: where it first stands in the training text.
    """

    length: int
    text: str
    offset_in_generated: int
    offset_in_training: int


def known_word_share(generated: str, training_text: str) -> float:
    """Share of the generated words that occur in the training text, each counted as often as it was written.

    Args:
        generated: the text to judge, at least one word.
        training_text: the text whose words are known.

    Returns:
        A share in [0, 1].

    Raises:
        DataError: the generated text holds no word.

    Example:
        >>> known_word_share("the cat zat, the end", "The end of the cat")
        0.8
    """
    words = _word_pattern(generated).findall(generated)
    if not words:
        raise DataError(
            f"a text of {len(generated)} characters holds no word",
            why="the share of known words is a mean over words",
            fix="generate a longer text",
        )
    known = {match.group() for match in _word_pattern(training_text).finditer(training_text)}
    return sum(word in known for word in words) / len(words)


def unseen_share(items: list[str], training_items: Iterable[str]) -> float:
    """Share of generated documents, names for example, that are none of the training documents.

    Args:
        items: the generated documents, at least one; repeated ones count each time.
        training_items: the training documents; an iterator is read once and not stored.

    Returns:
        A share in [0, 1].

    Raises:
        DataError: there are no generated documents.

    Example:
        >>> unseen_share(["emma", "lumia", "noah", "noah"], ["emma", "noah", "olivia"])
        0.25
    """
    if not items:
        raise DataError(
            "there are no generated documents",
            why="the share of unseen ones is a mean over them",
            fix="generate at least one",
        )
    known = set(items).intersection(training_items)
    return sum(item not in known for item in items) / len(items)


def longest_copy(generated: str, training_text: str) -> Copy:
    """Find the longest stretch of a generated text that stands verbatim in the training text.

    Among equally long stretches it is the one that stands first in the training text. The first million characters of
    the training text take about 0.4 s, each further one 0.03 s; the memory grows with the generated text only.

    Args:
        generated: the text to judge; may be empty.
        training_text: the text it may have copied from; may be empty.

    Returns:
        The copy, of length 0 and at offsets 0 when there is none.

    Example:
        >>> longest_copy("and to be, or not", "To be, or not to be")
        Copy(length=12, text='o be, or not', offset_in_generated=5, offset_in_training=1)
    """
    best = Copy(0, "", 0, 0)
    num_powers = min(_PIECE, len(training_text)) + len(generated) + 1
    powers, inverses = _powers(_BASE, num_powers), _powers(_INVERSE_BASE, num_powers)
    ours = _Hashed.of(generated, powers, inverses)
    for start in range(0, len(training_text), _PIECE):
        piece = training_text[start : start + _PIECE + len(generated)]
        longer = _longer_copy(ours, _Hashed.of(piece, powers, inverses), best.length)
        if longer is not None:
            best = longer._replace(offset_in_training=start + longer.offset_in_training)
    return best


def _longer_copy(ours: _Hashed, theirs: _Hashed, least: int) -> Copy | None:
    """The longest copy of more than `least` characters that begins in this piece: gallop upwards, then bisect."""
    best, high = None, min(len(ours.text), len(theirs.text)) + 1  # no copy has `high` characters
    step, galloping = 1, True
    while least + 1 < high:
        length = min(least + step, high - 1) if galloping else (least + high) // 2
        copy = _copy_of_length(ours, theirs, length)
        if copy is None:
            high, galloping = length, False
        else:
            best, least, step = copy, length, 2 * step
    return best


def _copy_of_length(ours: _Hashed, theirs: _Hashed, length: int) -> Copy | None:
    """The first window of the piece, of this length, that stands in the generated text."""
    wanted, windows = ours.windows(length), theirs.windows(length)[:_PIECE]
    sieve = np.zeros(1 << _SIEVE_BITS, bool)  # a cheap first look: the leading bits of the wanted hashes
    sieve[wanted >> _SIEVE_SHIFT] = True
    passed = np.flatnonzero(sieve[windows >> _SIEVE_SHIFT])
    for offset in passed[np.isin(windows[passed], wanted)]:  # nearly always the first is a copy
        text = theirs.text[offset : offset + length]
        found = ours.text.find(text)
        if found >= 0:
            return Copy(length, text, found, int(offset))
    return None


class _Hashed(NamedTuple):
    """A text of n characters with what equation (1) needs to hash its windows."""

    text: str
    prefix: UInt64[Array, " n+1"]  # P_i
    inverses: UInt64[Array, " p"]  # B^{−i}, more than n of them

    @staticmethod
    def of(text: str, powers: UInt64[Array, " p"], inverses: UInt64[Array, " p"]) -> _Hashed:
        x = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
        prefix = np.zeros(len(x) + 1, np.uint64)
        np.cumsum(x * powers[: len(x)], out=prefix[1:])
        return _Hashed(text, prefix, inverses)

    def windows(self, length: int) -> UInt64[Array, " w"]:
        """hash(i, length) of every window of the text, (n − length + 1,)."""
        hashes: UInt64[Array, " w"] = self.prefix[length:] - self.prefix[: len(self.prefix) - length]
        hashes *= self.inverses[: len(hashes)]  # (1)
        return hashes


def _powers(base: int, count: int) -> UInt64[Array, " p"]:
    """base⁰ … base^{count−1} mod 2⁶⁴."""
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)


def _word_pattern(text: str) -> re.Pattern[str]:
    """A pattern for the words of one text; its letters are those that the text holds."""
    kinds = {char: unicodedata.category(char)[0] for char in set(text)}
    letters = "".join(char for char, kind in kinds.items() if kind == "L")
    marks = "".join(char for char, kind in kinds.items() if kind == "M")
    run = f"[{letters}][{letters}{marks}]*" if letters else "(?!)"
    return re.compile(f"{run}(?:[{_INSIDE_WORDS}]{run})*")
