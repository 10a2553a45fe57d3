"""An Elman network, an LSTM and a GRU through a window, forwards and back: a product and the gates of a time step, in turn.

    u_t = W_hh h_{t-1}                        (1)  then the cell's loop of `kernels.gates`
    d_h_{t-1} ← d_h_{t-1} + W_hhᵀ d_u_t       (2)  backwards: the gates' derivative, then the product
    d_b ← d_b + Σ_b d_a_t;  d_x[rows_t] ← d_x[rows_t] + d_a_t   (3)  while d_a_t is at hand

Each walk is compiled as a whole; where `products.are_compiled` says no, it is walked in Python by the same lines (``.py_func``).

Shapes: T time, B batch, H cell size, G blocks, R rows of `x`. `x` (R, G·H) holds W_ih x, and `rows` (T, B) which row of it a time step
reads: its own, or its character's. `w` is W_hhᵀ (H, G·H) forwards, W_hh backwards. `h` and `c` (T + 1, B, H) are the state before every
time step and after the last; `read` (T, B, H) is what time step t sees of it: where `resets` (T, B) marks a row it is `fresh`. Without
resets, (0, 0), `read` is `h[:-1]` itself. `kept` (T, B, G·H) are the gates; it may be the memory of `x` where each row is read once.
A backward walk takes `d_h` (T, B, H) from above and `carried` (B, H) from behind, and leaves in `carried` what goes on before the window,
in `d_a` (T, B, G·H) the gradient in what the gates read; `d_x` is (R, G·H), or (0, 0) where `d_a` says the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.engines.kernels import gates
from charloom.engines.kernels.compiling import compiled
from charloom.engines.torch.products import product


@compiled
def elman_forward(
    activation: Any, x: Any, bias: Any, rows: Any, w: Any, resets: Any, fresh: Any, h: Any, read: Any
) -> None:
    """Walk forwards."""
    u = np.empty_like(h[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, fresh, h, read)
        product(read[t], w, u, False)  # (1)
        _add(x, rows[t], bias, u)
        gates.elman_forward(activation, u, h[t + 1])


@compiled
def elman_backward(
    activation: Any,
    h: Any,
    rows: Any,
    w: Any,
    resets: Any,
    d_h: Any,
    carried: Any,
    d_a: Any,
    d_bias: Any,
    d_x: Any,
) -> None:
    """Walk back."""
    total = np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        gates.elman_backward(activation, h[t + 1], d_h[t], carried, d_a[t])
        product(d_a[t], w, carried, False)  # (2)
        _cut(resets, t, carried)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def lstm_forward(
    x: Any,
    bias: Any,
    rows: Any,
    w: Any,
    resets: Any,
    fresh: Any,
    h: Any,
    read: Any,
    fresh_c: Any,
    c: Any,
    c_read: Any,
    kept: Any,
) -> None:
    """Walk forwards and leave the gates in `kept` (T, B, 4H)."""
    u = np.empty_like(kept[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, fresh, h, read)
        _begin(resets, t, fresh_c, c, c_read)
        product(read[t], w, u, False)  # (1)
        _add(x, rows[t], bias, u)
        gates.lstm_forward(u, c_read[t], kept[t], c[t + 1], h[t + 1])


@compiled
def lstm_backward(
    kept: Any,
    c: Any,
    c_read: Any,
    rows: Any,
    w: Any,
    resets: Any,
    d_h: Any,
    carried: Any,
    d_c: Any,
    d_a: Any,
    d_bias: Any,
    d_x: Any,
) -> None:
    """Walk back; `d_c` (B, H) comes from behind the window and goes on before it."""
    room, total = np.empty_like(carried[0]), np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        gates.lstm_backward(kept[t], c_read[t], c[t + 1], d_h[t], carried, d_c, d_a[t], room)
        product(d_a[t], w, carried, False)  # (2)
        _cut(resets, t, carried)
        _cut(resets, t, d_c)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def gru_forward(
    x: Any,
    bias: Any,
    rows: Any,
    w: Any,
    resets: Any,
    fresh: Any,
    h: Any,
    read: Any,
    bias_hn: Any,
    kept: Any,
    m: Any,
) -> None:
    """Walk forwards and leave the gates in `kept` (T, B, 3H), W_hn h + b_hn in `m` (T, B, H)."""
    u = np.empty_like(kept[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, fresh, h, read)
        product(read[t], w, u, False)  # (1)
        gates.gru_forward(x, rows[t], bias, u, bias_hn, read[t], kept[t], m[t], h[t + 1])


@compiled
def gru_backward(
    kept: Any,
    m: Any,
    read: Any,
    rows: Any,
    w: Any,
    resets: Any,
    d_h: Any,
    carried: Any,
    d_u: Any,
    d_a: Any,
    d_bias: Any,
    d_x: Any,
) -> None:
    """Walk back; `d_u` (T, B, 3H) is the gradient in u."""
    total = np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        gates.gru_backward(kept[t], m[t], read[t], d_h[t], carried, d_a[t], d_u[t])
        product(d_u[t], w, carried, True)  # (2)
        _cut(resets, t, carried)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def _begin(resets: Any, t: Any, fresh: Any, values: Any, read: Any) -> None:
    """What time step t reads: the state before it, in rows that begin anew the fresh one."""
    for b in range(resets.shape[1]):
        before = fresh[b] if resets[t, b] else values[t, b]
        for j in range(before.shape[0]):
            read[t, b, j] = before[j]


@compiled
def _cut(resets: Any, t: Any, gradient: Any) -> None:
    """Let nothing through to the time step before a row begins anew."""
    zero = gradient.dtype.type(0)
    for b in range(resets.shape[1]):
        if resets[t, b]:
            for j in range(gradient.shape[1]):
                gradient[b, j] = zero


@compiled
def _add(x: Any, rows: Any, bias: Any, u: Any) -> None:
    for b in range(u.shape[0]):
        mine, out = x[rows[b]], u[b]
        for j in range(out.shape[0]):
            out[j] += mine[j] + bias[j]


@compiled
def _give_back(d_a: Any, rows: Any, total: Any, d_bias: Any, d_x: Any) -> None:
    """Compute (3): over the rows first, so that no sum has as many terms as there are characters; `total` (G·H,) is scratch space."""
    for j in range(total.shape[0]):
        total[j] = d_a[0, j]
    for b in range(1, d_a.shape[0]):
        for j in range(total.shape[0]):
            total[j] += d_a[b, j]
    for j in range(total.shape[0]):
        d_bias[j] += total[j]
    if d_x.shape[0] > 0:
        for b in range(d_a.shape[0]):
            mine, out = d_a[b], d_x[rows[b]]
            for j in range(out.shape[0]):
                out[j] += mine[j]
