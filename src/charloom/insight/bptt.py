"""The unrolled network: one forward pass over a text, and backpropagation through each of its time steps.

    s_t = (h, c, conv of every layer after step t)                     read by step t + 1
    d_h_t = (∂above / ∂h_t)ᵀ d_above + d_h from step t + 1            (1)  h_t is read twice: above, and one step later
    d_c_t = d_c from step t + 1 + d_h_t ⊙ ∂h_t/∂c_t                   (2)  so is c_t, by its own h_t and one step later
    d_s_{t−1} = (∂s_t/∂s_{t−1})ᵀ d_s_t                                (3)  the cell's own backward, one step at a time
    d_s_{t−1} = 0 if the state is reset before step t                 (4)

(1) and (2) are the gradients that automatic differentiation gives for the nodes h_t and c_t of the unrolled graph.
A fused kernel hides these nodes: the gradient in one of its *outputs* is exactly zero for every earlier step,
whatever the network remembers.

All losses share one forward pass: R losses are R rows of gradients over one row of text. Everything is float64.

Shapes: T time, B rows of text, R gradients, H cell's width, D residual stream, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.contract import zero_state
from charloom.engines.scratch import cells, network, residual

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

FLOAT64 = np.dtype(np.float64)

Arrays = Mapping[str, "Array"]


class Layer(NamedTuple):
    """The forward pass of one layer.

    Attributes:
        weights: its arrays under their names within the layer.
        cell: the cell's arrays.
        x: the layer's input: ids (T, B), or vectors; for a residual block the stream, (T, B, D).
        read: the cell's input: ids, or vectors.
        h: the cell's hidden state at every time step, (T, B, H).
        steps: the cell's tape of each step.
        middle: the stream between a residual block's two branches, (T, B, D); None in a plain layer.
    """

    weights: dict[str, Array]
    cell: dict[str, Array]
    x: Array
    read: Array
    h: Float[Array, "T B H"]
    steps: list[Any]
    middle: Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Unrolled:
    """The forward pass of a network over a text, from a zero state.

    Attributes:
        config: the network; dropout is off.
        params: its arrays, float64.
        ids: the text, (T, B).
        resets: steps before which a row's state was reset, (T, B), or None.
        layers: from the lowest up.
        top: input of the final norm, or of the output layer without one, (T, B, D).
        logits: of the next character, (T, B, V).
    """

    config: ModelConfig
    params: dict[str, Array]
    ids: Int[Array, "T B"]
    resets: Bool[Array, "T B"] | None
    layers: list[Layer]
    top: Float[Array, "T B D"]
    logits: Float[Array, "T B V"]


class Gradients(NamedTuple):
    """The gradients at one time step.

    Attributes:
        t: the step.
        layers: for each layer, the gradient in h_t and, in an LSTM, c_t, (R, H).
        x: the gradient in the first layer's input, an embedding row or a one-hot vector, (R, X); None if not requested.
    """

    t: int
    layers: list[dict[str, Array]]
    x: Array | None


def unroll(
    config: ModelConfig, params: Arrays, ids: Int[Array, "T B"], resets: Bool[Array, "T B"] | None = None
) -> Unrolled:
    """Run the forward pass over a text from a zero state and keep everything that `backpropagate` needs.

    Args:
        config: the network.
        params: its arrays under their full names, of any precision.
        ids: characters, one column per row of text.
        resets: steps before which a row's state is reset; None = no resets.
    """
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    x = params["embedding"][ids] if "embedding" in params else ids
    layers = []
    with np.errstate(over="ignore", invalid="ignore"):  # exploding values are a finding
        for i in range(config.num_layers):
            read = _read_residual if config.block == "residual" else _read_plain
            x, layer = read(config, network.layer_params(params, i), x, resets)
            layers.append(layer)
        top = residual.norm(x, params["norm"]) if config.block == "residual" else x
        logits = top @ _out_weight(config, params).T + params["out.bias"]
    return Unrolled(config, params, ids, resets, layers, x, logits)


def backpropagate(
    read: Unrolled,
    times: Int[Array, "R"],
    d_logits: Float[Array, "R V"],
    *,
    first: int = 0,
    with_inputs: bool = False,
) -> Iterator[Gradients]:
    """Backpropagate R gradients in parallel, from the latest of their time steps down to `first`.

    Args:
        read: one row of text.
        times: the time step at which each gradient starts.
        d_logits: the gradient in the logits of that step.
        first: the last time step to visit.
        with_inputs: whether to compute the gradient in the first layer's input.

    Yields:
        The gradients at each time step; a row is zero until its own step is reached.
    """
    config = read.config
    d_top = d_logits @ _out_weight(config, read.params)
    d_state = zero_state(config, len(times), FLOAT64)
    for t in range(int(times.max()), first - 1, -1):
        d_x = np.where((times == t)[:, None], d_top, 0.0)
        if config.block == "residual":
            d_x = residual.norm_backward(read.top[t], read.params["norm"], d_x)
        nodes: list[dict[str, Array]] = [{} for _ in read.layers]
        for i in range(len(read.layers) - 1, -1, -1):
            back = _residual_back if config.block == "residual" else _plain_back
            nodes[i], d_x, d_state[i] = back(config, read.layers[i], t, d_x, d_state[i], i > 0 or with_inputs)
        yield Gradients(t, nodes, d_x if with_inputs else None)
        if read.resets is not None and read.resets[t].any():
            d_state = zero_state(config, len(times), FLOAT64)  # (4)


def state_back(
    config: ModelConfig, layer: Layer, t: int, d_next: dict[str, Array]
) -> tuple[Float[Array, "R G"], dict[str, Array]]:
    """Backpropagate gradients in a cell's state through step t alone: (3), with the layer's input held fixed.

    Returns:
        The gradient of W_ih x + b, and that of the cell's state before the step.
    """
    cell = cells.CELLS[config.cell]
    options = {"activation": config.activation} if config.cell == "elman" else {}
    d_a, d_prev = cell.backward(cell.Params(**layer.cell), layer.steps[t], cell.State(**d_next), **options)
    return cell.input_part(d_a), d_prev._asdict()


def _read_plain(
    config: ModelConfig, weights: dict[str, Array], x: Array, resets: Array | None
) -> tuple[Array, Layer]:
    own = _cell(weights)
    h, steps = _run_cell(config, own, x, resets)
    return h, Layer(weights, own, x, x, h, steps, None)


def _read_residual(
    config: ModelConfig, weights: dict[str, Array], x: Array, resets: Array | None
) -> tuple[Array, Layer]:
    """The five equations of `residual.block`, keeping their intermediate values."""
    own, K = _cell(weights), config.conv_width
    past = np.zeros((x.shape[1], K - 1, x.shape[2]))
    normed = residual.norm(x, weights["norm"])
    u, _ = residual.convolve(normed, past, weights["conv.weight"], weights["conv.bias"], resets)
    h, steps = _run_cell(config, own, u, resets)
    middle = x + h @ weights["proj"].T
    layer = Layer(weights, own, x, u, h, steps, middle)
    if "mlp.up" not in weights:
        return middle, layer
    return middle + residual.gated_mlp(weights, residual.norm(middle, weights["mlp_norm"])), layer


def _run_cell(
    config: ModelConfig, own: dict[str, Array], x: Array, resets: Array | None
) -> tuple[Array, list[Any]]:
    zero = zero_state(config, x.shape[1], FLOAT64)[0]
    zero.pop("conv", None)
    h, _, tape = cells.unroll(
        config, own, x, zero, resets=resets, reset_state=zero, record=True, stepwise=True
    )
    assert tape is not None
    return h, tape.steps


def _plain_back(
    config: ModelConfig, layer: Layer, t: int, d_x: Array, d_state: dict[str, Array], with_input: bool
) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    """One step of a plain layer: the gradients in its nodes, its input and its previous state."""
    d_next = d_state | {"h": d_state["h"] + d_x}  # (1)
    d_a, d_prev = state_back(config, layer, t, d_next)  # (3)
    return _nodes(layer, t, d_next), d_a @ layer.cell["w_ih"] if with_input else d_x, d_prev


def _residual_back(
    config: ModelConfig, layer: Layer, t: int, d_x: Array, d_state: dict[str, Array], _with_input: bool
) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    """The same for a residual block, whose convolution's state also needs the gradient in the input."""
    weights = layer.weights
    assert layer.middle is not None
    if "mlp.up" in weights:
        middle, gain = layer.middle[t], weights["mlp_norm"]
        d_v = residual.gated_mlp_backward(weights, residual.norm(middle, gain), d_x)
        d_x = d_x + residual.norm_backward(middle, gain, d_v)
    d_next = {key: d for key, d in d_state.items() if key != "conv"}
    d_next["h"] = d_next["h"] + d_x @ weights["proj"]  # (1)
    d_a, d_prev = state_back(config, layer, t, d_next)  # (3)
    d_normed, d_conv = residual.convolve_backward(
        weights["conv.weight"], d_a @ layer.cell["w_ih"], d_state["conv"]
    )
    d_x = d_x + residual.norm_backward(layer.x[t], weights["norm"], d_normed)
    return _nodes(layer, t, d_next), d_x, d_prev | {"conv": d_conv}


def _nodes(layer: Layer, t: int, d_next: dict[str, Array]) -> dict[str, Array]:
    """The gradients in the nodes h_t and c_t of the graph."""
    if "c" not in d_next:
        return d_next
    tape = layer.steps[t]
    return {"h": d_next["h"], "c": d_next["c"] + d_next["h"] * tape.o * (1 - tape.tanh_c**2)}  # (2)


def _out_weight(config: ModelConfig, params: Arrays) -> Float[Array, "V D"]:
    return params["embedding" if config.tie_embeddings else "out.weight"]


def _cell(weights: Arrays) -> dict[str, Array]:
    return {name.removeprefix("cell."): p for name, p in weights.items() if name.startswith("cell.")}
