"""The linear recurrence of minGRU, h_t = keep_t ⊙ h_{t−1} + update_t, and its derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.kernels import jit
from charloom.kernels.jit import compiled_exactly

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


@compiled_exactly
def _scan_forward(keep: Any, update: Any, h0: Any, h: Any) -> None:
    """Write h_t = keep_t ⊙ h_{t−1} + update_t into `h`, (B, T, H)."""
    B, T, H = keep.shape
    for b in range(B):
        for j in range(H):
            h[b, 0, j] = keep[b, 0, j] * h0[b, j] + update[b, 0, j]
        for t in range(1, T):
            for j in range(H):
                h[b, t, j] = keep[b, t, j] * h[b, t - 1, j] + update[b, t, j]


@compiled_exactly
def _scan_backward(keep: Any, h0: Any, h: Any, d_h: Any, d_keep: Any, d_update: Any, d_h0: Any) -> None:
    """Compute d_update_t = d_h_t + keep_{t+1} ⊙ d_update_{t+1} and d_keep_t = d_update_t ⊙ h_{t−1}."""
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


def forward(
    keep: Float[Array, "B T H"], update: Float[Array, "B T H"], h0: Float[Array, "B H"]
) -> Float[Array, "B T H"]:
    """Run the linear recurrence h_t = keep_t ⊙ h_{t−1} + update_t from the state h0."""
    h = np.empty_like(keep)
    if jit.HAS_NUMBA:
        _scan_forward(keep, update, h0, h)
        return h
    for t in range(keep.shape[1]):
        h[:, t] = keep[:, t] * (h[:, t - 1] if t else h0) + update[:, t]
    return h


def backward(
    keep: Float[Array, "B T H"], h0: Float[Array, "B H"], h: Float[Array, "B T H"], d_h: Float[Array, "B T H"]
) -> tuple[Float[Array, "B T H"], Float[Array, "B T H"], Float[Array, "B H"]]:
    """Backward pass of `forward`: (d_keep, d_update, d_h0)."""
    d_keep, d_update, d_h0 = np.empty_like(keep), np.empty_like(keep), np.empty_like(h0)
    if jit.HAS_NUMBA:
        _scan_backward(keep, h0, h, d_h, d_keep, d_update, d_h0)
        return d_keep, d_update, d_h0
    carried = np.zeros_like(h0)
    for t in range(keep.shape[1] - 1, -1, -1):
        d_update[:, t] = d_h[:, t] + carried
        carried = d_update[:, t] * keep[:, t]
        d_keep[:, t] = d_update[:, t] * (h[:, t - 1] if t else h0)
    return d_keep, d_update, carried
