"""Random numbers for dropout masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom import rng
from charloom.kernels.library import library, pointer

if TYPE_CHECKING:
    from jaxtyping import UInt16
    from numpy import ndarray as Array


def random_halves(seed: int, purpose: int, step: int, lanes: range, count: int) -> UInt16[Array, "L n"]:
    """Draw `count` 16-bit numbers per lane: the low, then the high half of each word of `rng.random_bits`."""
    words = -(-count // 8) * 4
    compiled = library()
    if compiled is None:
        bits = rng.random_bits(seed, purpose, step, lanes, words)
    else:
        bits, numbers = np.empty((len(lanes), words), np.uint32), np.array(lanes, np.uint32)
        address = pointer(numbers), len(numbers), step & 0xFFFFFFFF, int(purpose), words
        random_words = compiled.function("random_words", "float32")
        random_words(pointer(bits), seed & 0xFFFFFFFF, seed >> 32, *address)
    return bits.astype("<u4", copy=False).view("<u2")[:, :count]
