"""The whole network as ONNX operators: every cell and block.

Names of inputs and outputs:

    ids                   (batch, time) int64           the characters to read
    state.{i}.{key}       (batch, …) float32            the state of layer i before them; zeros at the start of a text
    logits                (batch, time, V) float32      of the character after each
    new_state.{i}.{key}   (batch, …) float32            the state after the last

The weights have the names and layouts of the model file. Arrays are batch first: (B, T, ·).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from charloom.config import ModelConfig
from charloom.export.onnx.cells import Weights, step_of
from charloom.export.onnx.graph import Graph, State, Value
from charloom.parameters import NORM_EPSILON, state_shapes

if TYPE_CHECKING:
    from numpy import ndarray as Array


def network_graph(config: ModelConfig, params: Mapping[str, Array]) -> Graph:
    """The graph of a network with these parameters."""
    graph = Graph()
    ids = graph.value("ids")
    layers = enumerate(state_shapes(config))
    state = [{key: graph.value(f"state.{i}.{key}") for key in layer} for i, layer in layers]
    weights = {name: graph.array(name, array) for name, array in params.items()}
    logits, new_state = _read(config, weights, ids, state)
    graph.output("logits", logits)
    for i, layer in enumerate(new_state):
        for key, value in layer.items():
            graph.output(f"new_state.{i}.{key}", value)
    return graph


def _read(
    config: ModelConfig, weights: Weights, ids: Value, state: Sequence[State]
) -> tuple[Value, list[State]]:
    x, after = weights["embedding"].rows(ids) if "embedding" in weights else ids, []
    for i, before in enumerate(state):
        own = _within(weights, f"layers.{i}.")
        if config.block == "residual":
            x, new = _residual_block(config, own, x, before)
        else:
            x, new = _recur(config, _within(own, "cell."), x, before, one_hot=x is ids)
        after.append(new)
    x = _rms_norm(x, weights["norm"]) if config.block == "residual" else x
    out = weights["embedding" if config.tie_embeddings else "out.weight"]
    return x @ out.T + weights["out.bias"], after


def _within(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def _recur(
    config: ModelConfig, weights: Weights, x: Value, state: State, *, one_hot: bool = False
) -> tuple[Value, State]:
    """One layer of cells; the product with a one-hot vector is a row of the matrix."""
    a = weights["w_ih"].T.rows(x) if one_hot else x @ weights["w_ih"].T
    return x.graph.loop(step_of(config, weights), a + weights["bias"], state)


def _rms_norm(x: Value, gain: Value) -> Value:
    return gain * x / ((x * x).mean() + NORM_EPSILON).sqrt()


def _residual_block(config: ModelConfig, weights: Weights, x: Value, state: State) -> tuple[Value, State]:
    """The equations of `engines.scratch.residual`."""
    inputs, K = _rms_norm(x, weights["norm"]), config.conv_width
    inputs = inputs.after(state["conv"])
    u = inputs.convolved(weights["conv.weight"], weights["conv.bias"], config.hidden_size)  # (1)
    inner = {key: value for key, value in state.items() if key != "conv"}
    o, new = _recur(config, _within(weights, "cell."), u, inner)  # (2)
    x = x + o @ weights["proj"].T  # (3)
    if "mlp.up" in weights:
        v = _rms_norm(x, weights["mlp_norm"])  # (4)
        gate = v @ weights["mlp.gate"].T
        x = x + (gate * gate.sigmoid() * (v @ weights["mlp.up"].T)) @ weights["mlp.down"].T  # (5)
    return x, new | {"conv": inputs.last(K - 1) if K > 1 else state["conv"]}
