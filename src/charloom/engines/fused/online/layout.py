"""All parameters in one flat vector, so that an update is one loop; names outside, views inside.

    table | w_ih | w_hh | out.weight | bias | out.bias

Each part begins on a 64-byte boundary, so that no vector of a row straddles two cache lines (a third of the speed); the
gaps are zero and stay so under every rule. `table` has one row a character, what it brings into equation (1) of `elman`: its embedding, or, one-hot, its column of
W_ih, which is therefore kept transposed. The matrices come first: they alone decay. `w_ih` is empty where the input is
one-hot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.fused.packing import aligned
from charloom.parameters import parameter_shapes

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


_LINE = 16
"""Numbers from one boundary to the next: 64 bytes of float32."""


class Weights(NamedTuple):
    """The parameters as compiled loops read them; also their gradients, moments or averages.

    Attributes:
        table: (V, X), a row a character; X is E with an embedding, else H.
        w_ih: (H, E), or (0, 0) where the input is one-hot.
        w_hh: (H, H).
        w_out: (V, H).
        bias: (H,).
        out_bias: (V,).
    """

    table: Array
    w_ih: Array
    w_hh: Array
    w_out: Array
    bias: Array
    out_bias: Array


class Layout:
    """Where each parameter lies in the flat vector.

    Args:
        config: a plain Elman network of one layer.
        vocab_size: V.

    Attributes:
        shapes: the parameters' shapes under their names, in the order of files.
        size: numbers in the flat vector, gaps included.
        table_end: where the table ends in it.
        matrices_end: where the matrices end in it, which alone decay.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        V, H, E = vocab_size, config.hidden_size, config.embedding_size
        self.shapes = parameter_shapes(config, vocab_size)
        cell = "layers.0.cell."
        self._one_hot = E is None
        self._names = {
            "table": f"{cell}w_ih" if E is None else "embedding",
            "w_hh": f"{cell}w_hh",
            "w_out": "out.weight",
            "bias": f"{cell}bias",
            "out_bias": "out.bias",
        }
        if E is not None:
            self._names["w_ih"] = f"{cell}w_ih"
        w_ih = (0, 0) if E is None else (H, E)
        self._places = Weights((V, H if E is None else E), w_ih, (H, H), (V, H), (H,), (V,))  # type: ignore[arg-type]
        sizes = [-(-math.prod(shape) // _LINE) * _LINE for shape in self._places]
        self._begins = [sum(sizes[:i]) for i in range(len(sizes))]
        self.size, self.table_end, self.matrices_end = sum(sizes), sizes[0], sum(sizes[:4])

    def views(self, flat: Float[Array, "P"]) -> Weights:
        """The parts of a flat vector, writable."""
        places = zip(self._begins, self._places, strict=True)
        return Weights(*(flat[i : i + math.prod(shape)].reshape(shape) for i, shape in places))

    def named(self, flat: Float[Array, "P"]) -> dict[str, Array]:
        """The parts of a flat vector under the parameters' names and in their shapes; views, not copies."""
        views = self.views(flat)._asdict()
        named = {name: views[part] for part, name in self._names.items()}
        if self._one_hot:
            named[self._names["table"]] = views["table"].T
        return {name: named[name] for name in self.shapes}

    def flat(self, named: Mapping[str, Array], dtype: np.dtype[Any]) -> Float[Array, "P"]:
        """A new flat vector from named arrays."""
        flat = aligned((self.size,), dtype)
        for name, view in self.named(flat).items():
            view[...] = named[name]
        return flat
