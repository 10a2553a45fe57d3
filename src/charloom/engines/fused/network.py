"""The forward pass, compiled: T time steps of B rows, layer by layer; generation is the case T = 1.

    plain      x ← cell(W_ih x + b), layer after layer                                                  (1)
    residual   u = conv(RMSNorm x),  x ← x + W_o cell(W_ih u + b)                                       (2)
               v = RMSNorm x,  x ← x + W_d (silu(W_g v) ⊙ W_u v)                                        (3)
    y = W_out x + b_out, in residual networks of RMSNorm x                                              (4)

Products that do not read the state (all except W_hh h) are computed for all time steps at once. The order of
every sum is independent of the number of rows, steps and threads (`tiles`), so no split changes a bit.

Threads divide the panels of each product. Thread `part` of `parts` adds its panels into `shared` and waits
for the others; the work between two products is small, and each thread repeats it in its own memory. Products
alternate between two places in `shared`, so no thread overwrites results that another may still read.

Shapes: T time, B rows, S state size; the rows of a buffer are (t, b), time outermost.
Source: the equations of the scratch engine's cell files and its `residual`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from charloom.engines.fused.barrier import wait
from charloom.engines.fused.packing import CELLS, Network, aligned
from charloom.engines.fused.products import add_product, share
from charloom.kernels import cells
from charloom.kernels.jit import compiled, compiled_sum
from charloom.kernels.vector_math import ACTIVATIONS, activate
from charloom.parameters import NORM_EPSILON

_ELMAN, _LSTM, _GRU = CELLS["elman"], CELLS["lstm"], CELLS["gru"]
_SIGMOID = ACTIVATIONS["sigmoid"]
_WAITED, _PLACE, _PLACE_OF_STATE = 0, 1, 2


class Workspace(NamedTuple):
    """One thread's memory for passes of a limited number of rows (T · B)."""

    stream: Any  # x of (2) and (3), (rows, D)
    x: Any  # input of the next product, (rows, max_input_size)
    scratch: Any  # for the work between products
    small: Any  # x as int8, (rows, max_int8_size)
    scales: Any  # of the rows of `small`, (rows,)


class ThreadContext(NamedTuple):
    """A thread's share of a pass, and the memory that all threads of the pass share."""

    part: int  # number of this thread, from 0
    parts: int  # number of threads
    turn: Any  # number of waits, and the current places in `shared` and `of_state`, (3,) int64
    arrived: Any  # the barrier's count, (1,) int64
    shared: Any  # results of products, two places of (rows, max_output_size)
    of_state: Any  # results of W_hh h if kept separate (gru), two places of (B, max_output_size)


def new_workspace(net: Network, rows: int) -> Workspace:
    """Allocate memory for passes of up to `rows` rows."""
    dtype = net.numbers.dtype
    return Workspace(
        stream=aligned(rows * net.width, dtype),
        x=aligned(rows * net.max_input_size, dtype),
        scratch=aligned(max(6 * net.cell_size, net.max_input_size), dtype),
        small=aligned(rows * net.max_int8_size, np.int8),
        scales=aligned(rows, dtype),
    )


def new_thread_contexts(net: Network, rows: int, parts: int) -> list[ThreadContext]:
    """The contexts of `parts` threads that share passes of up to `rows` rows."""
    arrived = np.zeros(1, np.int64)
    shared, of_state = (aligned(2 * rows * net.max_output_size, net.numbers.dtype) for _ in range(2))
    return [
        ThreadContext(part, parts, np.zeros(3, np.int64), arrived, shared, of_state) for part in range(parts)
    ]


@compiled
def read(
    net: Any, work: Any, context: Any, ids: Any, resets: Any, state: Any, first: Any, logits: Any
) -> None:
    """Read ids (T, B), int64; update state (B, S); write the logits from step `first` on, (T − first, B, V).

    `net` is a `Network`, `work` a `Workspace` for at least T · B rows, `context` a `ThreadContext`. A row with
    `resets` (T, B) True starts from a zero state. Each thread has its own `state` and `logits`.
    """
    T, B = ids.shape
    rows = T * B
    for i in range(net.layers.shape[0]):
        layer, begin = net.layers[i], i * net.layer_state
        if i == 0 and not net.folded:
            _look_up(net, work, ids)
        if net.residual:
            _norm(net, layer.norm, work.stream, work.x, rows)
            _convolve(net, layer, work, resets, state, begin)
        a = _begin_place(net, context, rows)
        if i == 0 and net.folded:
            _begin_with_table(net, context, ids, a)
        else:
            _begin_with(net, context, net.gates, layer.bias, rows, context.shared, a)
            add_product(
                net, work, context, layer.w_ih, work.x, 0, net.max_input_size, rows, context.shared, a
            )
        _recur(net, work, context, layer, resets, state, begin, a)
        if net.residual:
            _add_branch(net, work, context, layer.proj, rows)  # (2)
            if net.mlp_size > 0:
                _norm(net, layer.mlp_norm, work.stream, work.x, rows)
                _gate(net, work, context, layer, rows)
                _add_branch(net, work, context, layer.down, rows)  # (3)
    if net.residual:
        _norm(net, net.ends[0].norm, work.stream, work.x, rows)
    _predict(net, work, context, first * B, rows, logits)


@compiled
def _look_up(net: Any, work: Any, ids: Any) -> None:
    """Write the table row of each character into the input of the first layer."""
    T, B = ids.shape
    out, stride = (work.stream, net.width) if net.residual else (work.x, net.max_input_size)
    for t in range(T):
        for b in range(B):
            row, at = net.ends[0].table + ids[t, b] * net.table_width, (t * B + b) * stride
            for j in range(net.table_width):
                out[at + j] = net.numbers[row + j]


@compiled
def _begin_place(net: Any, context: Any, rows: Any) -> Any:
    """Switch to the other place in `shared`; return where it begins."""
    context.turn[_PLACE] = 1 - context.turn[_PLACE]
    return context.turn[_PLACE] * rows * net.max_output_size


@compiled
def _meet(context: Any) -> None:
    """Wait until every thread has added its panels."""
    context.turn[_WAITED] += 1
    wait(context.arrived, context.parts, context.turn[_WAITED])


@compiled
def _begin_with_table(net: Any, context: Any, ids: Any, a: Any) -> None:
    """Write the table row of each character, which is all of W_ih x + b, into this thread's panels."""
    T, B = ids.shape
    low, high = share(net.gates, context.part, context.parts)
    for t in range(T):
        for b in range(B):
            row, at = net.ends[0].table + ids[t, b] * net.table_width, a + (t * B + b) * net.max_output_size
            for j in range(low, high):
                context.shared[at + j] = net.numbers[row + j]


@compiled
def _begin_with(net: Any, context: Any, size: Any, vector: Any, rows: Any, out: Any, at: Any) -> None:
    """Write a vector, or zeros if it is negative (missing), into this thread's panels of each row."""
    low, high = share(size, context.part, context.parts)
    for r in range(rows):
        begin = at + r * net.max_output_size
        if vector < 0:
            for j in range(low, high):
                out[begin + j] = 0
        else:
            for j in range(low, high):
                out[begin + j] = net.numbers[vector + j]


@compiled_sum
def _square_mean(x: Any) -> Any:
    s = x.dtype.type(0)
    for j in range(x.shape[0]):
        s += x[j] * x[j]
    return s / x.dtype.type(x.shape[0])


@compiled
def _norm(net: Any, gain: Any, x: Any, out: Any, rows: Any) -> None:
    """Write RMSNorm of each row of x (rows, D) to `out` (rows, max_input_size)."""
    D, number = net.width, x.dtype.type
    for r in range(rows):
        mean = _square_mean(x[r * D : (r + 1) * D])
        factor = number(1) / number(math.sqrt(mean + number(NORM_EPSILON)))
        at = r * net.max_input_size
        for j in range(D):
            out[at + j] = net.numbers[gain + j] * x[r * D + j] * factor


@compiled
def _convolve(net: Any, layer: Any, work: Any, resets: Any, state: Any, begin: Any) -> None:
    """Convolve `work.x` over time, in place; the last K − 1 inputs are state."""
    (T, B), D, past = resets.shape, net.width, net.conv_width - 1
    own = begin + net.layer_state - past * D
    u = work.scratch[:D]
    for t in range(T):
        for b in range(B):
            inputs = state[b, own : own + past * D]
            if resets[t, b]:
                for j in range(past * D):
                    inputs[j] = 0
            x = work.x[(t * B + b) * net.max_input_size :][:D]
            present = layer.conv_weight + past * D
            for j in range(D):
                u[j] = net.numbers[layer.conv_bias + j] + net.numbers[present + j] * x[j]
            for k in range(past):
                tap = layer.conv_weight + k * D
                for j in range(D):
                    u[j] += net.numbers[tap + j] * inputs[k * D + j]
            for j in range((past - 1) * D):
                inputs[j] = inputs[D + j]
            if past > 0:
                for j in range(D):
                    inputs[(past - 1) * D + j] = x[j]
            for j in range(D):
                x[j] = u[j]


@compiled
def _recur(
    net: Any, work: Any, context: Any, layer: Any, resets: Any, state: Any, begin: Any, a: Any
) -> None:
    """Run the cell over time: complete the pre-activations at `a`, update `state`, write h_t to `work.x`."""
    (T, B), H = resets.shape, net.cell_size
    size, flat = 2 * H if net.cell == _LSTM else H, state.reshape(state.size)
    for t in range(T):
        for b in range(B):
            if resets[t, b]:
                for j in range(size):
                    state[b, begin + j] = 0
        at, u = a + t * B * net.max_output_size, 0
        if net.cell == _GRU:
            context.turn[_PLACE_OF_STATE] = 1 - context.turn[_PLACE_OF_STATE]
            u = context.turn[_PLACE_OF_STATE] * B * net.max_output_size
            _begin_with_hidden_bias(net, context, layer, B, u)
            add_product(net, work, context, layer.w_hh, flat, begin, net.state_size, B, context.of_state, u)
        elif net.cell == _ELMAN or net.cell == _LSTM:
            add_product(net, work, context, layer.w_hh, flat, begin, net.state_size, B, context.shared, at)
        if t == 0 or net.cell <= _GRU:
            _meet(context)
        for b in range(B):
            own, now = context.shared[at + b * net.max_output_size :][: net.gates], state[b]
            h = now[begin : begin + H]
            if net.cell == _ELMAN:
                activate(net.activation, own, h)
            elif net.cell == _LSTM:
                cells.lstm_step(own, h, now[begin + H : begin + 2 * H], work.scratch)
            elif net.cell == _GRU:
                cells.gru_step(
                    own, context.of_state[u + b * net.max_output_size :][: net.gates], h, work.scratch
                )
            else:
                cells.mingru_step(own, h, work.scratch)
            x = (t * B + b) * net.max_input_size
            for j in range(H):
                work.x[x + j] = h[j]


@compiled
def _begin_with_hidden_bias(net: Any, context: Any, layer: Any, B: Any, u: Any) -> None:
    """Write (0, 0, b_hn) into this thread's panels of each row."""
    low, high = share(net.gates, context.part, context.parts)
    candidate = 2 * net.cell_size
    for b in range(B):
        at = u + b * net.max_output_size
        for j in range(low, high):
            biased = j >= candidate
            context.of_state[at + j] = net.numbers[layer.bias_hn + j - candidate] if biased else 0


@compiled
def _add_branch(net: Any, work: Any, context: Any, matrix: Any, rows: Any) -> None:
    """Add W x to the stream."""
    at, D = _begin_place(net, context, rows), net.width
    _begin_with(net, context, D, -1, rows, context.shared, at)
    add_product(net, work, context, matrix, work.x, 0, net.max_input_size, rows, context.shared, at)
    _meet(context)
    for r in range(rows):
        for j in range(D):
            work.stream[r * D + j] += context.shared[at + r * net.max_output_size + j]


@compiled
def _gate(net: Any, work: Any, context: Any, layer: Any, rows: Any) -> None:
    """Replace v in `work.x` by silu(W_g v) ⊙ W_u v."""
    at, M = _begin_place(net, context, rows), net.mlp_size
    _begin_with(net, context, 2 * M, -1, rows, context.shared, at)
    add_product(net, work, context, layer.gate_up, work.x, 0, net.max_input_size, rows, context.shared, at)
    _meet(context)
    for r in range(rows):
        own, x = context.shared[at + r * net.max_output_size :][: 2 * M], work.x[r * net.max_input_size :][:M]
        open_ = work.scratch[:M]
        activate(_SIGMOID, own[:M], open_)
        for j in range(M):
            x[j] = own[j] * open_[j] * own[M + j]


@compiled
def _predict(net: Any, work: Any, context: Any, first: Any, rows: Any, logits: Any) -> None:
    """Compute (4) for the rows from `first` on into logits (T', B, V)."""
    ends, B = net.ends[0], logits.shape[1]
    at = _begin_place(net, context, rows)
    _begin_with(net, context, net.vocab_size, ends.out_bias, rows - first, context.shared, at)
    x = first * net.max_input_size
    add_product(net, work, context, ends.out, work.x, x, net.max_input_size, rows - first, context.shared, at)
    _meet(context)
    for r in range(rows - first):
        begin, row = at + r * net.max_output_size, logits[r // B, r % B]
        for v in range(net.vocab_size):
            row[v] = context.shared[begin + v]
