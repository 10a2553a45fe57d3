"""Layers of the tour: output shape and parameters of each, from ids to logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from charloom.config import ModelConfig
from charloom.parameters import cell_size, input_size, mlp_size, parameter_shapes
from charloom.summary import short_fields


@dataclass(frozen=True, slots=True)
class ShapeStage:
    """The output of one layer.

    Attributes:
        name: the layer.
        axes: a letter per axis: B lanes, T time steps, V vocabulary, E embedding, H cell, D stream, M inside the MLP.
        shape: of the output.
        parameters: shapes of the layer's parameters.
        num_params: elements of the layer's parameters.
        note: what the layer computes.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: Mapping[str, tuple[int, ...]]
    num_params: int
    note: str

    __repr__ = short_fields


def stages(
    config: ModelConfig, vocab_size: int, B: int, T: int, *, last_only: bool = False
) -> tuple[ShapeStage, ...]:
    """The output shape and parameters of each layer, which together have every parameter of the network.

    B lanes and T time steps are read; `last_only` means that only the last time step has logits.

    Example:
        >>> [one.shape for one in stages(ModelConfig(cell="elman", hidden_size=3), 5, 2, 4)]
        [(2, 4), (2, 4, 5), (2, 4, 3), (2, 4, 5)]
    """
    build = _Stages(parameter_shapes(config, vocab_size), B, T)
    width = input_size(config, vocab_size)
    found = [build("ids", "", 0, (), "one number per character")]
    if "embedding" in build.shapes:
        found.append(build("embedding", "E", width, ("embedding",), "each id selects its row of the table"))
    else:
        note = "a 1 at the position of the id; it selects a column of the next weights"
        found.append(build("one-hot", "V", width, (), note))
    for i in range(config.num_layers):
        found += _residual(build, config, i) if config.block == "residual" else [_plain(build, config, i)]
    if config.block == "residual":
        found.append(build("norm", "D", config.hidden_size, ("norm",), _NORM_NOTE))
    weight = ("out.bias",) if config.tie_embeddings else ("out.weight", "out.bias")
    note = "one number per possible next character"
    note += "; the weights are the embedding's" * config.tie_embeddings
    note += "; last time step only" * last_only
    logits = build("logits", "V", vocab_size, weight, note)
    if last_only:
        logits = replace(logits, axes=("B", "V"), shape=(B, vocab_size))
    return (*found, logits)


class _Stages(NamedTuple):
    """Builds the stages of one network from the shapes of its parameters."""

    shapes: Mapping[str, tuple[int, ...]]
    B: int
    T: int

    def __call__(self, name: str, axis: str, size: int, parameters: Sequence[str], note: str) -> ShapeStage:
        own = {one: self.shapes[one] for one in parameters if one in self.shapes}
        axes, shape = (("B", "T", axis), (self.B, self.T, size)) if axis else (("B", "T"), (self.B, self.T))
        return ShapeStage(name, axes, shape, own, sum(map(math.prod, own.values())), note)


_CELL = ("cell.w_ih", "cell.w_hh", "cell.bias", "cell.bias_hn")
_NORM_NOTE = "the stream, divided by its root mean square"


def _cell_note(config: ModelConfig) -> str:
    return f"{'h and c are' if config.cell == 'lstm' else 'h is'} carried from each time step to the next"


def _plain(build: _Stages, config: ModelConfig, i: int) -> ShapeStage:
    own = [f"layers.{i}.{name}" for name in _CELL]
    return build(f"layer {i}: {config.cell}", "H", cell_size(config), own, _cell_note(config))


def _residual(build: _Stages, config: ModelConfig, i: int) -> list[ShapeStage]:
    D, M = config.hidden_size, mlp_size(config)
    conv_note = f"each channel mixes its last {config.conv_width} time steps"
    rows = [
        ("norm", "D", D, ("norm",), _NORM_NOTE),
        ("convolution", "D", D, ("conv.weight", "conv.bias"), conv_note),
        (config.cell, "H", cell_size(config), _CELL, _cell_note(config)),
        ("projection", "D", D, ("proj",), "added to the stream"),
    ]
    if M:
        rows += [
            ("norm of the MLP", "D", D, ("mlp_norm",), "as above"),
            ("MLP, inside", "M", M, ("mlp.gate", "mlp.up"), "silu of one times the other"),
            ("MLP", "D", D, ("mlp.down",), "added to the stream"),
        ]
    return [
        build(f"layer {i}: {name}", axis, size, [f"layers.{i}.{one}" for one in own], note)
        for name, axis, size, own, note in rows
    ]
