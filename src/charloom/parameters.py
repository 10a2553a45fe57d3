"""The name, shape and initial value of every parameter, for every cell and block.

This is the only definition, used to check model files and by every engine. Layouts follow PyTorch (LSTM
blocks i f g o, GRU blocks r z n); the table of names is in ``docs/explanation/architecture.md``.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.rng import Purpose, normals, uniforms

if TYPE_CHECKING:
    from jaxtyping import Float64
    from numpy import ndarray as Array

NUM_GATES = {"elman": 1, "lstm": 4, "gru": 3, "mingru": 2}
"""Gate blocks stacked in ``w_ih``, ``w_hh`` and ``bias``."""

NORM_EPSILON = 1e-6
"""Added to the mean square inside every RMSNorm."""

Shapes = dict[str, tuple[int, ...]]


def cell_size(config: ModelConfig) -> int:
    """Width H of the cell: `hidden_size`, times `expansion` inside a residual block."""
    size = config.hidden_size
    return size if config.block == "plain" else max(1, round(config.expansion * size))


def mlp_size(config: ModelConfig) -> int:
    """Width M of the residual block's gated MLP; 0 means none."""
    return round(config.mlp_ratio * config.hidden_size)


def input_size(config: ModelConfig, vocab_size: int) -> int:
    """Width of the first layer's input: of the embedding, or of the vocabulary if the input is one-hot."""
    return config.hidden_size if config.block == "residual" else config.embedding_size or vocab_size


def parameter_shapes(config: ModelConfig, vocab_size: int) -> Shapes:
    """The shape of every parameter by name, in the order used in files.

    Example:
        >>> parameter_shapes(ModelConfig(cell="elman", hidden_size=3), 5)["layers.0.cell.w_ih"]
        (3, 5)
    """
    shapes: Shapes = {}
    if config.block == "residual" or config.embedding_size is not None:
        shapes["embedding"] = (vocab_size, input_size(config, vocab_size))
    for i in range(config.num_layers):
        width = input_size(config, vocab_size) if i == 0 else config.hidden_size
        layer = _residual_layer(config) if config.block == "residual" else _cell(config, width)
        shapes |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    if config.block == "residual":
        shapes["norm"] = (config.hidden_size,)
    if not config.tie_embeddings:
        shapes["out.weight"] = (vocab_size, config.hidden_size)
    shapes["out.bias"] = (vocab_size,)
    return shapes


def _cell(config: ModelConfig, width: int) -> Shapes:
    H, G = cell_size(config), NUM_GATES[config.cell]
    shapes: Shapes = {"cell.w_ih": (G * H, width)}
    if config.cell != "mingru":
        shapes["cell.w_hh"] = (G * H, H)
    shapes["cell.bias"] = (G * H,)
    if config.cell == "gru":
        shapes["cell.bias_hn"] = (H,)
    return shapes


def _residual_layer(config: ModelConfig) -> Shapes:
    D, M = config.hidden_size, mlp_size(config)
    shapes: Shapes = {"norm": (D,), "conv.weight": (D, config.conv_width), "conv.bias": (D,)}
    shapes |= _cell(config, D)
    shapes["proj"] = (D, cell_size(config))
    if M:
        shapes |= {"mlp_norm": (D,), "mlp.gate": (M, D), "mlp.up": (M, D), "mlp.down": (D, M)}
    return shapes


def state_shapes(config: ModelConfig) -> list[Shapes]:
    """The shape of each state array, one dict per layer, without the leading batch axis."""
    layer: Shapes = {"h": (cell_size(config),)}
    if config.cell == "lstm":
        layer["c"] = (cell_size(config),)
    if config.block == "residual":
        layer["conv"] = (config.conv_width - 1, config.hidden_size)
    return [dict(layer) for _ in range(config.num_layers)]


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """The number of parameters of a model with this configuration."""
    return sum(math.prod(shape) for shape in parameter_shapes(config, vocab_size).values())


def initial_parameters(config: ModelConfig, vocab_size: int, seed: int) -> dict[str, Float64[Array, "..."]]:
    """Draw every parameter's initial value: float64 arrays under the names of `parameter_shapes`.

    ``orthogonal`` (the default): recurrent blocks orthogonal (Saxe et al. 2014), one gate at a time; the
    LSTM's forget bias `forget_bias` (Jozefowicz et al. 2015), other biases 0; input weights normal with
    variance 1 / input width (one-hot: 1 / H); embeddings standard normal; the two output matrices of a
    residual block 0, so that the stream starts as the embedding; its convolution passes the current input through.
    ``pytorch``: everything in a cell and in the output layer uniform in ±1/√H, embeddings standard normal.
    ``normal`` and ``uniform``: `init_scale` for all weights; normal sets biases to 0, uniform draws them too.
    """
    draw = _Draw(config, vocab_size, seed)
    return {name: draw(name, shape) for name, shape in parameter_shapes(config, vocab_size).items()}


def initial_bias_pair(config: ModelConfig, vocab_size: int, seed: int) -> dict[str, Float64[Array, "..."]]:
    """The second biases of the ``pair`` form, one for each cell's ``bias`` (a GRU's for r and z only).

    PyTorch adds two biases in every gate. They have the same distribution and the same gradient, so under
    Adam their sum moves twice as far; a model file contains the sum.
    """
    draw, scaled = _Draw(config, vocab_size, seed), config.init in ("pytorch", "uniform")
    pairs = {}
    for name, shape in parameter_shapes(config, vocab_size).items():
        if name.endswith("cell.bias"):
            size = shape[0] * 2 // 3 if config.cell == "gru" else shape[0]
            pair = f"{name}_pair"
            pairs[pair] = draw.uniform(pair, (size,), draw.body_bound) if scaled else np.zeros(size)
    return pairs


class _Draw:
    """Draw initial values by name: each draw depends on the name's checksum and on no other draw."""

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int) -> None:
        self.config, self.vocab_size, self.seed = config, vocab_size, seed
        self.body_bound = config.init_scale if config.init == "uniform" else 1 / math.sqrt(cell_size(config))

    def __call__(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        if name.startswith("out."):
            return self._out(name, shape)
        if name.endswith("norm"):
            return np.ones(shape)
        if name == "embedding":
            return self._embedding(name, shape)
        if ".conv." in name:
            return self._conv(name, shape)
        draws = {"orthogonal": self._modern, "normal": self._normal_weights}
        return draws.get(self.config.init, self._bounded)(name, shape)

    def uniform(self, name: str, shape: tuple[int, ...], bound: float | None) -> Float64[Array, "..."]:
        assert bound is not None
        u = uniforms(self.seed, Purpose.INIT, zlib.crc32(name.encode()), [0], math.prod(shape))
        return (2 * u - 1).reshape(shape) * bound

    def normal(self, name: str, shape: tuple[int, ...], scale: float | None) -> Float64[Array, "..."]:
        assert scale is not None
        x = normals(self.seed, Purpose.INIT, zlib.crc32(name.encode()), [0], math.prod(shape))
        return x.reshape(shape) * scale

    def _bounded(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        return self.uniform(name, shape, self.body_bound)

    def _normal_weights(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        return self.normal(name, shape, self.config.init_scale) if len(shape) > 1 else np.zeros(shape)

    def _embedding(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        if self.config.init == "uniform":
            return self.uniform(name, shape, self.config.init_scale)
        return self.normal(name, shape, self.config.init_scale if self.config.init == "normal" else 1.0)

    def _conv(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        if name.endswith("bias"):
            return np.zeros(shape)
        taps = self.uniform(name, shape, 1 / math.sqrt(shape[1]))
        taps[:, -1] = 1.0
        return taps

    def _modern(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        if name.endswith((".proj", ".mlp.down")):
            return np.zeros(shape)
        if name.endswith("w_hh"):
            return self._orthogonal_blocks(name, shape)
        H = cell_size(self.config)
        if len(shape) > 1:
            one_hot = self.config.block == "plain" and self.config.embedding_size is None
            width = H if one_hot and name == "layers.0.cell.w_ih" else shape[1]
            return self.normal(name, shape, 1 / math.sqrt(width))
        bias = np.zeros(shape)
        if self.config.cell == "lstm" and name.endswith("cell.bias"):
            bias[H : 2 * H] = self.config.forget_bias
        return bias

    def _orthogonal_blocks(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        H = shape[1]
        q, r = np.linalg.qr(self.normal(name, shape, 1.0).reshape(-1, H, H))
        signs = np.sign(np.einsum("ghh->gh", r))  # uniform over orthogonal matrices (Mezzadri 2007)
        rotated: Array = (q * signs[:, None, :]).reshape(shape)
        return rotated

    def _out(self, name: str, shape: tuple[int, ...]) -> Float64[Array, "..."]:
        config, same = self.config, self.config.init_out == "same"
        kind, scale = (config.init, config.init_scale) if same else (config.init_out, config.init_out_scale)
        bound = 1 / math.sqrt(config.hidden_size)
        if kind == "pytorch":
            return self.uniform(name, shape, bound)
        if name == "out.bias" and not (same and kind == "uniform"):
            return np.zeros(shape)
        if kind == "uniform":
            return self.uniform(name, shape, scale)
        return self.normal(name, shape, scale if kind == "normal" else bound / 2)
