"""What cleaning changed in a text: counted, and shown by examples."""

from __future__ import annotations

import itertools
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from charloom.text.vocabulary import code_points

if TYPE_CHECKING:
    from jaxtyping import Bool
    from numpy import ndarray as Array

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
_NUM_EXAMPLES = 3
_COMPOSED = (range(0xC0, 0x3400), range(0xF900, 0x20000))
"""The ranges of Unicode that have composed characters, Hangul apart; a test looks through all others."""

_PACKED = 3  # code points that fit into one integer


class Changes:
    r"""Counts of what normalisation and `replace_chars` changed, over all texts of a part of a corpus.

    Example:
        >>> changes = Changes()
        >>> changes.add_normalised("cafe\u0301", "NFC")
        >>> changes.notes()[0].partition(";")[0]
        "normalisation nfc changed 1 place: 'é' (U+0065 U+0301 → U+00E9)"
    """

    def __init__(self) -> None:
        self._form: Form = "NFC"
        self._normalised: Counter[str] = Counter()
        self._replaced: Counter[tuple[str, str]] = Counter()

    def add_normalised(self, text: str, form: Form) -> None:
        """Count the changed places of a text that is not in a normal form: NFC, NFD, NFKC or NFKD."""
        self._form = form
        self._normalised.update(_places(text, form))

    def add_replaced(self, text: str, replaced: Mapping[int, str]) -> None:
        """Count the characters of a text that are in the table of `str.translate`."""
        for code, target in replaced.items():
            if (count := text.count(chr(code))) and target != chr(code):
                self._replaced[chr(code), target] += count

    def state(self) -> dict[str, Any]:
        """The counts, as JSON."""
        replaced = [[char, target, count] for (char, target), count in self._replaced.items()]
        return {"form": self._form, "normalised": list(self._normalised.items()), "replaced": replaced}

    def restore(self, state: dict[str, Any]) -> None:
        """Return to what `state` described."""
        self._form = state["form"]
        self._normalised = Counter(dict(state["normalised"]))
        self._replaced = Counter({(char, target): count for char, target, count in state["replaced"]})

    def notes(self) -> list[str]:
        """A sentence for each kind of change, with its count and the commonest examples."""
        notes, form = [], self._form
        changed = {
            place: (count, unicodedata.normalize(form, place))
            for place, count in self._normalised.most_common()
        }
        changed = {place: (count, normal) for place, (count, normal) in changed.items() if place != normal}
        if changed:
            total = sum(count for count, _ in changed.values())
            shown = [
                f"'{normal}' ({_codes(place)} → {_codes(normal)}{_times(count)})"
                for place, (count, normal) in list(changed.items())[:_NUM_EXAMPLES]
            ]
            more = ", …" if len(changed) > _NUM_EXAMPLES else ""
            notes.append(
                f"normalisation {form.lower()} changed {total:,} place{'s' * (total > 1)}: "
                f"{', '.join(shown)}{more}; --normalization none leaves them as they are"
            )
        for (char, target), count in self._replaced.items():
            became = f"became {target!r}" if target else f"{'was' if count == 1 else 'were'} left out"
            notes.append(f"{count:,} {_codes(char)} {became} (replace_chars)")
        return notes


def _times(count: int) -> str:
    return "" if count == 1 else f", {count:,} times"


def _codes(text: str) -> str:
    return " ".join(f"U+{ord(char):04X}" for char in text)


def _places(text: str, form: Form) -> Counter[str]:
    """What normalisation may change: each character with those that join it, or one that it changes by itself."""
    joins, changes = _tables(form)
    codes = code_points(text)
    begins = ~joins[codes]
    begins[:1] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=len(codes))
    chosen = (lengths > 1) | changes[codes[starts]]
    starts, lengths = starts[chosen], lengths[chosen]
    packed = np.zeros(len(starts), np.int64)
    for offset in range(_PACKED):
        inside = lengths > offset
        packed[inside] |= codes[starts[inside] + offset].astype(np.int64) << (21 * offset)
    keys, counts = np.unique(packed[lengths <= _PACKED], return_counts=True)
    found = Counter(
        {_unpacked(key): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}
    )
    long = lengths > _PACKED
    found.update(
        text[start : start + length] for start, length in zip(starts[long], lengths[long], strict=True)
    )
    return found


def _unpacked(key: int) -> str:
    codes = [key >> (21 * offset) & 0x1FFFFF for offset in range(_PACKED)]
    return "".join(chr(code) for number, code in enumerate(codes) if code or not number)


@lru_cache(maxsize=4)
def _tables(form: Form) -> tuple[Bool[Array, " codes"], Bool[Array, " codes"]]:
    """For each code point, whether it joins the one before it, and whether normalisation changes it by itself."""
    joins, changes = np.zeros((2, sys.maxunicode + 1), bool)
    for code in range(0x80, sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) not in ("Cn", "Co", "Cs"):
            joins[code] = joins_backwards(char)
            changes[code] = not unicodedata.is_normalized(form, char)
    return joins, changes


def joins_backwards(char: str) -> bool:
    """Whether a character can combine with the one before it, or be reordered before it."""
    first = unicodedata.normalize("NFKD", char)[0]
    return unicodedata.combining(first) != 0 or first in _composing_seconds()


@lru_cache(maxsize=1)
def _composing_seconds() -> frozenset[str]:
    """Every character that is the second half of a canonical composition; computed on first use, in 0.05 s."""
    seconds = set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))
    for code in itertools.chain(*_COMPOSED):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(chr(int(parts[1], 16)))
    return frozenset(seconds)
