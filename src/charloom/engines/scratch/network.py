"""The whole network in NumPy: from characters to logits and state, and the gradients.

    x_t = embedding row of the character, or its one-hot vector     (1)
    h_t = layers(x_t, state)                                        (2)
    y_t = W_out h_t + b_out                                         (3)  logits of the next character

The forward pass has every cell and block, the backward pass plain blocks. Arrays are time first: (T, B, ·).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import State
from charloom.engines.draws import Masks
from charloom.engines.scratch import cells, inputs, residual

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

Arrays = Mapping[str, "Array"]


class Tape(NamedTuple):
    """Values of a window that `backward` needs."""

    ids: Array  # characters read, (T, B)
    cells: list[cells.Tape]  # per layer
    scales: dict[tuple[str, int], Array]  # factors of dropout by site and layer
    top: Array  # input of the output layer, (T, B, H), or (1, B, H) with `last_only`


def layer_params(params: Arrays, i: int) -> dict[str, Array]:
    """The arrays of layer `i` under their names within the layer."""
    prefix = f"layers.{i}."
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}


def cell_params(params: Arrays, i: int) -> dict[str, Array]:
    """The arrays of the cell of layer `i`."""
    return {name.removeprefix("cell."): p for name, p in layer_params(params, i).items()}


def forward(
    config: ModelConfig,
    params: Arrays,
    ids: Int[Array, "T B"],
    state: State,
    *,
    resets: Bool[Array, "T B"] | None = None,
    reset_state: State | None = None,
    masks: Masks | None = None,
    last_only: bool = False,
    record: bool = False,
) -> tuple[Float[Array, "T B V"], State, Tape | None]:
    """Read T characters per row.

    Before a row reads a character with `resets` True (None = never), its state becomes `reset_state` (None =
    zeros). `masks` is the dropout of this window; None = no dropout. With `last_only`, only the logits of the
    last time step are returned, (1, B, V). `record` keeps a tape for `backward`; plain blocks only.

    Returns:
        Logits, the state after the last character, and the tape.
    """
    drop, after, tapes = _Drop(config, masks), [], []
    if reset_state is None:
        reset_state = [{key: np.zeros_like(s) for key, s in layer.items()} for layer in state]
    x: Array = ids
    if "embedding" in params:
        x = drop("input", 0, drop("char", 0, params["embedding"][ids]))  # (1)
    for i, layer in enumerate(state):  # (2)
        if config.block == "residual":
            x, new = residual.block(
                config, layer_params(params, i), x, layer, resets=resets, reset_state=reset_state[i]
            )
        else:
            x = drop("layer", i, x) if i else x
            own, start = cell_params(params, i), reset_state[i]
            x, new, tape = cells.unroll(
                config, own, x, layer, resets=resets, reset_state=start, record=record
            )
            tapes += [tape] if tape else []
        after.append(new)
    x = x[-1:] if last_only else x
    x = residual.norm(x, params["norm"]) if config.block == "residual" else x
    top = drop("output", 0, x)
    y = inputs.flatten_time(top) @ _out(config, params).T + params["out.bias"]  # (3)
    logits = y.reshape(*top.shape[:2], -1)
    return logits, after, Tape(ids, tapes, drop.scales, top) if record else None


def backward(
    config: ModelConfig, params: Arrays, tape: Tape, d_y: Float[Array, "T B V"], d_last: State | None = None
) -> tuple[dict[str, Array], State]:
    """Backward pass of `forward`, for plain blocks.

    `d_y` is the gradient of the loss in the logits, `d_last` that in the last state; None = 0.

    Returns:
        The gradients of every parameter, and of the state before the first character.
    """
    out_weight, d_flat = _out(config, params), inputs.flatten_time(d_y)
    d_out = d_flat.T @ inputs.flatten_time(tape.top)  # (3)
    gradients: dict[str, Array] = {"out.bias": d_flat.sum(axis=0)}  # (3)
    d_x = (d_flat @ out_weight).reshape(tape.top.shape)  # (3)
    d_x = _undrop(tape, "output", 0, d_x)
    if len(d_x) < len(tape.ids):  # only the last time step has a loss
        d_x = np.concatenate([np.zeros((len(tape.ids) - 1, *d_x.shape[1:]), d_x.dtype), d_x])
    d_state: State = [{} for _ in tape.cells]
    for i in range(len(tape.cells) - 1, -1, -1):  # (2)
        weights = cell_params(params, i)
        d_a, own, d_state[i] = cells.backward(
            config, weights, tape.cells[i], d_x, None if d_last is None else d_last[i]
        )
        gradients |= {f"layers.{i}.cell.{name}": gradient for name, gradient in own.items()}
        if i or "embedding" in params:
            d_x = (inputs.flatten_time(d_a) @ weights["w_ih"]).reshape(*d_a.shape[:2], -1)
        d_x = _undrop(tape, "layer", i, d_x)
    if "embedding" in params:
        d_x = _undrop(tape, "char", 0, _undrop(tape, "input", 0, d_x))
        table = params["embedding"]
        # (1)
        gradients["embedding"] = inputs.row_sums(inputs.flatten_time(d_x), tape.ids.ravel(), len(table))
    if config.tie_embeddings:
        gradients["embedding"] = gradients["embedding"] + d_out
    else:
        gradients["out.weight"] = d_out
    return gradients, d_state


def _out(config: ModelConfig, params: Arrays) -> Float[Array, "V H"]:
    return params["embedding"] if config.tie_embeddings else params["out.weight"]


class _Drop:
    """Dropout of a forward pass; `scales` records the factors of each site."""

    def __init__(self, config: ModelConfig, masks: Masks | None) -> None:
        self.config, self.masks = config, masks
        self.scales: dict[tuple[str, int], Array] = {}

    def __call__(self, site: str, layer: int, x: Float[Array, "T B W"]) -> Float[Array, "T B W"]:
        if self.masks is None or self.masks.threshold(site) == 0:
            return x
        kept = self.masks.kept(site, layer, x.shape[0], x.shape[2]).swapaxes(0, 1)  # (T, B, W)
        scale = self.scales[site, layer] = kept * x.dtype.type(self.masks.scale(site))
        dropped: Array = x * scale
        return dropped


def _undrop(tape: Tape, site: str, layer: int, d_x: Float[Array, "T B W"]) -> Float[Array, "T B W"]:
    scale = tape.scales.get((site, layer))
    return d_x if scale is None else d_x * scale
