"""The residual block around any cell: forward over a window, backward through the parts of one time step.

    u = conv(RMSNorm(x))                              (1)  depthwise, causal, K taps, the newest last
    o = cell(u)                                       (2)  of width expansion · D
    x ← x + W_o o                                     (3)
    v = RMSNorm(x)                                    (4)
    x ← x + W_d (silu(W_g v) ⊙ W_u v)                 (5)  the gated MLP of width mlp_ratio · D

    RMSNorm(x) = γ ⊙ x / √(mean x² + ε),   silu(a) = a σ(a)

Source: pre-norm residual blocks as in Griffin (De et al. 2024); RMSNorm: Zhang & Sennrich (2019); gated MLP:
Shazeer (2020). Shapes: T time, B batch, D residual stream, K taps. The last K − 1 inputs of (1) are state.

`eval`, `score` and `sample` use the forward pass. The derivatives are with respect to the stream and the
state, not the weights; `charloom.insight` uses them. R rows of gradients may share one row of inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.scratch import cells
from charloom.engines.scratch.activations import sigmoid
from charloom.parameters import NORM_EPSILON

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy import ndarray as Array


def norm(x: Float[Array, "... D"], gain: Float[Array, "D"]) -> Float[Array, "... D"]:
    """RMSNorm over the last axis."""
    y: Array = gain * x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + NORM_EPSILON)
    return y


def norm_backward(
    x: Float[Array, "... D"], gain: Float[Array, "D"], d_y: Float[Array, "... D"]
) -> Float[Array, "... D"]:
    """Backward pass of `norm`; each element of x affects the whole row through the root.

    r² = mean x² + ε,  d_x = γ ⊙ d_y / r − x mean(γ ⊙ d_y ⊙ x / r) / r²
    """
    root = np.sqrt((x * x).mean(axis=-1, keepdims=True) + NORM_EPSILON)
    direct = gain * d_y / root
    d_x: Array = direct - x * (direct * x).mean(axis=-1, keepdims=True) / root**2
    return d_x


def gated_mlp(params: Mapping[str, Array], v: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """The term that (5) adds to the stream."""
    gate = v @ params["mlp.gate"].T
    y: Array = (gate * sigmoid(gate) * (v @ params["mlp.up"].T)) @ params["mlp.down"].T
    return y


def gated_mlp_backward(
    params: Mapping[str, Array], v: Float[Array, "B D"], d_y: Float[Array, "R D"]
) -> Float[Array, "R D"]:
    """Backward pass of `gated_mlp`; silu′(a) = σ(a) (1 + a (1 − σ(a)))."""
    gate, up = v @ params["mlp.gate"].T, v @ params["mlp.up"].T
    s, d_gated = sigmoid(gate), d_y @ params["mlp.down"]
    d_gate = d_gated * up * s * (1 + gate * (1 - s))
    d_v: Array = d_gate @ params["mlp.gate"] + (d_gated * gate * s) @ params["mlp.up"]
    return d_v


def block(
    config: ModelConfig,
    params: Mapping[str, Array],
    x: Float[Array, "T B D"],
    state: Mapping[str, Array],
    *,
    resets: Bool[Array, "T B"] | None,
    reset_state: Mapping[str, Array],
) -> tuple[Float[Array, "T B D"], dict[str, Array]]:
    """Run one residual block over a window; arguments as in `cells.unroll`."""
    u, conv = convolve(
        norm(x, params["norm"]), state["conv"], params["conv.weight"], params["conv.bias"], resets
    )  # (1)
    inner = {name.removeprefix("cell."): p for name, p in params.items() if name.startswith("cell.")}
    rest = {key: s for key, s in state.items() if key != "conv"}
    start = {key: reset_state[key] for key in rest}
    o, after, _ = cells.unroll(config, inner, u, rest, resets=resets, reset_state=start, record=False)  # (2)
    x = x + o @ params["proj"].T  # (3)
    if "mlp.up" in params:
        x = x + gated_mlp(params, norm(x, params["mlp_norm"]))  # (4), (5)
    return x, after | {"conv": conv}


def convolve(
    x: Float[Array, "T B D"],
    past: Float[Array, "B K-1 D"],
    weight: Float[Array, "D K"],
    bias: Float[Array, "D"],
    resets: Bool[Array, "T B"] | None,
) -> tuple[Float[Array, "T B D"], Float[Array, "B K-1 D"]]:
    """Equation (1): each position sees itself and the K − 1 inputs before it, back to the last reset.

    Returns:
        The convolved window and its last K − 1 inputs, with zeros for those before a reset.
    """
    (T, B, _), K = x.shape, weight.shape[1]
    padded = np.concatenate([past.swapaxes(0, 1), x])  # (K-1+T, B, D)
    document = np.zeros((K - 1 + T, B), int)  # equal numbers belong to one document; the past is number 0
    if resets is not None:
        document[K - 1 :] = resets.cumsum(axis=0)
    y = np.broadcast_to(bias, x.shape).astype(x.dtype)
    for k in range(K):
        same = document[k : k + T] == document[K - 1 :]
        y += np.where(same[:, :, None], padded[k : k + T], 0) * weight[:, k]
    alive = document[T:] == document[-1:]
    return y, np.where(alive[:, :, None], padded[T:], 0).swapaxes(0, 1)


def convolve_backward(
    weight: Float[Array, "D K"], d_y: Float[Array, "R D"], d_behind: Float[Array, "R K-1 D"]
) -> tuple[Float[Array, "R D"], Float[Array, "R K-1 D"]]:
    """Backward pass of one time step of `convolve`: the gradients in its input and in the K − 1 inputs before it.

    `d_y` is the gradient in the output, `d_behind` that in the K − 1 inputs kept for later, newest last.
    """
    d_inputs = d_y[:, None] * weight.T  # (R, K, D), newest last
    d_inputs[:, 1:] += d_behind
    return d_inputs[:, -1], d_inputs[:, :-1]
