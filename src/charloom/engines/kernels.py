"""Compiled loops that more than one engine calls: dropout masks and the linear scan.

Every kernel is a serial, module-level Numba function with static calls, so that its compiled form is found on disk by the
next process. Where Numba is missing, or has no right to its cache, the NumPy twins below stand in.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from charloom import rng

if TYPE_CHECKING:
    from jaxtyping import Float, UInt16
    from numpy import ndarray as Array

Loop = TypeVar("Loop", bound=Callable[..., Any])

try:
    from numba import njit
except ImportError:  # Numba lags a new Python: the NumPy twins are slower and give the same bits
    njit = None  # type: ignore[assignment]


HAS_NUMBA = njit is not None


def compiled(loop: Loop, fastmath: set[str] | bool = False) -> Loop:
    """Compile a loop, kept on disk for the next process; in memory alone where there is no right to write to any folder.

    Without Numba the loop is as it was, and nobody calls it.
    """
    if not HAS_NUMBA:
        return loop
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    with warnings.catch_warnings():  # a read-only home: Numba warns that it compiles in memory only
        warnings.simplefilter("ignore")
        try:
            return cast("Loop", njit(cache=True, **options)(loop))
        except RuntimeError:  # no folder at all: Numba refuses
            return cast("Loop", njit(**options)(loop))


@compiled
def fill_words(out: Any, key0: Any, key1: Any, lane: Any, step: Any, purpose: Any) -> None:
    """Write the Philox words of one address into `out` (n,) uint32, n a multiple of 4: the loop of `rng.philox`."""
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


@compiled
def _scan_forward(keep: Any, update: Any, h0: Any, h: Any) -> None:
    """h_t = keep_t ⊙ h_{t−1} + update_t over (B, T, H), into `h`."""
    B, T, H = keep.shape
    for b in range(B):
        for j in range(H):
            h[b, 0, j] = keep[b, 0, j] * h0[b, j] + update[b, 0, j]
        for t in range(1, T):
            for j in range(H):
                h[b, t, j] = keep[b, t, j] * h[b, t - 1, j] + update[b, t, j]


@compiled
def _scan_backward(keep: Any, h0: Any, h: Any, d_h: Any, d_keep: Any, d_update: Any, d_h0: Any) -> None:
    """The derivative of `_scan_forward`: d_update_t = d_h_t + keep_{t+1} ⊙ d_update_{t+1}, d_keep_t = d_update_t ⊙ h_{t−1}."""
    B, T, H = keep.shape
    for b in range(B):
        for j in range(H):
            d_update[b, T - 1, j] = d_h[b, T - 1, j]
        for t in range(T - 2, -1, -1):
            for j in range(H):
                d_update[b, t, j] = d_h[b, t, j] + keep[b, t + 1, j] * d_update[b, t + 1, j]
        for t in range(T - 1, 0, -1):
            for j in range(H):
                d_keep[b, t, j] = d_update[b, t, j] * h[b, t - 1, j]
        for j in range(H):
            d_keep[b, 0, j] = d_update[b, 0, j] * h0[b, j]
            d_h0[b, j] = d_update[b, 0, j] * keep[b, 0, j]


def random_halves(seed: int, purpose: int, step: int, lanes: range, count: int) -> UInt16[Array, "L n"]:
    """Draw `count` 16-bit numbers a lane: the low, then the high half of each word of `rng.random_bits`.

    Returns:
        uint16, (lanes, count).
    """
    words = -(-count // 8) * 4
    if not HAS_NUMBA:
        bits = rng.random_bits(seed, purpose, step, lanes, words)
    else:
        bits = np.empty((len(lanes), words), np.uint32)
        key0, key1 = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
        for row, lane in zip(bits, lanes, strict=True):
            fill_words(row, key0, key1, np.uint32(lane), np.uint32(step & 0xFFFFFFFF), np.uint32(purpose))
    return bits.astype("<u4", copy=False).view("<u2")[:, :count]


def scan_forward(
    keep: Float[Array, "B T H"], update: Float[Array, "B T H"], h0: Float[Array, "B H"]
) -> Float[Array, "B T H"]:
    """Run the linear recurrence h_t = keep_t ⊙ h_{t−1} + update_t.

    Args:
        keep: what remains of the previous state.
        update: what is added.
        h0: the state before the first step.
    """
    h = np.empty_like(keep)
    if HAS_NUMBA:
        _scan_forward(keep, update, h0, h)
        return h
    for t in range(keep.shape[1]):
        h[:, t] = keep[:, t] * (h[:, t - 1] if t else h0) + update[:, t]
    return h


def scan_backward(
    keep: Float[Array, "B T H"], h0: Float[Array, "B H"], h: Float[Array, "B T H"], d_h: Float[Array, "B T H"]
) -> tuple[Float[Array, "B T H"], Float[Array, "B T H"], Float[Array, "B H"]]:
    """Pull a gradient back through `scan_forward`: (d_keep, d_update, d_h0)."""
    d_keep, d_update, d_h0 = np.empty_like(keep), np.empty_like(keep), np.empty_like(h0)
    if HAS_NUMBA:
        _scan_backward(keep, h0, h, d_h, d_keep, d_update, d_h0)
        return d_keep, d_update, d_h0
    carried = np.zeros_like(h0)
    for t in range(keep.shape[1] - 1, -1, -1):
        d_update[:, t] = d_h[:, t] + carried
        carried = d_update[:, t] * keep[:, t]
        d_keep[:, t] = d_update[:, t] * (h[:, t - 1] if t else h0)
    return d_keep, d_update, carried
