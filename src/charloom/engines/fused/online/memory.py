"""The memory of the compiled updates besides the text: flat vectors, the tape of a window, pending updates."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.engines.fused.online.layout import Layout, padded
from charloom.engines.fused.packing import aligned
from charloom.kernels.library import struct

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array


class Vectors(NamedTuple):
    """The flat vectors of a `Layout` of size P; the average is empty if averaging is off."""

    w: Float[Array, "P"]  # parameters
    g: Float[Array, "P"]  # gradient
    first: Float[Array, "P"]  # moments
    second: Float[Array, "P"]
    average: Float[Array, "P"]

    def struct(self, layout: Layout) -> ctypes.Structure:
        """The vectors as the compiled functions take them."""
        ends = {name: getattr(layout, name) for name in ("size", "table_end", "matrices_end", "table_row")}
        return struct("FlatVectors", averages=len(self.average) > 0, **ends, **self._asdict())


class Tape(NamedTuple):
    """Values of a window of up to T time steps; H', V' and X' are padded lengths."""

    x: Float[Array, "T X'"]  # embeddings read
    before: Float[Array, "T H'"]  # the state that each time step reads
    a: Float[Array, "T H'"]  # pre-activations; backward overwrites them with their gradient
    h: Float[Array, "T H'"]  # hidden states
    y: Float[Array, "T V'"]  # logits; the loss overwrites them with their gradient
    d_h: Float[Array, "T H'"]
    d_x: Float[Array, "T X'"]
    rows: Int[Array, "V"]  # distinct characters of the window
    seen: Int[Array, "V"]  # the last step that read each character

    def struct(self) -> ctypes.Structure:
        """The tape as the compiled functions take it."""
        return struct("OnlineTape", **self._asdict())


class PendingUpdates(NamedTuple):
    """Two updates that the next character's products add: W_hh += p_a u_aᵀ and W_out += p_y u_yᵀ."""

    p_a: Float[Array, "H'"]
    u_a: Float[Array, "H'"]
    p_y: Float[Array, "V'"]
    u_y: Float[Array, "H'"]

    def struct(self) -> ctypes.Structure:
        """The updates as the compiled functions take them."""
        return struct("PendingUpdates", **self._asdict())


def new_tape(layout: Layout, length: int, dtype: np.dtype[Any]) -> Tape:
    """Allocate a tape for windows of up to `length` time steps."""
    V, H, X = (padded(size) for size in (layout.vocab_size, layout.hidden_size, layout.input_size))
    shapes = [(length, width) for width in (X, H, H, H, V, H, X)]
    counts = np.zeros((2, layout.vocab_size), np.int64)
    return Tape(*(aligned(shape, dtype) for shape in shapes), *counts)


def new_pending(layout: Layout, dtype: np.dtype[Any]) -> PendingUpdates:
    """Allocate pending updates."""
    V, H = padded(layout.vocab_size), padded(layout.hidden_size)
    return PendingUpdates(*(aligned((size,), dtype) for size in (H, H, V, H)))
