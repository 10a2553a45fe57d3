"""A trained network packed for compiled loops: two flat arrays, and records of where each parameter begins.

    numbers   float32: biases, gains, embeddings, scales; matrices in panels of 16 rows (see `tiles`)
    small     int8: the same matrices under ``precision="int8"``, with one scale per row

One compiled form runs every network: another cell, depth or width changes the records, not the loops. In plain
networks the first layer's input product plus bias is a look-up in a table with one row per character.

    q = round(w / s),  s = max |w| / 127 of the row          (1)  int8; a row of zeros has the scale 0
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig
from charloom.kernels.library import ACTIVATIONS, CELLS, struct
from charloom.parameters import cell_size, mlp_size, state_shapes

if TYPE_CHECKING:
    from jaxtyping import Float, Int8
    from numpy import ndarray as Array

LANES = 16
"""Rows of a panel."""

FOLDED_UP_TO = 1 << 24
"""Most numbers in the table of the first layer's product; above, the product is computed at each step."""

MATRIX = np.dtype([(name, np.int64) for name in ("at", "panels", "columns", "used", "sums", "scales")])
"""A packed matrix: where it begins, panels, columns with and without padding, and where its rows' sums and
scales begin (−1 unless int8)."""

LAYER = np.dtype(
    [(name, MATRIX) for name in ("w_ih", "w_hh", "proj", "gate_up", "down")]
    + [(name, np.int64) for name in ("bias", "bias_hn", "norm", "conv_weight", "conv_bias", "mlp_norm")]
)
"""The matrices of a layer, and where its vectors begin."""

ENDS = np.dtype([("out", MATRIX), ("out_bias", np.int64), ("norm", np.int64), ("table", np.int64)])
"""The parameters outside the layers."""


@dataclass(frozen=True, eq=False)
class Network:
    """A packed network; its fields are those of the struct in ``charloom.h``."""

    cell: int  # code from `CELLS`
    activation: int  # code from `ACTIVATIONS`; elman only
    residual: bool  # whether the cells are in residual blocks
    folded: bool  # whether the table holds the whole input product of the first layer
    vocab_size: int  # V
    width: int  # D, input size of each layer and of the output layer
    cell_size: int  # H
    gates: int  # rows of `w_ih`, G · H
    mlp_size: int  # M; 0 without a gated MLP
    conv_width: int  # K
    table_width: int  # numbers in a row of the table
    layer_state: int  # state size of a layer
    state_size: int  # S, of all layers
    max_input_size: int  # largest input of a product: max(D, H, M, X)
    max_output_size: int  # largest output of a product, rounded up to a multiple of 16
    max_int8_size: int  # largest input of an int8 product, rounded up to a multiple of 4
    layers: Array  # (L,) records of `LAYER`
    ends: Array  # (1,) record of `ENDS`
    numbers: Array  # floats, (n,)
    small: Array  # int8, (m,)
    sums: Array  # of each row of `small`, int32

    @cached_property
    def struct(self) -> ctypes.Structure:
        """The network as the compiled loops take it."""
        return struct(
            "Network",
            num_layers=len(self.layers),
            **{spec.name: getattr(self, spec.name) for spec in fields(self)},
        )


def aligned(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """An array of zeros that begins on a 64-byte boundary."""
    size, dtype = int(np.prod(shape)), np.dtype(dtype)
    scratch = np.zeros(size + 64 // dtype.itemsize, dtype)
    begin = -scratch.ctypes.data % 64 // dtype.itemsize
    return scratch[begin : begin + size].reshape(shape)


def pack(params: Mapping[str, Array], config: ModelConfig, *, dtype: np.dtype[Any], int8: bool) -> Network:
    """Pack arrays under the names of `charloom.parameters`, with `numbers` in `dtype`; `int8` quantises matrices."""
    return _Packing(params, config, dtype, int8).network()


class _Packing:
    """Collects parts, each to begin on a 64-byte boundary; `network` joins them."""

    def __init__(
        self, params: Mapping[str, Array], config: ModelConfig, dtype: np.dtype[Any], int8: bool
    ) -> None:
        self.params, self.config, self.dtype, self.int8 = params, config, dtype, int8
        self.parts: dict[str, list[Array]] = {"numbers": [], "small": [], "sums": []}
        self.sizes = dict.fromkeys(self.parts, 0)
        self.max_output_size, self.max_int8_size = 0, 0

    def network(self) -> Network:
        config, params = self.config, self.params
        table, folded = self._table()
        layers, ends = np.full(config.num_layers, -1, LAYER), np.full(1, -1, ENDS)
        for i, layer in enumerate(layers):
            self._layer(layer, f"layers.{i}.", reads_table=folded and i == 0)
        weight = params["embedding"] if config.tie_embeddings else params["out.weight"]
        ends[0]["out"] = self._matrix(weight)
        ends[0]["out_bias"] = self._vector(params["out.bias"])
        ends[0]["table"] = self._vector(table)
        if "norm" in params:
            ends[0]["norm"] = self._vector(params["norm"])
        mlp = mlp_size(config) if config.block == "residual" else 0
        state = sum(int(np.prod(shape)) for shape in state_shapes(config)[0].values())
        return Network(
            cell=CELLS[config.cell],
            activation=ACTIVATIONS[config.activation],
            residual=config.block == "residual",
            folded=folded,
            vocab_size=len(params["out.bias"]),
            width=config.hidden_size,
            cell_size=cell_size(config),
            gates=len(params["layers.0.cell.bias"]),
            mlp_size=mlp,
            conv_width=config.conv_width,
            table_width=table.shape[1],
            layer_state=state,
            state_size=state * config.num_layers,
            max_input_size=max(config.hidden_size, cell_size(config), mlp, 0 if folded else table.shape[1]),
            max_output_size=max(self.max_output_size, -(-len(params["layers.0.cell.bias"]) // LANES) * LANES),
            max_int8_size=self.max_int8_size,
            layers=layers,
            ends=ends,
            numbers=self._joined("numbers", self.dtype),
            small=self._joined("small", np.int8),
            sums=self._joined("sums", np.int32),
        )

    def _table(self) -> tuple[Float[Array, "V X"], bool]:
        """The first layer's input, one row per character, and whether that is the whole input product."""
        params, w_ih, bias = self.params, self.params["layers.0.cell.w_ih"], self.params["layers.0.cell.bias"]
        embedding = params.get("embedding")
        if embedding is None:
            return w_ih.T + bias, True
        V = len(embedding)
        if self.config.block == "residual" or V * len(bias) > FOLDED_UP_TO:
            return embedding, False
        # summed in one order, so that an exported page packs the same bits
        table, product = np.zeros((V, len(bias))), np.empty((V, len(bias)))
        columns, weights = (np.ascontiguousarray(factor.T, np.float64) for factor in (embedding, w_ih))
        for column, row in zip(columns, weights, strict=True):
            np.multiply(column[:, None], row, out=product)
            table += product
        return table + bias, True

    def _layer(self, layer: Any, prefix: str, *, reads_table: bool) -> None:
        own = {n.removeprefix(prefix): p for n, p in self.params.items() if n.startswith(prefix)}
        matrices = {"w_hh": own.get("cell.w_hh"), "proj": own.get("proj"), "down": own.get("mlp.down")}
        if not reads_table:
            matrices["w_ih"] = own["cell.w_ih"]
        if "mlp.gate" in own:
            matrices["gate_up"] = np.concatenate([own["mlp.gate"], own["mlp.up"]])
        for name, matrix in matrices.items():
            if matrix is not None:
                layer[name] = self._matrix(matrix)
        for key in ("cell.bias", "cell.bias_hn", "norm", "conv.bias", "mlp_norm"):
            if key in own:
                layer[key.removeprefix("cell.").replace(".", "_")] = self._vector(own[key])
        if "conv.weight" in own:
            layer["conv_weight"] = self._vector(own["conv.weight"].T)  # (K, D): a tap is contiguous

    def _vector(self, array: Array) -> int:
        return self._append("numbers", np.asarray(array, self.dtype).reshape(-1))

    def _matrix(self, matrix: Float[Array, "M N"]) -> tuple[int, ...]:
        (M, N), panels = matrix.shape, -(-matrix.shape[0] // LANES)
        self.max_output_size = max(self.max_output_size, panels * LANES)
        self.max_int8_size = max(self.max_int8_size, -(-N // 4) * 4)
        if not self.int8:
            padded = np.zeros((panels * LANES, N), self.dtype)
            padded[:M] = matrix
            at = self._append("numbers", padded.reshape(panels, LANES, N).transpose(0, 2, 1).reshape(-1))
            return at, panels, N, N, -1, -1
        groups = -(-N // 4)
        quantised = np.zeros((panels * LANES, groups * 4), np.int8)
        scales = np.zeros(panels * LANES, self.dtype)
        quantised[:M, :N], scales[:M] = quantise(matrix)
        in_panels = quantised.reshape(panels, LANES, groups, 4).transpose(0, 2, 1, 3).reshape(-1)
        return (
            self._append("small", in_panels),
            panels,
            groups * 4,
            N,
            self._append("sums", quantised.sum(axis=1, dtype=np.int32)),
            self._append("numbers", scales),
        )

    def _append(self, kind: str, array: Array) -> int:
        at = self.sizes[kind]
        self.parts[kind].append(array)
        self.sizes[kind] = at + _lines(array)
        return at

    def _joined(self, kind: str, dtype: Any) -> Array:
        whole, at = aligned(max(1, self.sizes[kind]), dtype), 0
        for part in self.parts[kind]:
            whole[at : at + len(part)] = part
            at += _lines(part)
        return whole


def _lines(part: Array) -> int:
    """The length of a part, rounded up so that the next begins on a 64-byte boundary whatever its type."""
    return -(-len(part) // 64) * 64


def quantise(matrix: Float[Array, "M N"]) -> tuple[Int8[Array, "M N"], Float[Array, "M"]]:
    """Compute (1): the integers and the scale of each row.

    Example:
        >>> quantise(np.array([[0.5, -1.0], [0.0, 0.0]]))
        (array([[  64, -127],
               [   0,    0]], dtype=int8), array([0.00787402, 0.        ]))
    """
    scales = np.abs(matrix).max(axis=1, initial=0.0) / 127
    steps = matrix / np.where(scales > 0, scales, 1.0)[:, None]
    return np.rint(steps).astype(np.int8), scales
