"""The surprisal of each line of a text, and the lines that a model expected least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True)
class LineSurprisal:
    """One line of a scored text.

    Attributes:
        line: its number, from 1.
        text: without its newline.
        bits: the sum over its characters; its end counts as one of them where it is charged.
        bits_per_char: mean over the characters charged.
        num_chars: characters charged.
        num_unknown: characters that the model has never seen.
    """

    line: int
    text: str
    bits: float
    bits_per_char: float
    num_chars: int
    num_unknown: int


def ranked_lines(
    chars: Sequence[str], bits: Float64[Array, " n"], unknown: Bool[Array, " n"]
) -> list[LineSurprisal]:
    """Rank lines by their bits per character, highest first; ties in text order.

    Args:
        chars: the text's characters, (n,); a separator between documents is one of them, and ends its line.
        bits: the surprisal of each, NaN if it is not charged.
        unknown: which the model has never seen.

    Returns:
        Every line with a charged character.

    Example:
        >>> ranked = ranked_lines("a\\nbc\\n", np.array([np.nan, 1.0, 3.0, 5.0, 1.0]), np.zeros(5, bool))
        >>> [(one.line, one.text, one.bits, one.bits_per_char) for one in ranked]
        [(2, 'bc', 9.0, 3.0), (1, 'a', 1.0, 1.0)]
    """
    newlines = np.array([char.count("\n") for char in chars], np.int64)
    lines = np.cumsum(newlines) - newlines  # of each character's start
    charged = ~np.isnan(bits)
    size = int(lines[-1]) + 1 if len(chars) else 0
    counts = np.bincount(lines[charged], minlength=size)
    sums = np.bincount(lines[charged], weights=bits[charged], minlength=size)
    unknowns = np.bincount(lines[unknown], minlength=size)
    texts = "".join(chars).split("\n")
    found = [
        LineSurprisal(
            i + 1, texts[i], float(sums[i]), float(sums[i] / counts[i]), int(counts[i]), int(unknowns[i])
        )
        for i in np.flatnonzero(counts).tolist()
    ]
    return sorted(found, key=lambda one: -one.bits_per_char)
