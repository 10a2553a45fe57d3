"""The residual block around any cell.

    u = conv(RMSNorm(x))                              (1)  depthwise, causal, K taps; the last multiplies the current x
    o = cell(u)                                       (2)  of width expansion · D
    x ← x + drop(W_o o)                               (3)
    v = RMSNorm(x)                                    (4)
    x ← x + drop(W_d (silu(W_g v) ⊙ W_u v))           (5)  the gated MLP of width mlp_ratio · D

    RMSNorm(x) = γ ⊙ x / √(mean x² + ε)

Source: pre-norm residual blocks as in Griffin (De et al. 2024); RMSNorm: Zhang & Sennrich (2019); gated MLP: Shazeer
(2020). Shapes: T time, B batch, D residual stream, K taps. The last K − 1 convolution inputs are state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.torch import cells
from charloom.engines.torch.cpu import gemm, ops
from charloom.parameters import NORM_EPSILON

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Drop = Callable[["Tensor"], "Tensor"]


def norm(x: Float[Tensor, "... D"], gain: Float[Tensor, "D"]) -> Float[Tensor, "... D"]:
    """RMSNorm over the last axis."""
    if ops.fit(x):
        return ops.norm(x, gain)
    return F.rms_norm(x, gain.shape, gain, NORM_EPSILON)


def block(
    config: ModelConfig,
    params: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"],
    state: Mapping[str, Tensor],
    resets: Bool[Tensor, "T B"] | None,
    reset_state: Mapping[str, Tensor],
    drop: Drop,
) -> tuple[Float[Tensor, "T B D"], dict[str, Tensor]]:
    """Run one residual block over a window; arguments as in `cells.unroll`, `drop` masks a branch."""
    taps = (state["conv"], params["conv.weight"], params["conv.bias"], resets)
    if ops.fit(x):
        u, conv = ops.norm_conv(x, params["norm"], *taps)  # (1)
    else:
        u, conv = convolve(norm(x, params["norm"]), *taps)  # (1)
    own = {name.removeprefix("cell."): p for name, p in params.items() if name.startswith("cell.")}
    cell_state = {key: s for key, s in state.items() if key != "conv"}
    o, after = cells.unroll(config, own, u, cell_state, resets, reset_state)  # (2)
    x = x + drop(gemm.linear(o, params["proj"]))  # (3)
    if "mlp.up" in params:
        v = norm(x, params["mlp_norm"])  # (4)
        gate, up = gemm.linear(v, params["mlp.gate"]), gemm.linear(v, params["mlp.up"])
        gated = ops.swiglu(gate, up) if ops.fit(x) else F.silu(gate) * up
        x = x + drop(gemm.linear(gated, params["mlp.down"]))  # (5)
    return x, after | {"conv": conv}


def convolve(
    x: Float[Tensor, "T B D"],
    past: Float[Tensor, "B K-1 D"],
    weight: Float[Tensor, "D K"],
    bias: Float[Tensor, "D"],
    resets: Bool[Tensor, "T B"] | None,
) -> tuple[Float[Tensor, "T B D"], Float[Tensor, "B K-1 D"]]:
    """Convolve a window as in (1): (result, last K − 1 inputs); inputs from before a reset count as zeros."""
    T, K = len(x), weight.shape[1]
    padded = torch.cat([past.transpose(0, 1), x])  # (K-1+T, B, D)
    if resets is None:
        y = torch.addcmul(bias, x, weight[:, -1])
        for k in range(K - 1):
            y = torch.addcmul(y, padded[k : k + T], weight[:, k])
        return y, padded[T:].transpose(0, 1)
    document = F.pad(resets.cumsum(0), (0, 0, K - 1, 0))  # each input's document; the past is in number 0
    y = bias.expand_as(x)
    for k in range(K):
        same = (document[k : k + T] == document[K - 1 :]).unsqueeze(2)
        y = y + torch.where(same, padded[k : k + T], 0.0) * weight[:, k]
    alive = (document[T:] == document[-1:]).unsqueeze(2)
    return y, torch.where(alive, padded[T:], 0.0).transpose(0, 1)
