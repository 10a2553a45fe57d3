"""The unrolled network: a text read once, and gradients pulled back through every time step of it.

    s_t = (h, c, conv of every layer behind step t)                    what step t + 1 reads
    d_h_t = (∂ what stands above / ∂h_t)ᵀ d_above + d_h from step t + 1      (1)  h_t is read twice: above, and one step later
    d_c_t = d_c from step t + 1 + d_h_t ⊙ ∂h_t/∂c_t                          (2)  so is c_t, by its own h_t and one step later
    d_s_{t−1} = (∂s_t/∂s_{t−1})ᵀ d_s_t                                       (3)  the cell's own backward, step after step
    d_s_{t−1} = 0 where the state is reset before step t                     (4)

(1) and (2) are what automatic differentiation calls the gradient of the nodes h_t and c_t of the unrolled graph. A fused kernel hides
these nodes: the gradient of an *output* it gave out is exactly zero for every earlier step, whatever the network remembers.

All losses share one forward pass: R of them are R rows of gradients over one row of text. Everything is float64.

Shapes: T time, B rows of text, R gradients, H cell's width, D residual stream, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.scratch import cells, network, residual
from charloom.parameters import state_shapes

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

Arrays = Mapping[str, "Array"]


class Layer(NamedTuple):
    """One layer, read.

    Attributes:
        weights: its arrays under their names inside it.
        cell: those of its cell.
        x: what it read: ids (T, B), or vectors; of a residual block the stream, (T, B, D).
        read: what its cell read: ids, or vectors.
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
    """A text as a network read it, from a zero state.

    Attributes:
        config: the network; its dropout is off.
        params: its arrays, float64.
        ids: what was read, (T, B).
        resets: where a row's state was zero again before it read, (T, B), or None.
        layers: from the lowest on.
        top: what stands below the last norm, or below the output layer where there is none, (T, B, D).
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
    """What `pull_back` found at one time step.

    Attributes:
        t: the step.
        layers: of each layer, the gradient in h_t and, in an LSTM, c_t, (R, H).
        x: the gradient in what the first layer read, (R, X): an embedding row, or a one-hot vector; None if nobody asked.
    """

    t: int
    layers: list[dict[str, Array]]
    x: Array | None


def unroll(
    config: ModelConfig, params: Arrays, ids: Int[Array, "T B"], resets: Bool[Array, "T B"] | None = None
) -> Unrolled:
    """Read a text from a zero state and keep all that pulling back needs.

    Args:
        config: the network.
        params: its arrays under their full names, of any precision.
        ids: characters, one column a row of text.
        resets: where a row's state is zero again before it reads; None = nowhere.
    """
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    x = params["embedding"][ids] if "embedding" in params else ids
    layers = []
    with np.errstate(over="ignore", invalid="ignore"):  # what explodes is what we are here to see
        for i in range(config.num_layers):
            read = _read_residual if config.block == "residual" else _read_plain
            x, layer = read(config, network.layer_params(params, i), x, resets)
            layers.append(layer)
        top = residual.norm(x, params["norm"]) if config.block == "residual" else x
        logits = top @ _out_weight(config, params).T + params["out.bias"]
    return Unrolled(config, params, ids, resets, layers, x, logits)


def pull_back(
    read: Unrolled,
    times: Int[Array, "R"],
    d_logits: Float[Array, "R V"],
    *,
    first: int = 0,
    with_inputs: bool = False,
) -> Iterator[Gradients]:
    """Walk back from the latest of some time steps, all gradients side by side.

    Args:
        read: one row of text.
        times: where each gradient begins.
        d_logits: what it begins with: the gradient in the logits of that step.
        first: the time step to stop behind.
        with_inputs: whether to go down to what the first layer read.

    Yields:
        The gradients at each time step, from the last to `first`; a row is zero until its own step is reached.
    """
    config = read.config
    d_top = d_logits @ _out_weight(config, read.params)
    d_state = _zero_state(config, len(times))
    for t in range(int(times.max()), first - 1, -1):
        d_x = np.where((times == t)[:, None], d_top, 0.0)
        if config.block == "residual":
            d_x = residual.norm_backward(read.top[t], read.params["norm"], d_x)
        nodes: list[dict[str, Array]] = [{} for _ in read.layers]
        for i in range(len(read.layers) - 1, -1, -1):
            back = _residual_back if config.block == "residual" else _plain_back
            go_on = i > 0 or with_inputs
            nodes[i], d_x, d_state[i] = back(config, read.layers[i], t, d_x, d_state[i], go_on)
        yield Gradients(t, nodes, d_x if with_inputs else None)
        if read.resets is not None and read.resets[t].any():
            d_state = _zero_state(config, len(times))  # (4)


def state_back(
    config: ModelConfig, layer: Layer, t: int, d_next: dict[str, Array]
) -> tuple[Float[Array, "R G"], dict[str, Array]]:
    """Pull gradients in a cell's state back through its step t alone: (3), with what the layer reads held fixed.

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
    """The five equations of `residual.block`, with what they pass through kept."""
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
    zero = {
        key: np.zeros((x.shape[1], *shape)) for key, shape in state_shapes(config)[0].items() if key != "conv"
    }
    h, _, tape = cells.unroll_steps(config, own, x, zero, resets=resets, fresh=zero, record=True)
    assert tape is not None
    return h, tape.steps


def _plain_back(
    config: ModelConfig, layer: Layer, t: int, d_x: Array, d_state: dict[str, Array], go_on: bool
) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    """One step of a plain layer: the gradients of its nodes, of what it read, and of the state before."""
    d_next = d_state | {"h": d_state["h"] + d_x}  # (1)
    d_a, d_prev = state_back(config, layer, t, d_next)  # (3)
    return _nodes(layer, t, d_next), d_a @ layer.cell["w_ih"] if go_on else d_x, d_prev


def _residual_back(
    config: ModelConfig,
    layer: Layer,
    t: int,
    d_x: Array,
    d_state: dict[str, Array],
    go_on: bool,  # noqa: ARG001 - both blocks' steps have the same arguments
) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    """The same for a residual block; what its convolution remembers is a state as well, so it goes on in every case."""
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
    """The gradients of h_t and c_t as nodes of the graph."""
    if "c" not in d_next:
        return d_next
    tape = layer.steps[t]
    return {"h": d_next["h"], "c": d_next["c"] + d_next["h"] * tape.o * (1 - tape.tanh_c**2)}  # (2)


def _out_weight(config: ModelConfig, params: Arrays) -> Float[Array, "V D"]:
    return params["embedding" if config.tie_embeddings else "out.weight"]


def _cell(weights: Arrays) -> dict[str, Array]:
    return {name.removeprefix("cell."): p for name, p in weights.items() if name.startswith("cell.")}


def _zero_state(config: ModelConfig, num_rows: int) -> list[dict[str, Array]]:
    return [
        {key: np.zeros((num_rows, *shape)) for key, shape in layer.items()} for layer in state_shapes(config)
    ]
