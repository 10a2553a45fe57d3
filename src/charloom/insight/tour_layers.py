"""Layers of the tour: the shape of the numbers behind each, from ids to logits, and the parameters that made them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charloom.config import ModelConfig
from charloom.parameters import cell_size, input_size, mlp_size, parameter_shapes


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands behind one layer.

    Attributes:
        name: the layer.
        axes: a letter for each axis: B lanes, T time steps, V vocabulary, E embedding, H cell, D stream, M inside the MLP.
        shape: its extents.
        parameters: the shapes of the parameters that made it.
        num_params: how many numbers they hold.
        note: what happens there.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: Mapping[str, tuple[int, ...]]
    num_params: int
    note: str


def stages(
    config: ModelConfig, vocab_size: int, B: int, T: int, *, last_only: bool = False
) -> tuple[Stage, ...]:
    """The shape behind each layer, and its parameters; those of all stages together are those of the network.

    Args:
        config: the network.
        vocab_size: V.
        B: lanes.
        T: time steps.
        last_only: logits are computed for the last time step alone.

    Example:
        >>> [one.shape for one in stages(ModelConfig(cell="elman", hidden_size=3), 5, 2, 4)]
        [(2, 4), (2, 4, 5), (2, 4, 3), (2, 4, 5)]
    """
    build = _Stages(parameter_shapes(config, vocab_size), B, T)
    width = input_size(config, vocab_size)
    found = [build("ids", "", 0, (), "one number a character")]
    if "embedding" in build.shapes:
        found.append(build("embedding", "E", width, ("embedding",), "each id picks its row of the table"))
    else:
        found.append(
            build(
                "one-hot", "V", width, (), "a 1 in the place of the id; it picks a column of the next weights"
            )
        )
    for i in range(config.num_layers):
        found += _residual(build, config, i) if config.block == "residual" else [_plain(build, config, i)]
    D = config.hidden_size
    if config.block == "residual":
        found.append(build("norm", "D", D, ("norm",), "the stream, divided by its root mean square"))
    weight = ("out.bias",) if config.tie_embeddings else ("out.weight", "out.bias")
    note = "one number for each character that may come next" + (
        "; the weights are the embedding's" if config.tie_embeddings else ""
    )
    found.append(build("logits", "V", vocab_size, weight, note, last_only=last_only))
    return tuple(found)


class _Stages:
    """Makes stages of one network's parameters."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], B: int, T: int) -> None:
        self.shapes, self.B, self.T = shapes, B, T

    def __call__(
        self,
        name: str,
        axis: str,
        size: int,
        parameters: Sequence[str],
        note: str,
        *,
        last_only: bool = False,
    ) -> Stage:
        own = {one: self.shapes[one] for one in parameters if one in self.shapes}
        over_time = ((), ()) if last_only else (("T",), (self.T,))
        last = ((axis,), (size,)) if axis else ((), ())
        return Stage(
            name=name,
            axes=("B", *over_time[0], *last[0]),
            shape=(self.B, *over_time[1], *last[1]),
            parameters=own,
            num_params=sum(math.prod(shape) for shape in own.values()),
            note=note + (" of the last time step alone" if last_only else ""),
        )


_CELL = ("cell.w_ih", "cell.w_hh", "cell.bias", "cell.bias_hn")
_CARRIES = {"lstm": "h and c are", "elman": "h is", "gru": "h is", "mingru": "h is"}


def _plain(build: _Stages, config: ModelConfig, i: int) -> Stage:
    note = f"{_CARRIES[config.cell]} carried from each time step to the next"
    own = [f"layers.{i}.{name}" for name in _CELL]
    return build(f"layer {i}: {config.cell}", "H", cell_size(config), own, note)


def _residual(build: _Stages, config: ModelConfig, i: int) -> list[Stage]:
    D, M = config.hidden_size, mlp_size(config)
    rows = [
        ("norm", "D", D, ("norm",), "the stream, divided by its root mean square"),
        (
            "convolution",
            "D",
            D,
            ("conv.weight", "conv.bias"),
            f"each number sees its last {config.conv_width} time steps",
        ),
        (
            config.cell,
            "H",
            cell_size(config),
            _CELL,
            f"{_CARRIES[config.cell]} carried from each time step to the next",
        ),
        ("projection", "D", D, ("proj",), "added to the stream"),
    ]
    if M:
        rows += [
            ("norm of the MLP", "D", D, ("mlp_norm",), "as above"),
            ("MLP, inside", "M", M, ("mlp.gate", "mlp.up"), "silu of the one times the other"),
            ("MLP", "D", D, ("mlp.down",), "added to the stream"),
        ]
    return [
        build(f"layer {i}: {name}", axis, size, [f"layers.{i}.{one}" for one in own], note)
        for name, axis, size, own, note in rows
    ]
