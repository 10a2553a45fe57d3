"""An Elman network, an LSTM and a GRU through a window, forwards and back: a product and the gates of a time step, in turn.

    u_t = W_hh h_{t-1}                        (1)  then the cell's loop of `kernels.gates`
    d_h_{t-1} ← d_h_{t-1} + W_hhᵀ d_u_t       (2)  backwards: the gates' derivative, then the product
    d_b ← d_b + Σ_b d_a_t;  d_x[rows_t] ← d_x[rows_t] + d_a_t   (3)  while d_a_t is at hand

Each walk is compiled as a whole; where `products.are_compiled` says no, it is walked in Python by the same lines (``.py_func``).

Shapes: T time, B batch, H cell size, G blocks, R rows of `x`. Every walk takes its arrays in groups:

    inputs  x (R, G·H) holds W_ih x; bias (G·H); rows (T, B), which row of x a time step reads: its own, or its character's; w = W_hhᵀ
            (H, G·H), as it was `products.laid_out`; resets (T, B), or (0, 0) for none
    h, c    the fresh state (B, H); the state before every time step and after the last (T + 1, B, H); what time step t reads of it
            (T, B, H): where a reset marks a row it is the fresh one, and without resets it is the state itself
    ways    rows, W_hh and resets again; d_h (T, B, H) from above; carried (B, H) from behind, replaced by what goes on before the window
    found   d_a (T, B, G·H), the gradient in what the gates read; d_bias; d_x (R, G·H), or (0, 0) where d_a says the same

`kept` (T, B, G·H) are the gates; it may be the memory of `x` where each row is read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.engines.kernels import gates
from charloom.engines.kernels.compiling import compiled
from charloom.engines.torch.products import product


@compiled
def elman_forward(activation: Any, inputs: Any, h: Any) -> None:
    """Walk forwards."""
    x, bias, rows, w, resets = inputs
    fresh, values, read = h
    u = np.empty_like(fresh)
    for t in range(rows.shape[0]):
        _begin(resets, t, fresh, values, read)
        product(read[t], w, u, False)  # (1)
        _add(x, rows[t], bias, u)
        gates.elman_forward(activation, u, values[t + 1])


@compiled
def elman_backward(activation: Any, values: Any, ways: Any, found: Any) -> None:
    """Walk back; `values` are those of h."""
    rows, w, resets, d_h, carried = ways
    d_a, d_bias, d_x = found
    total = np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        gates.elman_backward(activation, values[t + 1], d_h[t], carried, d_a[t])
        product(d_a[t], w, carried, False)  # (2)
        _cut(resets, t, carried)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def lstm_forward(inputs: Any, h: Any, c: Any, kept: Any) -> None:
    """Walk forwards and leave the gates in `kept`."""
    x, bias, rows, w, resets = inputs
    (fresh, values, read), (fresh_c, cells, read_c) = h, c
    u = np.empty_like(kept[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, fresh, values, read)
        _begin(resets, t, fresh_c, cells, read_c)
        product(read[t], w, u, False)  # (1)
        _add(x, rows[t], bias, u)
        gates.lstm_forward(u, read_c[t], kept[t], cells[t + 1], values[t + 1])


@compiled
def lstm_backward(kept: Any, c: Any, d_c: Any, ways: Any, found: Any) -> None:
    """Walk back; `d_c` (B, H) comes from behind the window and is replaced by what goes on before it."""
    rows, w, resets, d_h, carried = ways
    d_a, d_bias, d_x = found
    _, cells, read_c = c
    room, total = np.empty_like(carried[0]), np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        gates.lstm_backward(kept[t], read_c[t], cells[t + 1], d_h[t], carried, d_c, d_a[t], room)
        product(d_a[t], w, carried, False)  # (2)
        _cut(resets, t, carried)
        _cut(resets, t, d_c)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def gru_forward(inputs: Any, h: Any, bias_hn: Any, kept: Any, m: Any) -> None:
    """Walk forwards and leave the gates in `kept`, W_hn h + b_hn in `m` (T, B, H)."""
    x, bias, rows, w, resets = inputs
    fresh, values, read = h
    u = np.empty_like(kept[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, fresh, values, read)
        product(read[t], w, u, False)  # (1)
        gates.gru_forward(x, rows[t], bias, u, bias_hn, read[t], kept[t], m[t], values[t + 1])


@compiled
def gru_backward(kept: Any, m: Any, read: Any, d_u: Any, ways: Any, found: Any) -> None:
    """Walk back; `read` is that of h, `d_u` (T, B, 3H) the gradient in u."""
    rows, w, resets, d_h, carried = ways
    d_a, d_bias, d_x = found
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
    """Compute (3); `total` (G·H,) is scratch space."""
    gates.add_rows(d_a, total, d_bias)
    if d_x.shape[0] > 0:
        for b in range(d_a.shape[0]):
            mine, out = d_a[b], d_x[rows[b]]
            for j in range(out.shape[0]):
                out[j] += mine[j]
