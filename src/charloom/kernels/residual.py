"""The operations of a residual block between its matrix products in training, with derivatives.

    s = 1 / √(mean x² + ε)                            (1)  one per row
    norm(x) = γ ⊙ x s                                 (2)
    u_t = b + Σ_k w_k ⊙ v_{t−K+1+k}                   (3)  v = norm(x), depthwise, causal, K taps; none crosses a reset
    swiglu(g, u) = g σ(g) ⊙ u                         (4)

and the derivative of (2), with d_v the gradient in norm(x),

    d_x = s (γ ⊙ d_v − x s · s mean(γ ⊙ d_v ⊙ x)),   d_γ = Σ d_v ⊙ x s                 (5)  s³ may underflow in float32

Source: RMSNorm, Zhang & Sennrich (2019); gated MLP, Shazeer (2020). The engines' ``residual`` has the block.
Shapes: T time, B batch, D residual stream, M width of the MLP, K taps, R = T · B consecutive rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.kernels.jit import compiled, compiled_sum
from charloom.kernels.vector_math import ACTIVATIONS, activate

_SIGMOID = ACTIVATIONS["sigmoid"]


@compiled_sum
def _dot(x: Any, y: Any) -> Any:
    total = x.dtype.type(0)
    for j in range(x.shape[0]):
        total += x[j] * y[j]
    return total


@compiled
def _norm_row(x: Any, gain: Any, epsilon: Any, v: Any) -> Any:
    """Compute (1), (2) of one row; return s."""
    scale = x.dtype.type(1) / np.sqrt(_dot(x, x) / x.dtype.type(x.shape[0]) + epsilon)
    for j in range(x.shape[0]):
        v[j] = x[j] * scale * gain[j]
    return scale


@compiled
def _pull_back_row(x: Any, gain: Any, scale: Any, d_v: Any, d_x: Any, d_gain: Any) -> None:
    """Compute (5) of one row; `d_v` is overwritten."""
    for j in range(x.shape[0]):
        d_gain[j] += d_v[j] * x[j] * scale
        d_v[j] *= gain[j]
    mean = _dot(d_v, x) * scale / x.dtype.type(x.shape[0])
    for j in range(x.shape[0]):
        d_x[j] = scale * (d_v[j] - x[j] * scale * mean)


@compiled
def norm_forward(x: Any, gain: Any, epsilon: Any, v: Any, scales: Any) -> None:
    """Compute (1), (2): x, v (R, D), scales (R,)."""
    for i in range(x.shape[0]):
        scales[i] = _norm_row(x[i], gain, epsilon, v[i])


@compiled
def norm_backward(x: Any, gain: Any, scales: Any, d_v: Any, d_x: Any, d_gain: Any, room: Any) -> None:
    """Compute (5) and add to `d_gain`; `room` (D,) is scratch space."""
    for i in range(x.shape[0]):
        d_row = d_v[i]
        for j in range(x.shape[1]):
            room[j] = d_row[j]
        _pull_back_row(x[i], gain, scales[i], room, d_x[i], d_gain)


@compiled
def norm_conv_forward(
    x: Any, gain: Any, epsilon: Any, taps: Any, bias: Any, resets: Any, age: Any, v: Any, scales: Any, u: Any
) -> None:
    """Compute (1) to (3).

    x, u (T, B, D); v (K − 1 + T, B, D) begins with the past; taps (K, D), oldest first; scales (T, B).
    `age` (B,) counts earlier inputs in reach of the taps: K − 1 or more on entry, those of the next window on return.
    """
    T, B, D = x.shape
    K = taps.shape[0]
    for t in range(T):
        for b in range(B):
            scales[t, b] = _norm_row(x[t, b], gain, epsilon, v[K - 1 + t, b])
            age[b] = 0 if resets.shape[0] > 0 and resets[t, b] else age[b] + 1
            out, now, tap = u[t, b], v[K - 1 + t, b], taps[K - 1]
            for j in range(D):
                out[j] = bias[j] + tap[j] * now[j]  # (3)
            for lag in range(1, min(K, age[b] + 1)):
                then, tap = v[K - 1 + t - lag, b], taps[K - 1 - lag]
                for j in range(D):
                    out[j] += tap[j] * then[j]


@compiled
def norm_conv_backward(
    x: Any,
    gain: Any,
    taps: Any,
    resets: Any,
    v: Any,
    scales: Any,
    d_u: Any,
    d_v: Any,
    d_x: Any,
    d_gain: Any,
    d_taps: Any,
    d_bias: Any,
    ahead: Any,
) -> None:
    """Backward pass of (3) and (2), adding to `d_gain`, `d_taps` and `d_bias`.

    `d_v` (K − 1 + T, B, D) holds the gradient in v from after the window and is overwritten; its first K − 1
    steps become the gradient in the past. `ahead` (B,) is scratch space: the time steps until the next reset.
    """
    T, B, D = x.shape
    K = taps.shape[0]
    for b in range(B):
        ahead[b] = K
    for t in range(T - 1, -K, -1):
        for b in range(B):
            ahead[b] += 1
            v_t, d_t = v[K - 1 + t, b], d_v[K - 1 + t, b]
            for lag in range(max(0, -t), min(K, ahead[b], T - t)):
                e, tap, d_tap = d_u[t + lag, b], taps[K - 1 - lag], d_taps[K - 1 - lag]
                for j in range(D):
                    d_tap[j] += e[j] * v_t[j]  # (3)
                    d_t[j] += e[j] * tap[j]
            if t < 0:
                continue
            e = d_u[t, b]
            for j in range(D):
                d_bias[j] += e[j]
            _pull_back_row(x[t, b], gain, scales[t, b], d_t, d_x[t, b], d_gain)
            if resets.shape[0] > 0 and resets[t, b]:
                ahead[b] = 0


@compiled
def swiglu_forward(g: Any, u: Any, out: Any) -> None:
    """Compute (4); all (R, M)."""
    for i in range(g.shape[0]):
        g_i, u_i, o_i = g[i], u[i], out[i]
        activate(_SIGMOID, g_i, o_i)
        for j in range(g.shape[1]):
            o_i[j] *= g_i[j] * u_i[j]


@compiled
def swiglu_backward(g: Any, u: Any, d_out: Any, d_g: Any, d_u: Any, room: Any) -> None:
    """Backward pass of (4); `room` (M,) is scratch space."""
    one = g.dtype.type(1)
    for i in range(g.shape[0]):
        g_i, u_i, d_i, d_gi, d_ui = g[i], u[i], d_out[i], d_g[i], d_u[i]
        activate(_SIGMOID, g_i, room)
        for j in range(g.shape[1]):
            d_ui[j] = d_i[j] * g_i[j] * room[j]
            d_gi[j] = d_i[j] * u_i[j] * (room[j] * (one + g_i[j] * (one - room[j])))
