"""The online trainer's loops: many updates in one compiled call.

`update_windows` supports every window and rule: forward and backward (`elman`), gradient norm, update.

`update_characters` is for windows of one character and plain SGD. There the gradient of a matrix is a product,

    ∂L/∂W_hh = d_a h_{t-1}ᵀ,  ∂L/∂W_out = d_y h_tᵀ,  ‖∂L‖² = ‖d_a‖² (‖h_{t-1}‖² + 2) + ‖d_y‖² (‖h_t‖² + 1)     (5)

so it is never formed: it is stored as two vectors and added to the matrix while the next character's product
reads it. One extra turn of the same loop adds the last update. No expression is compiled twice, so splitting
a range of steps does not change the result by a single bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.engines.fused.losses import loss_and_gradient
from charloom.engines.fused.online.elman import backward, forward, project
from charloom.engines.fused.online.products import (
    add,
    add_pulled_back,
    clear,
    copy,
    square_sum,
    update_and_add_product,
)
from charloom.engines.fused.online.updates import update, update_average
from charloom.kernels.jit import compiled
from charloom.kernels.vector_math import activate, activate_backward

if TYPE_CHECKING:
    from numpy import ndarray as Array


class StepRange(NamedTuple):
    """The inputs and the measurements of S steps."""

    text: Array  # the characters of each window and the one after it, window after window, int64
    begins: Array  # where each window begins in `text`, (S,)
    lengths: Array  # characters read, (S,)
    resets: Array  # whether the state is reset before a character of `text` is read
    reset_state: Array  # states after resets, (R, H)
    reset_rows: Array  # each step's row of `reset_state`, (S,)
    rates: Array  # learning rates, (S,)
    average_weights: Array  # weights of the newest parameters in the average, (S,)
    loss: Array  # output: mean nats per predicted character, (S,)
    grad_norm: Array  # output: L2 before clipping, (S,)


class Objective(NamedTuple):
    """The function that is differentiated, and the clipping of its gradient."""

    activation: int  # code of φ
    last: bool  # predict only the last character of a window
    sums: bool  # differentiate the sum of the losses, not the mean
    clip_norm: float  # ceiling on the gradient norm; infinite = no clipping


class PendingUpdates(NamedTuple):
    """Two pending updates: W_hh += p_a u_aᵀ and W_out += p_y u_yᵀ."""

    p_a: Array
    u_a: Array
    p_y: Array
    u_y: Array


class Vectors(NamedTuple):
    """The flat vectors of `layout`: parameters, gradient, moments, average (empty if averaging is off)."""

    w: Array
    g: Array
    first: Array
    second: Array
    average: Array


@compiled
def update_windows(
    objective: Any,
    rule: Any,
    vectors: Any,
    weights: Any,
    gradients: Any,
    bounds: Any,
    tape: Any,
    step_range: Any,
    h: Any,
    count: Any,
) -> int:
    """Take the updates of a `StepRange` up to a non-finite loss or gradient; return the number taken.

    `weights` and `gradients` are views of `vectors.w` and `vectors.g`; the table's part of `g` is zero on
    entry and on return. `bounds` has the ends of the table and of the matrices in a flat vector, and the
    length of a table row. `tape` fits the longest window, `h` (H,) is updated, `count` counts earlier updates.
    """
    S: int = step_range.begins.shape[0]
    rows = np.empty(weights.table.shape[0], np.int64)
    seen = np.full(weights.table.shape[0], -1)
    for s in range(S):
        begin, T = step_range.begins[s], step_range.lengths[s]
        ids, resets = step_range.text[begin : begin + T], step_range.resets[begin : begin + T]
        first = T - 1 if objective.last else 0
        forward(
            weights,
            objective.activation,
            ids,
            resets,
            step_range.reset_state[step_range.reset_rows[s]],
            h,
            first,
            tape,
        )
        scale = weights.bias.dtype.type(1 if objective.sums else 1 / (T - first))
        loss = 0.0
        for t in range(first, T):
            loss += loss_and_gradient(tape.y[t], step_range.text[begin + t + 1], scale)
        backward(weights, objective.activation, ids, resets, first, tape, gradients)
        num_rows = distinct(ids, s, seen, rows)
        squares = square_sum(vectors.g[bounds[0] :])
        for r in range(num_rows):
            squares += square_sum(gradients.table[rows[r]])
        norm = math.sqrt(squares)
        step_range.loss[s], step_range.grad_norm[s] = loss / (T - first), norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return s
        shrink = objective.clip_norm / norm if norm > objective.clip_norm else 1.0
        move(rule, vectors, rows[:num_rows], bounds, shrink, step_range.rates[s], count + s + 1)
        for r in range(num_rows):
            clear(gradients.table[rows[r]])
        if vectors.average.shape[0] > 0:
            update_average(vectors.average, vectors.w, step_range.average_weights[s])
    return S


@compiled
def distinct(ids: Any, s: Any, seen: Any, rows: Any) -> int:
    """Write the distinct characters of a window to `rows`; return their number; `seen` has each one's last step."""
    num = 0
    for t in range(ids.shape[0]):
        if seen[ids[t]] != s:
            seen[ids[t]] = s
            rows[num] = ids[t]
            num += 1
    return num


@compiled
def move(rule: Any, vectors: Any, rows: Any, bounds: Any, shrink: Any, rate: Any, count: Any) -> None:
    """Update every parameter; of the table only `rows` if the rule leaves the other rows unchanged."""
    X = bounds[2]
    num = rows.shape[0] if rule.at_rest else 0
    for part in range(num + 2):
        if part < num:  # a row of the table
            begin = rows[part] * X
            end = begin + X
        elif part == num:  # the matrices after the table, or all of them
            begin, end = bounds[0] if rule.at_rest else 0, bounds[1]
        else:
            begin, end = bounds[1], vectors.w.shape[0]
        update(
            rule,
            vectors.w[begin:end],
            vectors.g[begin:end],
            vectors.first[begin:end],
            vectors.second[begin:end],
            part <= num,
            shrink,
            rate,
            count,
        )


@compiled
def update_characters(objective: Any, weights: Any, tape: Any, pending: Any, step_range: Any, h: Any) -> int:
    """`update_windows` for one one-hot character per window and SGD without momentum, decay, average, clip_value."""
    S: int = step_range.begins.shape[0]
    number = weights.bias.dtype.type
    before, a, h_t, y = tape.before[0], tape.a[0], tape.h[0], tape.y[0]
    p_a, u_a, p_y, u_y = pending  # for W_hh and W_out
    p_a[:], u_a[:], p_y[:], u_y[:] = -0.0, 0, -0.0, 0  # nothing pending: w + −0 · 0 is w bit for bit
    copy(h, h_t)
    x = target = 0
    for s in range(S + 1):  # the last turn only adds the pending update
        copy(h, before)
        if s < S:
            at = step_range.begins[s]
            x, target = step_range.text[at], step_range.text[at + 1]
            if step_range.resets[at]:
                copy(step_range.reset_state[step_range.reset_rows[s]], before)
            project(weights, x, a)
        update_and_add_product(weights.w_hh, p_a, u_a, before, a)  # (1)
        activate(objective.activation, a, h_t)  # (2)
        copy(weights.out_bias, y)
        update_and_add_product(weights.w_out, p_y, u_y, h_t, y)  # (3)
        if s == S:
            break
        loss = loss_and_gradient(y, target, number(1))  # (4)
        clear(tape.d_h)
        add_pulled_back(weights.w_out, y, tape.d_h)
        activate_backward(objective.activation, h_t, tape.d_h, a)
        norm = math.sqrt(
            square_sum(a) * (square_sum(before) + 2) + square_sum(y) * (square_sum(h_t) + 1)
        )  # (5)
        step_range.loss[s], step_range.grad_norm[s] = loss, norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return s
        shrink = objective.clip_norm / norm if norm > objective.clip_norm else 1.0
        rate = number(-step_range.rates[s] * shrink)
        defer_update(rate, a, before, p_a, u_a)
        defer_update(rate, y, h_t, p_y, u_y)
        add(p_a, weights.bias)
        add(p_a, weights.table[x])
        add(p_y, weights.out_bias)
        copy(h_t, h)
    return S


@compiled
def defer_update(rate: Any, d: Any, x: Any, p: Any, u: Any) -> None:
    """Store the update rate · d xᵀ as p uᵀ; the next product adds it to its matrix."""
    for i in range(d.shape[0]):
        p[i] = rate * d[i]
    copy(x, u)
