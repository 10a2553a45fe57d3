"""The elementwise part of every cell, compiled for training: gates and states of one time step, and minGRU's whole window.

    elman    h = φ(a)                                                       (1)
    lstm     i, f, g, o = σ(a_i), σ(a_f), tanh(a_g), σ(a_o)                 (2)
             c_t = f ⊙ c_{t-1} + i ⊙ g                                      (3)
             h_t = o ⊙ tanh(c_t)                                            (4)
    gru      r, z = σ(a_r + u_r), σ(a_z + u_z);  m = u_n + b_hn             (5)  u = W_hh h_{t-1}
             n = tanh(a_n + r ⊙ m)                                          (6)
             h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}                                (7)
    mingru   z = σ(a_z), n = g(a_n)                                         (8)  g(a) = a + 0.5 if a ≥ 0, else σ(a)
             h_t = (1 − z) ⊙ h_{t-1} + z ⊙ n                                (9)

`a` is W_ih x + b, for elman and lstm plus W_hh h_{t-1}; minGRU's training loops add b themselves. In
training, a forward loop keeps the values for its derivative in `gates`. A backward loop receives the gradient
of the loss in h_t in two parts: d_h from the layer above, `carried` from the next time step. It overwrites
`carried` with the elementwise part of the gradient in h_{t-1}; the caller adds the part that passes through a
product.

Shapes: B batch, T time, H cell size; arrays are C-contiguous. Sources: see the scratch engine's cell files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.kernels.jit import compiled
from charloom.kernels.vector_math import ACTIVATIONS, activate, activate_backward

_TANH, _SIGMOID = ACTIVATIONS["tanh"], ACTIVATIONS["sigmoid"]


@compiled
def elman_forward(activation: Any, a: Any, h: Any) -> None:
    """Compute (1): a, h (B, H)."""
    for b in range(a.shape[0]):
        activate(activation, a[b], h[b])


@compiled
def elman_backward(activation: Any, h: Any, d_h: Any, carried: Any, d_a: Any) -> None:
    """Backward pass of (1) into `d_a`; all (B, H). The gradient in h_{t-1} has no elementwise part."""
    for b in range(h.shape[0]):
        for j in range(h.shape[1]):
            carried[b, j] += d_h[b, j]
        activate_backward(activation, h[b], carried[b], d_a[b])


@compiled
def lstm_forward(a: Any, c_before: Any, gates: Any, c: Any, h: Any) -> None:
    """Compute (2) to (4): a, gates (B, 4H); c_before, c, h (B, H)."""
    H = c.shape[1]
    for b in range(a.shape[0]):
        activate(_SIGMOID, a[b, : 2 * H], gates[b, : 2 * H])  # (2)
        activate(_TANH, a[b, 2 * H : 3 * H], gates[b, 2 * H : 3 * H])
        activate(_SIGMOID, a[b, 3 * H :], gates[b, 3 * H :])
        i, f, g, o = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        before, now, out = c_before[b], c[b], h[b]
        for j in range(H):
            now[j] = f[j] * before[j] + i[j] * g[j]  # (3)
        activate(_TANH, now, out)
        for j in range(H):
            out[j] *= o[j]  # (4)


@compiled
def lstm_backward(
    gates: Any, c_before: Any, c: Any, d_h: Any, carried: Any, d_c: Any, d_a: Any, tanh_c: Any
) -> None:
    """Backward pass of (2) to (4); `d_c` (B, H) becomes the gradient in c_{t-1}; `tanh_c` (H,) is scratch space."""
    H = c.shape[1]
    one = c.dtype.type(1)  # a plain 1 would promote float32 to float64
    for b in range(c.shape[0]):
        i, f, g, o = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        d_i, d_f, d_g, d_o = d_a[b, :H], d_a[b, H : 2 * H], d_a[b, 2 * H : 3 * H], d_a[b, 3 * H :]
        before, above, behind, through = c_before[b], d_h[b], carried[b], d_c[b]
        activate(_TANH, c[b], tanh_c)
        for j in range(H):
            d = above[j] + behind[j]
            d_o[j] = d * tanh_c[j] * (o[j] * (one - o[j]))  # (4), (2)
            through[j] += d * o[j] * (one - tanh_c[j] * tanh_c[j])  # (4)
        for j in range(H):
            d = through[j]
            d_i[j] = d * g[j] * (i[j] * (one - i[j]))  # (3), (2)
            d_f[j] = d * before[j] * (f[j] * (one - f[j]))  # (3), (2)
            d_g[j] = d * i[j] * (one - g[j] * g[j])  # (3), (2)
            through[j] = d * f[j]  # (3)


@compiled
def gru_forward(
    x: Any, rows: Any, bias: Any, u: Any, b_hn: Any, h_before: Any, gates: Any, m: Any, h: Any
) -> None:
    """Compute (5) to (7) with a = x[rows] + bias; x (R, 3H); gates, u (B, 3H), u is overwritten; others (B, H)."""
    H = h.shape[1]
    for b in range(u.shape[0]):
        x_b, u_b, g_b, m_b, before, out = x[rows[b]], u[b], gates[b], m[b], h_before[b], h[b]
        for j in range(2 * H):
            u_b[j] += x_b[j] + bias[j]
        activate(_SIGMOID, u_b[: 2 * H], g_b[: 2 * H])  # (5)
        for j in range(H):
            m_b[j] = u_b[2 * H + j] + b_hn[j]
            u_b[2 * H + j] = x_b[2 * H + j] + bias[2 * H + j] + g_b[j] * m_b[j]
        activate(_TANH, u_b[2 * H :], g_b[2 * H :])  # (6)
        for j in range(H):
            out[j] = g_b[2 * H + j] + g_b[H + j] * (before[j] - g_b[2 * H + j])  # (7)


@compiled
def gru_backward(gates: Any, m: Any, h_before: Any, d_h: Any, carried: Any, d_a: Any, d_u: Any) -> None:
    """Backward pass of (5) to (7); the caller adds `d_u` W_hh to `carried`, with `d_u` (B, 3H) the gradient in u."""
    H = m.shape[1]
    one = m.dtype.type(1)
    for b in range(m.shape[0]):
        r, z, n = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        d_r, d_z, d_n = d_a[b, :H], d_a[b, H : 2 * H], d_a[b, 2 * H :]
        d_ur, d_uz, d_m = d_u[b, :H], d_u[b, H : 2 * H], d_u[b, 2 * H :]
        m_b, before, above, behind = m[b], h_before[b], d_h[b], carried[b]
        for j in range(H):
            d = above[j] + behind[j]
            d_n[j] = d * (one - z[j]) * (one - n[j] * n[j])  # (7), (6)
            d_z[j] = d * (before[j] - n[j]) * (z[j] * (one - z[j]))  # (7), (5)
            behind[j] = d * z[j]  # (7)
        for j in range(H):
            d_m[j] = d_n[j] * r[j]  # (6)
            d_r[j] = d_n[j] * m_b[j] * (r[j] * (one - r[j]))  # (6), (5)
            d_ur[j], d_uz[j] = d_r[j], d_z[j]


@compiled
def mingru_forward(a: Any, bias: Any, begin: Any, z: Any, n: Any, h: Any) -> None:
    """Compute (8), (9) over a window.

    `a` (T, B, 2H) is W_ih x; bias (2H); begin: h0, resets (T, B) or (0, 0), reset_state (B, H); z, n, h (T, B, H).
    """
    h0, resets, reset_state = begin
    T, B, H = h.shape
    half, zero = h.dtype.type(0.5), h.dtype.type(0)
    bias_z, bias_n = bias[:H], bias[H:]
    for t in range(T):
        for b in range(B):
            before = h[t - 1, b] if t > 0 else h0[b]
            if resets.shape[0] > 0 and resets[t, b]:
                before = reset_state[b]
            a_z, a_n, z_t, n_t, out = a[t, b, :H], a[t, b, H:], z[t, b], n[t, b], h[t, b]
            for j in range(H):
                out[j] = a_z[j] + bias_z[j]
                n_t[j] = a_n[j] + bias_n[j]
            activate(_SIGMOID, out, z_t)  # (8); in place, the whole loop takes twice as long
            activate(_SIGMOID, n_t, out)  # for all elements: cheaper than a branch
            for j in range(H):
                n_t[j] = n_t[j] + half if n_t[j] >= zero else out[j]
            for j in range(H):
                out[j] = before[j] + z_t[j] * (n_t[j] - before[j])  # (9)


@compiled
def mingru_backward(begin: Any, kept: Any, d_h: Any, carried: Any, d_a: Any, d_bias: Any) -> None:
    """Backward pass of (8), (9) over a window; `carried` (B, H) becomes the gradient in h0.

    begin: as in the forward pass; kept: z, n, h; d_a (T, B, 2H) is the gradient in `a`; d_bias (2H) is added to.
    """
    (h0, resets, reset_state), (z, n, h) = begin, kept
    T, B, H = h.shape
    one, half, zero = h.dtype.type(1), h.dtype.type(0.5), h.dtype.type(0)
    total = np.empty_like(d_bias)
    for t in range(T - 1, -1, -1):
        for b in range(B):
            before = h[t - 1, b] if t > 0 else h0[b]
            begins = resets.shape[0] > 0 and resets[t, b]
            if begins:
                before = reset_state[b]
            z_t, n_t, above, behind = z[t, b], n[t, b], d_h[t, b], carried[b]
            d_z, d_n = d_a[t, b, :H], d_a[t, b, H:]
            for j in range(H):
                d = above[j] + behind[j]
                d_z[j] = d * (n_t[j] - before[j]) * (z_t[j] * (one - z_t[j]))  # (9), (8)
                slope = one if n_t[j] >= half else n_t[j] * (one - n_t[j])
                d_n[j] = d * z_t[j] * slope  # (9), (8)
                behind[j] = d * (one - z_t[j])  # (9)
            if begins:
                for j in range(H):
                    behind[j] = zero
        add_rows(d_a[t], total, d_bias)


@compiled
def add_rows(x: Any, total: Any, out: Any) -> None:
    """Add the rows of x (B, n) to `out` (n,) through `total` (n,), to avoid sums with a term per character."""
    for j in range(total.shape[0]):
        total[j] = x[0, j]
    for b in range(1, x.shape[0]):
        for j in range(total.shape[0]):
            total[j] += x[b, j]
    for j in range(total.shape[0]):
        out[j] += total[j]
