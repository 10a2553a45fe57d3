"""The linear recurrence of minGRU, h_t = keep_t ⊙ h_{t−1} + update_t, and its derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom.kernels.library import library, pointer

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


def forward(
    keep: Float[Array, "B T H"], update: Float[Array, "B T H"], h0: Float[Array, "B H"]
) -> Float[Array, "B T H"]:
    """Run the linear recurrence h_t = keep_t ⊙ h_{t−1} + update_t from the state h0."""
    h = np.empty_like(keep)
    if _compiled("scan_forward", keep.shape, keep, update, h0, h):
        return h
    for t in range(keep.shape[1]):
        h[:, t] = keep[:, t] * (h[:, t - 1] if t else h0) + update[:, t]
    return h


def backward(
    keep: Float[Array, "B T H"], h0: Float[Array, "B H"], h: Float[Array, "B T H"], d_h: Float[Array, "B T H"]
) -> tuple[Float[Array, "B T H"], Float[Array, "B T H"], Float[Array, "B H"]]:
    """Backward pass of `forward`: (d_keep, d_update, d_h0)."""
    d_keep, d_update, d_h0 = np.empty_like(keep), np.empty_like(keep), np.empty_like(h0)
    if _compiled("scan_backward", keep.shape, keep, h0, h, d_h, d_keep, d_update, d_h0):
        return d_keep, d_update, d_h0
    carried = np.zeros_like(h0)
    for t in range(keep.shape[1] - 1, -1, -1):
        d_update[:, t] = d_h[:, t] + carried
        carried = d_update[:, t] * keep[:, t]
        d_keep[:, t] = d_update[:, t] * (h[:, t - 1] if t else h0)
    return d_keep, d_update, carried


def _compiled(name: str, shape: tuple[int, ...], *arrays: Array) -> bool:
    """Call a compiled function, if the library is here and the arrays are as it takes them."""
    compiled, dtype = library(), str(arrays[0].dtype)
    fits = dtype in ("float32", "float64") and all(x.dtype == dtype and x.flags.c_contiguous for x in arrays)
    if compiled is None or not fits:
        return False
    compiled.function(name, dtype)(*map(pointer, arrays), *shape)
    return True
