"""The whole network in NumPy: characters in, logits and state out, and the gradient back.

    x_t = embedding row of the character, or its one-hot vector     (1)
    h_t = layers(x_t, state)                                        (2)
    y_t = W_out h_t + b_out                                         (3)  logits of the next character

Forward runs every cell and block; backward walks through plain ones. Everything inside is time first: (T, B, ·).
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
    """What `backward` needs of a window.

    Attributes:
        ids: characters read, (T, B).
        cells: each layer's tape.
        scales: by site and layer, what dropout multiplied with.
        top: what the output layer read, (T, B, H), or of the last time step alone.
    """

    ids: Array
    cells: list[cells.Tape]
    scales: dict[tuple[str, int], Array]
    top: Array


def layer_params(params: Arrays, i: int) -> dict[str, Array]:
    """The arrays of layer `i` under their names inside it."""
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
    fresh: State | None = None,
    masks: Masks | None = None,
    last_only: bool = False,
    record: bool = False,
) -> tuple[Float[Array, "T B V"], State, Tape | None]:
    """Read T characters a row.

    Args:
        config: the network.
        params: its arrays under their full names.
        ids: characters.
        state: one dict a layer, batch first.
        resets: positions before which a row returns to `fresh`; None = nowhere.
        fresh: the state to return to; None = zeros.
        masks: dropout of this window; None = none.
        last_only: logits of the last time step alone, (1, B, V).
        record: whether to keep a tape for `backward`; plain blocks only.

    Returns:
        Logits, the state behind the last character, and the tape.
    """
    drop, after, tapes = _Drop(config, masks), [], []
    fresh = (
        [{key: np.zeros_like(s) for key, s in layer.items()} for layer in state] if fresh is None else fresh
    )
    x: Array = ids
    if "embedding" in params:
        x = drop("input", 0, drop("char", 0, params["embedding"][ids]))  # (1)
    for i, layer in enumerate(state):  # (2)
        if config.block == "residual":
            x, new = residual.block(config, layer_params(params, i), x, layer, resets=resets, fresh=fresh[i])
        else:
            x = drop("layer", i, x) if i else x
            x, new, tape = cells.unroll(
                config, cell_params(params, i), x, layer, resets=resets, fresh=fresh[i], record=record
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
    config: ModelConfig,
    params: Arrays,
    tape: Tape,
    d_y: Float[Array, "T B V"],
    d_last: State | None = None,
) -> tuple[dict[str, Array], State]:
    """Pull the gradient of the loss back through `forward`.

    Args:
        config: the network, of plain blocks.
        params: its arrays.
        tape: what `forward` recorded.
        d_y: the gradient of the loss in the logits.
        d_last: the gradient in the state behind the last character; None = 0.

    Returns:
        The gradient of every parameter, and of the state before the first character.
    """
    out_weight, d_flat = _out(config, params), inputs.flatten_time(d_y)
    d_out = d_flat.T @ inputs.flatten_time(tape.top)  # (3)
    gradients: dict[str, Array] = {"out.bias": d_flat.sum(axis=0)}  # (3)
    d_x = (d_flat @ out_weight).reshape(tape.top.shape)  # (3)
    d_x = _undrop(tape, "output", 0, d_x)
    if len(d_x) < len(
        tape.ids
    ):  # the last time step alone was asked: the others hear of it through the state
        d_x = np.concatenate([np.zeros((len(tape.ids) - 1, *d_x.shape[1:]), d_x.dtype), d_x])
    d_state: State = [{} for _ in tape.cells]
    for i in range(len(tape.cells) - 1, -1, -1):  # (2)
        weights = cell_params(params, i)
        d_a, own, d_state[i] = cells.pull_back(
            config, weights, tape.cells[i], d_x, None if d_last is None else d_last[i]
        )
        gradients |= {f"layers.{i}.cell.{name}": gradient for name, gradient in own.items()}
        if i or "embedding" in params:
            d_x = (inputs.flatten_time(d_a) @ weights["w_ih"]).reshape(*d_a.shape[:2], -1)
        d_x = _undrop(tape, "layer", i, d_x)
    if "embedding" in params:
        d_x = _undrop(tape, "char", 0, _undrop(tape, "input", 0, d_x))
        table = params["embedding"]
        gradients["embedding"] = inputs.row_sums(
            inputs.flatten_time(d_x), tape.ids.ravel(), len(table)
        )  # (1)
    if config.tie_embeddings:
        gradients["embedding"] = gradients["embedding"] + d_out
    else:
        gradients["out.weight"] = d_out
    return gradients, d_state


def _out(config: ModelConfig, params: Arrays) -> Float[Array, "V H"]:
    return params["embedding"] if config.tie_embeddings else params["out.weight"]


class _Drop:
    """Dropout while it goes forward; `scales` remembers what each site was multiplied with."""

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
