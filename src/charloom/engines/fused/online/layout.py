"""All parameters in one flat vector, so that an update is one loop.

    table | w_ih | w_hh | out.weight | bias | out.bias

Each row begins on a 64-byte boundary and is padded to whole vectors, so that no loop has a remainder and no load
straddles two cache lines; the padding is zero and remains zero under every rule. `table` has one row per character:
its embedding, or for one-hot input its column of W_ih, which is therefore stored transposed; `w_ih` is then empty.
The matrices come first, as only they decay.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.fused.packing import LANES, aligned
from charloom.kernels.library import pointer, struct
from charloom.parameters import parameter_shapes

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


class Weights(NamedTuple):
    """The parameters, or their gradients, moments or averages, without padding."""

    table: Array  # (V, X), one row per character; X is E with an embedding, else H
    w_ih: Array  # (H, E), or (0, 0) if the input is one-hot
    w_hh: Array  # (H, H)
    w_out: Array  # (V, H)
    bias: Array  # (H,)
    out_bias: Array  # (V,)


class Layout:
    """The position of each parameter in the flat vector, for a plain Elman network of one layer.

    Attributes:
        shapes: shapes of the parameters under their names, in file order.
        vocab_size, hidden_size, input_size: V, H, and X, the width of the table.
        size: length of the flat vector, padding included.
        table_end: index where the table ends.
        matrices_end: index where the matrices end.
        table_row: length of a row of the table, padding included.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        V, H, E = vocab_size, config.hidden_size, config.embedding_size
        self.vocab_size, self.hidden_size, self.input_size = V, H, H if E is None else E
        self.shapes = parameter_shapes(config, vocab_size)
        self._one_hot = E is None
        self._names = {f"layers.0.cell.{part}": part for part in ("w_ih", "w_hh", "bias")}
        self._names |= {"out.weight": "w_out", "out.bias": "out_bias"}
        self._names["layers.0.cell.w_ih" if E is None else "embedding"] = "table"
        w_ih = (0, 0) if E is None else (H, E)
        self._places = Weights((V, self.input_size), w_ih, (H, H), (V, H), (H,), (V,))  # type: ignore[arg-type]
        sizes = [math.prod((*shape[:-1], padded(shape[-1]))) for shape in self._places]
        self._begins = [sum(sizes[:i]) for i in range(len(sizes))]
        self.size, self.table_end, self.matrices_end = sum(sizes), sizes[0], sum(sizes[:4])
        self.table_row = padded(self.input_size)

    def views(self, flat: Float[Array, "P"]) -> Weights:
        """The parts of a flat vector, as views without padding."""
        parts = []
        for begin, shape in zip(self._begins, self._places, strict=True):
            rows = (*shape[:-1], padded(shape[-1]))
            parts.append(flat[begin : begin + math.prod(rows)].reshape(rows)[..., : shape[-1]])
        return Weights(*parts)

    def struct(self, flat: Float[Array, "P"]) -> ctypes.Structure:
        """The parts of a flat vector as the compiled functions take them."""
        sizes = {"V": self.vocab_size, "H": self.hidden_size, "X": self.input_size}
        begins = dict(zip(Weights._fields, self._begins, strict=True))
        addresses = {name: pointer(flat) + begin * flat.itemsize for name, begin in begins.items()}
        return struct("OnlineWeights", keep=flat, one_hot=self._one_hot, **sizes, **addresses)

    def named(self, flat: Float[Array, "P"]) -> dict[str, Array]:
        """The parts of a flat vector as views under the names and in the shapes of the parameters."""
        views = self.views(flat)._asdict()
        if self._one_hot:
            views["table"] = views["table"].T
        return {name: views[self._names[name]] for name in self.shapes}

    def flat(self, named: Mapping[str, Array], dtype: np.dtype[Any]) -> Float[Array, "P"]:
        """Copy named arrays into a new flat vector."""
        flat = aligned((self.size,), dtype)
        for name, view in self.named(flat).items():
            view[...] = named[name]
        return flat


def padded(size: int) -> int:
    """Round a length up to whole vectors.

    Example:
        >>> padded(16), padded(100)
        (16, 112)
    """
    return -(-size // LANES) * LANES
