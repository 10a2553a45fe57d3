"""Elman network over one window, compiled: forward, and backward through time.

    a_t = W_ih x_t + W_hh h_{t-1} + b          (1)  x_t one-hot (a row of the table) or an embedding
    h_t = φ(a_t)                               (2)  φ is tanh, σ or relu
    y_t = W_out h_t + b_out                    (3)
    L = Σ_t log Σ_v exp y_tv − y_t[target]     (4)  over the predicted time steps: all, or the last

Source: Elman (1990), in the form of PyTorch's ``nn.RNN`` with one bias; backward through time by hand.
Shapes: T time, V vocabulary, H hidden size, X width of the table; batch 1. Gradients are of `scale` · L.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from charloom.engines.fused.online.layout import Weights
from charloom.engines.fused.online.products import (
    add,
    add_product,
    add_product_over_time,
    add_pulled_back,
    clear,
    copy,
    outer_over_time,
)
from charloom.engines.fused.packing import aligned
from charloom.kernels.jit import compiled
from charloom.kernels.vector_math import activate, activate_backward

if TYPE_CHECKING:
    from numpy import ndarray as Array


class Tape(NamedTuple):
    """Values of a window of up to T time steps."""

    x: Array  # embeddings read, (T, X); unused if the input is one-hot
    before: Array  # h_{t-1} in equation (1), (T, H)
    a: Array  # pre-activations, (T, H); backward overwrites them with d_a
    h: Array  # hidden states, (T, H)
    y: Array  # logits, (T, V); the loss overwrites them with d_y
    d_h: Array  # gradient in one hidden state, (H,)
    d_x: Array  # gradient in one embedding, (X,)


def new_tape(weights: Weights, length: int) -> Tape:
    """Allocate a tape for windows of up to `length` time steps."""
    (V, X), H, dtype = weights.table.shape, len(weights.bias), weights.bias.dtype
    shapes = [(length, X), (length, H), (length, H), (length, H), (length, V), (H,), (X,)]
    return Tape(*(aligned(shape, dtype) for shape in shapes))


@compiled
def project(weights: Any, char_id: Any, a: Any) -> None:
    """Write W_ih x + b, the part of (1) that does not need the state, into `a`."""
    if weights.w_ih.shape[0] == 0:
        row = weights.table[char_id]
        for j in range(a.shape[0]):
            a[j] = weights.bias[j] + row[j]
    else:
        copy(weights.bias, a)
        add_product(weights.w_ih, weights.table[char_id], a)


@compiled
def step(weights: Any, activation: Any, char_id: Any, before: Any, a: Any, h: Any) -> None:
    """Advance one time step: (1) into `a`, (2) into `h`, all (H,)."""
    project(weights, char_id, a)
    add_product(weights.w_hh, before, a)  # (1)
    activate(activation, a, h)  # (2)


@compiled
def predict(weights: Any, h: Any, y: Any) -> None:
    """Compute (3) for h (T, H) into y (T, V)."""
    for t in range(h.shape[0]):
        copy(weights.out_bias, y[t])
    add_product_over_time(weights.w_out, h, y)


@compiled
def forward(
    weights: Any, activation: Any, ids: Any, resets: Any, reset_state: Any, h: Any, first: Any, tape: Any
) -> None:
    """Read ids (T,), update the state h (H,), and predict from time step `first` on."""
    T = ids.shape[0]
    for t in range(T):
        before = tape.before[t]
        copy(reset_state if resets[t] else h, before)
        if weights.w_ih.shape[0] > 0:
            copy(weights.table[ids[t]], tape.x[t])
        step(weights, activation, ids[t], before, tape.a[t], tape.h[t])  # (1), (2)
        copy(tape.h[t], h)
    predict(weights, tape.h[first:T], tape.y[first:T])  # (3)


@compiled
def backward(
    weights: Any, activation: Any, ids: Any, resets: Any, first: Any, tape: Any, gradients: Any
) -> None:
    """Compute gradients from d_y in `tape.y`: add to rows of the table, overwrite everything else."""
    T = ids.shape[0]
    d_a, d_h, d_y = tape.a, tape.d_h, tape.y[first:T]
    clear(d_h)
    for t in range(T - 1, -1, -1):
        if t >= first:
            add_pulled_back(weights.w_out, tape.y[t], d_h)  # (3)
        activate_backward(activation, tape.h[t], d_h, d_a[t])  # (2)
        clear(d_h)
        if t > 0 and not resets[t]:
            add_pulled_back(weights.w_hh, d_a[t], d_h)  # (1): into h_{t-1}
    outer_over_time(d_y, tape.h[first:T], gradients.w_out)  # (3)
    sum_over_time(d_y, gradients.out_bias)
    outer_over_time(d_a[:T], tape.before[:T], gradients.w_hh)  # (1)
    sum_over_time(d_a[:T], gradients.bias)
    if weights.w_ih.shape[0] > 0:
        outer_over_time(d_a[:T], tape.x[:T], gradients.w_ih)
    for t in range(T):
        add_table_gradient(weights, ids[t], d_a[t], tape.d_x, gradients)


@compiled
def add_table_gradient(weights: Any, char_id: Any, d_a: Any, d_x: Any, gradients: Any) -> None:
    """Add the gradient of (1) in the table row of a character."""
    row = gradients.table[char_id]
    if weights.w_ih.shape[0] == 0:
        add(d_a, row)
    else:
        clear(d_x)
        add_pulled_back(weights.w_ih, d_a, d_x)
        add(d_x, row)


@compiled
def sum_over_time(d: Any, out: Any) -> None:
    """Write Σ_t d_t into `out`."""
    clear(out)
    for t in range(d.shape[0]):
        add(d[t], out)
