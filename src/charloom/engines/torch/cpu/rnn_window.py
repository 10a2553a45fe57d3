"""The time steps of an Elman network, an LSTM and a GRU over a window, forward and backward, as compiled loops.

    u_t = W_hh h_{t-1}                        (1)  then the cell's loop in `kernels.cells`
    d_h_{t-1} ← d_h_{t-1} + W_hhᵀ d_u_t       (2)  backward: the gates' derivative, then the product
    d_b ← d_b + Σ_b d_a_t;  d_x[rows_t] ← d_x[rows_t] + d_a_t   (3)  while d_a_t is in the cache

Each pass is one compiled call; if `gemm.are_compiled` is false, the same lines run in Python (``.py_func``).

Shapes: T time, B batch, H cell size, G blocks, R rows of `x`. Every pass takes its arrays in groups:

    inputs  x (R, G·H) holds W_ih x; bias (G·H); rows (T, B), the row of x that a time step reads, its own or its
            character's; w = W_hhᵀ (H, G·H) from `gemm.laid_out`; resets (T, B), or (0, 0) for none
    h, c    the reset state (B, H); the state before every time step and after the last (T + 1, B, H); the state that
            time step t reads (T, B, H), the reset state in rows that are reset; without resets the same memory
    ways    rows, W_hh and resets again; d_h (T, B, H) from the layer above; carried (B, H), the gradient in the state
            after the window, replaced by that in the state before it
    found   d_a (T, B, G·H), the gradient in the gates' inputs; d_bias; d_x (R, G·H), or (0, 0) if d_a holds the same

`kept` (T, B, G·H) are the gates; it may share the memory of `x` if each row is read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.engines.torch.cpu.gemm import matmul
from charloom.kernels import cells
from charloom.kernels.jit import compiled


@compiled
def elman_window_forward(activation: Any, inputs: Any, h: Any) -> None:
    """Compute the states of every time step."""
    x, bias, rows, w, resets = inputs
    reset_state, values, read = h
    u = np.empty_like(reset_state)
    for t in range(rows.shape[0]):
        _begin(resets, t, reset_state, values, read)
        matmul(read[t], w, u, False)  # (1)
        _add(x, rows[t], bias, u)
        cells.elman_forward(activation, u, values[t + 1])


@compiled
def elman_window_backward(activation: Any, values: Any, ways: Any, found: Any) -> None:
    """Compute the gradients; `values` are those of h."""
    rows, w, resets, d_h, carried = ways
    d_a, d_bias, d_x = found
    total = np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        cells.elman_backward(activation, values[t + 1], d_h[t], carried, d_a[t])
        matmul(d_a[t], w, carried, False)  # (2)
        _cut(resets, t, carried)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def lstm_window_forward(inputs: Any, h: Any, c: Any, kept: Any) -> None:
    """Compute the states of every time step, and the gates in `kept`."""
    x, bias, rows, w, resets = inputs
    (reset_state, values, read), (reset_c, c_values, read_c) = h, c
    u = np.empty_like(kept[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, reset_state, values, read)
        _begin(resets, t, reset_c, c_values, read_c)
        matmul(read[t], w, u, False)  # (1)
        _add(x, rows[t], bias, u)
        cells.lstm_forward(u, read_c[t], kept[t], c_values[t + 1], values[t + 1])


@compiled
def lstm_window_backward(kept: Any, c: Any, d_c: Any, ways: Any, found: Any) -> None:
    """Compute the gradients; `d_c` (B, H) is the gradient in c after the window, replaced by that before it."""
    rows, w, resets, d_h, carried = ways
    d_a, d_bias, d_x = found
    _, c_values, read_c = c
    room, total = np.empty_like(carried[0]), np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        cells.lstm_backward(kept[t], read_c[t], c_values[t + 1], d_h[t], carried, d_c, d_a[t], room)
        matmul(d_a[t], w, carried, False)  # (2)
        _cut(resets, t, carried)
        _cut(resets, t, d_c)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def gru_window_forward(inputs: Any, h: Any, bias_hn: Any, kept: Any, m: Any) -> None:
    """Compute the states of every time step, the gates in `kept`, and W_hn h + b_hn in `m` (T, B, H)."""
    x, bias, rows, w, resets = inputs
    reset_state, values, read = h
    u = np.empty_like(kept[0])
    for t in range(rows.shape[0]):
        _begin(resets, t, reset_state, values, read)
        matmul(read[t], w, u, False)  # (1)
        cells.gru_forward(x, rows[t], bias, u, bias_hn, read[t], kept[t], m[t], values[t + 1])


@compiled
def gru_window_backward(kept: Any, m: Any, read: Any, d_u: Any, ways: Any, found: Any) -> None:
    """Compute the gradients; `read` is that of h, `d_u` (T, B, 3H) receives the gradient in u."""
    rows, w, resets, d_h, carried = ways
    d_a, d_bias, d_x = found
    total = np.empty_like(d_bias)
    for t in range(rows.shape[0] - 1, -1, -1):
        cells.gru_backward(kept[t], m[t], read[t], d_h[t], carried, d_a[t], d_u[t])
        matmul(d_u[t], w, carried, True)  # (2)
        _cut(resets, t, carried)
        _give_back(d_a[t], rows[t], total, d_bias, d_x)


@compiled
def _begin(resets: Any, t: Any, reset_state: Any, values: Any, read: Any) -> None:
    """Write the state that time step t reads: the state before it, or the reset state in rows that are reset."""
    for b in range(resets.shape[1]):
        before = reset_state[b] if resets[t, b] else values[t, b]
        for j in range(before.shape[0]):
            read[t, b, j] = before[j]


@compiled
def _cut(resets: Any, t: Any, gradient: Any) -> None:
    """Stop the gradient in rows that are reset before time step t."""
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
    cells.add_rows(d_a, total, d_bias)
    if d_x.shape[0] > 0:
        for b in range(d_a.shape[0]):
            mine, out = d_a[b], d_x[rows[b]]
            for j in range(out.shape[0]):
                out[j] += mine[j]
