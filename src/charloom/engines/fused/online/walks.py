"""The online trainer: a whole stretch of updates in one compiled call.

`walk_windows` takes any window and rule. For each: forward and backward (`elman`), the norm of the gradient, the update.

`walk_characters` is for windows of one character under plain SGD. There the gradient of a matrix is an outer product,

    ∂L/∂W_hh = d_a h_{t-1}ᵀ,  ∂L/∂W_out = d_y h_tᵀ,  ‖∂L‖² = ‖d_a‖² (‖h_{t-1}‖² + 2) + ‖d_y‖² (‖h_t‖² + 1)     (5)

so it is never written down: it waits as two vectors and is added to the matrix while the next character's product reads it.
What still waits when the stretch ends is added by one more turn of the same loop. So a stretch that is cut
gives the bits of one that is not: no expression is compiled twice.
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
from charloom.engines.kernels.compiling import compiled
from charloom.engines.kernels.functions import activate, pull_back_activation

if TYPE_CHECKING:
    from numpy import ndarray as Array


class Stretch(NamedTuple):
    """What a stretch of S steps reads, and where its measurements go.

    Attributes:
        text: the windows' characters one after the other, each with the one behind it, int64.
        begins: where each window begins in `text`, (S,).
        lengths: characters read, (S,).
        resets: the state is initial before this character of `text` is read.
        fresh: initial states, (R, H).
        fresh_rows: each step's row of `fresh`, (S,).
        rates: learning rates, (S,).
        average_weights: what the newest weights count in the average, (S,).
        loss: mean nats per predicted character, written, (S,).
        grad_norm: L2 before clipping, written, (S,).
    """

    text: Array
    begins: Array
    lengths: Array
    resets: Array
    fresh: Array
    fresh_rows: Array
    rates: Array
    average_weights: Array
    loss: Array
    grad_norm: Array


class Goal(NamedTuple):
    """What is differentiated, and how far it may pull.

    Attributes:
        activation: the number of φ.
        last: only the window's last character is predicted.
        sums: the gradient is that of the sum of the losses, not of their mean.
        clip_norm: ceiling on the gradient norm; infinite where it is not clipped.
    """

    activation: int
    last: bool
    sums: bool
    clip_norm: float


class Waiting(NamedTuple):
    """Two updates not yet made: W_hh += p_a u_aᵀ and W_out += p_y u_yᵀ."""

    p_a: Array
    u_a: Array
    p_y: Array
    u_y: Array


class Vectors(NamedTuple):
    """The flat vectors of `layout`: parameters, gradient, moments, average (empty where none is kept)."""

    w: Array
    g: Array
    first: Array
    second: Array
    average: Array


@compiled
def walk_windows(
    goal: Any,
    rule: Any,
    vectors: Any,
    weights: Any,
    gradients: Any,
    bounds: Any,
    tape: Any,
    stretch: Any,
    h: Any,
    count: Any,
) -> int:
    """Take the updates of a stretch; returns how many before a number was not finite, then with nothing moved.

    Args:
        goal: a `Goal`.
        rule: a `Rule`.
        vectors: a `Vectors`; the table's part of `g` is zero, and left so.
        weights: `Weights` in `vectors.w`.
        gradients: `Weights` in `vectors.g`.
        bounds: ends of the table and of the matrices in a flat vector, and the length of a row of the table.
        tape: room for the longest window.
        stretch: a `Stretch`.
        h: the state, (H,), moved along.
        count: updates taken before.
    """
    S: int = stretch.begins.shape[0]
    rows = np.empty(weights.table.shape[0], np.int64)
    seen = np.full(weights.table.shape[0], -1)
    for s in range(S):
        begin, T = stretch.begins[s], stretch.lengths[s]
        ids, resets = stretch.text[begin : begin + T], stretch.resets[begin : begin + T]
        first = T - 1 if goal.last else 0
        forward(weights, goal.activation, ids, resets, stretch.fresh[stretch.fresh_rows[s]], h, first, tape)
        scale = weights.bias.dtype.type(1 if goal.sums else 1 / (T - first))
        loss = 0.0
        for t in range(first, T):
            loss += loss_and_gradient(tape.y[t], stretch.text[begin + t + 1], scale)
        backward(weights, goal.activation, ids, resets, first, tape, gradients)
        num_rows = distinct(ids, s, seen, rows)
        squares = square_sum(vectors.g[bounds[0] :])
        for r in range(num_rows):
            squares += square_sum(gradients.table[rows[r]])
        norm = math.sqrt(squares)
        stretch.loss[s], stretch.grad_norm[s] = loss / (T - first), norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return s
        shrink = goal.clip_norm / norm if norm > goal.clip_norm else 1.0
        move(rule, vectors, rows[:num_rows], bounds, shrink, stretch.rates[s], count + s + 1)
        for r in range(num_rows):
            clear(gradients.table[rows[r]])
        if vectors.average.shape[0] > 0:
            update_average(vectors.average, vectors.w, stretch.average_weights[s])
    return S


@compiled
def distinct(ids: Any, s: Any, seen: Any, rows: Any) -> int:
    """Write the distinct characters of a window into `rows`; returns their number. `seen` holds the last step of each."""
    num = 0
    for t in range(ids.shape[0]):
        if seen[ids[t]] != s:
            seen[ids[t]] = s
            rows[num] = ids[t]
            num += 1
    return num


@compiled
def move(rule: Any, vectors: Any, rows: Any, bounds: Any, shrink: Any, rate: Any, count: Any) -> None:
    """Update every parameter: of the table only `rows` where the rule leaves the others as they are."""
    X = bounds[2]
    num = rows.shape[0] if rule.at_rest else 0
    for part in range(num + 2):
        if part < num:  # a row of the table
            begin = rows[part] * X
            end = begin + X
        elif part == num:  # the matrices behind the table, or all
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
def walk_characters(goal: Any, weights: Any, tape: Any, waiting: Any, stretch: Any, h: Any) -> int:
    """The same for windows of one one-hot character under SGD without momentum, decay, average or clipped elements."""
    S: int = stretch.begins.shape[0]
    number = weights.bias.dtype.type
    before, a, h_t, y = tape.before[0], tape.a[0], tape.h[0], tape.y[0]
    p_a, u_a, p_y, u_y = waiting  # for W_hh and W_out
    p_a[:], u_a[:], p_y[:], u_y[:] = -0.0, 0, -0.0, 0  # nothing: w + −0 · 0 is w to the bit
    copy(h, h_t)
    x = target = 0
    for s in range(S + 1):  # the last turn only adds what waits
        copy(h, before)
        if s < S:
            at = stretch.begins[s]
            x, target = stretch.text[at], stretch.text[at + 1]
            if stretch.resets[at]:
                copy(stretch.fresh[stretch.fresh_rows[s]], before)
            project(weights, x, a)
        update_and_add_product(weights.w_hh, p_a, u_a, before, a)  # (1)
        activate(goal.activation, a, h_t)  # (2)
        copy(weights.out_bias, y)
        update_and_add_product(weights.w_out, p_y, u_y, h_t, y)  # (3)
        if s == S:
            break
        loss = loss_and_gradient(y, target, number(1))  # (4)
        clear(tape.d_h)
        add_pulled_back(weights.w_out, y, tape.d_h)
        pull_back_activation(goal.activation, h_t, tape.d_h, a)
        norm = math.sqrt(
            square_sum(a) * (square_sum(before) + 2) + square_sum(y) * (square_sum(h_t) + 1)
        )  # (5)
        stretch.loss[s], stretch.grad_norm[s] = loss, norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return s
        shrink = goal.clip_norm / norm if norm > goal.clip_norm else 1.0
        rate = number(-stretch.rates[s] * shrink)
        wait(rate, a, before, p_a, u_a)
        wait(rate, y, h_t, p_y, u_y)
        add(p_a, weights.bias)
        add(p_a, weights.table[x])
        add(p_y, weights.out_bias)
        copy(h_t, h)
    return S


@compiled
def wait(rate: Any, d: Any, x: Any, p: Any, u: Any) -> None:
    """Let the update rate · d xᵀ wait as p uᵀ, until the next product adds it to its matrix."""
    for i in range(d.shape[0]):
        p[i] = rate * d[i]
    copy(x, u)
