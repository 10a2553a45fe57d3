"""The residual block around any cell, forward: what `eval`, `score` and `sample` need of it.

    u = conv(RMSNorm(x))                              (1)  depthwise, causal, K taps; the last multiplies the present
    o = cell(u)                                       (2)  of width expansion · D
    x ← x + W_o o                                     (3)
    v = RMSNorm(x)                                    (4)
    x ← x + W_d (silu(W_g v) ⊙ W_u v)                 (5)  the gated MLP of width mlp_ratio · D

    RMSNorm(x) = γ ⊙ x / √(mean x² + ε),   silu(a) = a σ(a)

Source: pre-norm residual blocks as in Griffin (De et al. 2024); RMSNorm: Zhang & Sennrich (2019);
gated MLP: Shazeer (2020). Shapes: T time, B batch, D residual stream, K taps. The last K − 1 convolution inputs are state.
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


def block(
    config: ModelConfig,
    params: Mapping[str, Array],
    x: Float[Array, "T B D"],
    state: Mapping[str, Array],
    *,
    resets: Bool[Array, "T B"] | None,
    fresh: Mapping[str, Array],
) -> tuple[Float[Array, "T B D"], dict[str, Array]]:
    """Run one residual block over a window; arguments as in `cells.unroll`."""
    u, conv = convolve(
        norm(x, params["norm"]), state["conv"], params["conv.weight"], params["conv.bias"], resets
    )  # (1)
    inner = {name.removeprefix("cell."): p for name, p in params.items() if name.startswith("cell.")}
    rest = {key: s for key, s in state.items() if key != "conv"}
    start = {key: fresh[key] for key in rest}
    o, after, _ = cells.unroll(config, inner, u, rest, resets=resets, fresh=start, record=False)  # (2)
    x = x + o @ params["proj"].T  # (3)
    if "mlp.up" in params:
        v = norm(x, params["mlp_norm"])  # (4)
        gate = v @ params["mlp.gate"].T
        x = x + (gate * sigmoid(gate) * (v @ params["mlp.up"].T)) @ params["mlp.down"].T  # (5)
    return x, after | {"conv": conv}


def convolve(
    x: Float[Array, "T B D"],
    past: Float[Array, "B K-1 D"],
    weight: Float[Array, "D K"],
    bias: Float[Array, "D"],
    resets: Bool[Array, "T B"] | None,
) -> tuple[Float[Array, "T B D"], Float[Array, "B K-1 D"]]:
    """Equation (1): each position sees itself and the K − 1 inputs before it, none from before a reset.

    Returns:
        The convolved window and its last K − 1 inputs, zero where a reset came after them.
    """
    (T, B, _), K = x.shape, weight.shape[1]
    padded = np.concatenate([past.swapaxes(0, 1), x])  # (K-1+T, B, D)
    document = np.zeros((K - 1 + T, B), int)  # inputs of one number belong together; the past is number 0
    if resets is not None:
        document[K - 1 :] = resets.cumsum(axis=0)
    y = np.broadcast_to(bias, x.shape).astype(x.dtype)
    for k in range(K):
        same = document[k : k + T] == document[K - 1 :]
        y += np.where(same[:, :, None], padded[k : k + T], 0) * weight[:, k]
    alive = document[T:] == document[-1:]
    return y, np.where(alive[:, :, None], padded[T:], 0).swapaxes(0, 1)
