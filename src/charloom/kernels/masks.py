"""Dropout, compiled: random numbers for masks, and masked activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import rng
from charloom.kernels import jit
from charloom.kernels.jit import compiled, compiled_exactly

if TYPE_CHECKING:
    from jaxtyping import UInt16
    from numpy import ndarray as Array


@compiled_exactly
def fill_words(out: Any, key0: Any, key1: Any, lane: Any, step: Any, purpose: Any) -> None:
    """Write the Philox words of an address to `out` (n,) uint32, n a multiple of 4, as in `rng.philox`."""
    for block in range(out.shape[0] // 4):
        x0, x1, x2, x3 = np.uint32(block), lane, step, purpose
        k0, k1 = key0, key1
        for _ in range(10):
            p0 = np.uint64(x0) * np.uint64(0xD2511F53)
            p1 = np.uint64(x2) * np.uint64(0xCD9E8D57)
            x0, x1, x2, x3 = (
                np.uint32(p1 >> np.uint64(32)) ^ x1 ^ k0,
                np.uint32(p1),
                np.uint32(p0 >> np.uint64(32)) ^ x3 ^ k1,
                np.uint32(p0),
            )
            k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
            k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
        out[4 * block], out[4 * block + 1], out[4 * block + 2], out[4 * block + 3] = x0, x1, x2, x3


@compiled_exactly
def _fill_rows(out: Any, key0: Any, key1: Any, lanes: Any, step: Any, purpose: Any) -> None:
    """Call `fill_words` for each lane and its row of `out` (L, n)."""
    for i in range(out.shape[0]):
        fill_words(out[i], key0, key1, lanes[i], step, purpose)


def random_halves(seed: int, purpose: int, step: int, lanes: range, count: int) -> UInt16[Array, "L n"]:
    """Draw `count` 16-bit numbers per lane: the low, then the high half of each word of `rng.random_bits`."""
    words = -(-count // 8) * 4
    if not jit.HAS_NUMBA:
        bits = rng.random_bits(seed, purpose, step, lanes, words)
    else:
        bits = np.empty((len(lanes), words), np.uint32)
        key0, key1 = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
        address = np.uint32(step & 0xFFFFFFFF), np.uint32(purpose)
        _fill_rows(bits, key0, key1, np.array(lanes, np.uint32), *address)
    return bits.astype("<u4", copy=False).view("<u2")[:, :count]


@compiled
def drop(x: Any, halves: Any, threshold: Any, scale: Any, y: Any) -> None:
    """Write `x` (T, B, W) times `scale` to `y`, with zeros for elements whose half is below `threshold`.

    `halves` is (B, T · W), or (B, T) to keep or drop whole time steps.
    """
    T, B, W = x.shape
    zero = x.dtype.type(0)
    each = halves.shape[1] // T
    for t in range(T):
        for b in range(B):
            x_t, y_t, drawn = x[t, b], y[t, b], halves[b, t * each : (t + 1) * each]
            if each == W:
                for j in range(W):
                    y_t[j] = x_t[j] * scale if drawn[j] >= threshold else zero
            else:
                for j in range(W):
                    y_t[j] = x_t[j] * scale if drawn[0] >= threshold else zero
