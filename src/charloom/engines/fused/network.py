"""The forward pass, compiled: a stretch of time steps of many rows, layer by layer; one step of one row is its smallest case.

    plain      x ← cell(W_ih x + b), layer after layer                                                  (1)
    residual   u = conv(RMSNorm x),  x ← x + W_o cell(W_ih u + b)                                       (2)
               v = RMSNorm x,  x ← x + W_d (silu(W_g v) ⊙ W_u v)                                        (3)
    y = W_out x + b_out, in residual networks of RMSNorm x                                              (4)

What needs no state (every product but W_hh h) is computed for all time steps at once. Sums are taken in one order whatever the
number of rows, steps and threads (`tiles`), so any cut of a text gives the same bits.

Threads share a pass by the panels of each product. Thread `part` of `parts` adds its panels into `shared`, waits for the others,
and does by itself, in its own memory, the little that lies between two products. Products take turns at two places of
`shared`, so that nobody writes where somebody may still be reading.

Shapes: T time, B rows, S state size; a buffer's rows are (t, b), time outermost.
Source: the equations are those of the scratch engine's files of the cells' names and of its `residual`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from charloom.engines.fused import gates
from charloom.engines.fused.barrier import wait
from charloom.engines.fused.packing import CELLS, Network, aligned
from charloom.engines.fused.products import add_product, share
from charloom.engines.kernels.compiling import compiled, compiled_sum
from charloom.engines.kernels.functions import ACTIVATIONS, activate
from charloom.parameters import NORM_EPSILON

_ELMAN, _LSTM, _GRU = CELLS["elman"], CELLS["lstm"], CELLS["gru"]
_SIGMOID = ACTIVATIONS["sigmoid"]
_WAITED, _PLACE, _PLACE_OF_STATE = 0, 1, 2


class Work(NamedTuple):
    """One thread's own memory for passes of up to so many rows (T · B).

    Attributes:
        stream: x of (2) and (3), (rows, D).
        x: what the next product reads, (rows, broadest).
        room: scratch space of what lies between products.
        small: x as int8, (rows, longest).
        scales: what those integers stand for, (rows,).
    """

    stream: Any
    x: Any
    room: Any
    small: Any
    scales: Any


class Team(NamedTuple):
    """A thread's place among those that share a pass.

    Attributes:
        part: which of them, from 0.
        parts: how many.
        turn: this thread's own count: how often it waited, and whose turn it is in `shared`, (3,) int64.
        arrived: everybody's count, (1,) int64.
        shared: results of products, two places of (rows, widest).
        of_state: results of W_hh h where they stand by themselves (gru), two places of (B, widest).
    """

    part: int
    parts: int
    turn: Any
    arrived: Any
    shared: Any
    of_state: Any


def new_work(net: Network, rows: int) -> Work:
    """Memory for passes of up to `rows` rows."""
    dtype = net.numbers.dtype
    return Work(
        stream=aligned(rows * net.width, dtype),
        x=aligned(rows * net.broadest, dtype),
        room=aligned(max(6 * net.cell_size, net.broadest), dtype),
        small=aligned(rows * net.longest, np.int8),
        scales=aligned(rows, dtype),
    )


def new_teams(net: Network, rows: int, parts: int) -> list[Team]:
    """The places of `parts` threads that share passes of up to `rows` rows."""
    arrived = np.zeros(1, np.int64)
    shared, of_state = (aligned(2 * rows * net.widest, net.numbers.dtype) for _ in range(2))
    return [Team(part, parts, np.zeros(3, np.int64), arrived, shared, of_state) for part in range(parts)]


@compiled
def read(net: Any, work: Any, team: Any, ids: Any, resets: Any, state: Any, first: Any, logits: Any) -> None:
    """Read ids (T, B) from state (B, S), which moves along, into logits (T − first, B, V): those behind step `first` and later.

    Args:
        net: a `Network`.
        work: this thread's `Work`, for T · B rows at least.
        team: its `Team`.
        ids: int64.
        resets: bool, (T, B): a row's state is zero before it reads.
        state: this thread's own copy.
        first: the first step whose logits are wanted.
        logits: this thread's own.
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
        a = _begin_place(net, team, rows)
        if i == 0 and net.folded:
            _begin_with_table(net, team, ids, a)
        else:
            _begin_with(net, team, net.gates, layer.bias, rows, team.shared, a)
            add_product(net, work, team, layer.w_ih, work.x, 0, net.broadest, rows, team.shared, a)
        _recur(net, work, team, layer, resets, state, begin, a)
        if net.residual:
            _add_branch(net, work, team, layer.proj, rows)  # (2)
            if net.mlp_size > 0:
                _norm(net, layer.mlp_norm, work.stream, work.x, rows)
                _gate(net, work, team, layer, rows)
                _add_branch(net, work, team, layer.down, rows)  # (3)
    if net.residual:
        _norm(net, net.ends[0].norm, work.stream, work.x, rows)
    _predict(net, work, team, first * B, rows, logits)


@compiled
def _look_up(net: Any, work: Any, ids: Any) -> None:
    """Begin with each character's row of the table."""
    T, B = ids.shape
    out, stride = (work.stream, net.width) if net.residual else (work.x, net.broadest)
    for t in range(T):
        for b in range(B):
            row, at = net.ends[0].table + ids[t, b] * net.table_width, (t * B + b) * stride
            for j in range(net.table_width):
                out[at + j] = net.numbers[row + j]


@compiled
def _begin_place(net: Any, team: Any, rows: Any) -> Any:
    """Where the next product's results begin in `shared`: the two places take turns."""
    team.turn[_PLACE] = 1 - team.turn[_PLACE]
    return team.turn[_PLACE] * rows * net.widest


@compiled
def _meet(team: Any) -> None:
    """Wait until everybody's panels are there."""
    team.turn[_WAITED] += 1
    wait(team.arrived, team.parts, team.turn[_WAITED])


@compiled
def _begin_with_table(net: Any, team: Any, ids: Any, a: Any) -> None:
    """Write each character's row of the table, the whole of W_ih x + b, into this thread's panels."""
    T, B = ids.shape
    low, high = share(net.gates, team.part, team.parts)
    for t in range(T):
        for b in range(B):
            row, at = net.ends[0].table + ids[t, b] * net.table_width, a + (t * B + b) * net.widest
            for j in range(low, high):
                team.shared[at + j] = net.numbers[row + j]


@compiled
def _begin_with(net: Any, team: Any, size: Any, vector: Any, rows: Any, out: Any, at: Any) -> None:
    """Write a vector, or zeros where there is none, into this thread's panels of each row."""
    low, high = share(size, team.part, team.parts)
    for r in range(rows):
        begin = at + r * net.widest
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
    """RMSNorm of each row of x (rows, D) into `out` (rows, broadest)."""
    D, number = net.width, x.dtype.type
    for r in range(rows):
        mean = _square_mean(x[r * D : (r + 1) * D])
        factor = number(1) / number(math.sqrt(mean + number(NORM_EPSILON)))
        at = r * net.broadest
        for j in range(D):
            out[at + j] = net.numbers[gain + j] * x[r * D + j] * factor


@compiled
def _convolve(net: Any, layer: Any, work: Any, resets: Any, state: Any, begin: Any) -> None:
    """Convolve `work.x` over time, in place; the last K − 1 inputs are state."""
    (T, B), D, past = resets.shape, net.width, net.conv_width - 1
    own = begin + net.layer_state - past * D
    u = work.room[:D]
    for t in range(T):
        for b in range(B):
            inputs = state[b, own : own + past * D]
            if resets[t, b]:
                for j in range(past * D):
                    inputs[j] = 0
            x = work.x[(t * B + b) * net.broadest :][:D]
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
def _recur(net: Any, work: Any, team: Any, layer: Any, resets: Any, state: Any, begin: Any, a: Any) -> None:
    """Run the cell over time: `a` becomes pre-activations, `state` moves along, h_t goes to `work.x`."""
    (T, B), H = resets.shape, net.cell_size
    size, flat = 2 * H if net.cell == _LSTM else H, state.reshape(state.size)
    for t in range(T):
        for b in range(B):
            if resets[t, b]:
                for j in range(size):
                    state[b, begin + j] = 0
        at, u = a + t * B * net.widest, 0
        if net.cell == _GRU:
            team.turn[_PLACE_OF_STATE] = 1 - team.turn[_PLACE_OF_STATE]
            u = team.turn[_PLACE_OF_STATE] * B * net.widest
            _begin_with_hidden_bias(net, team, layer, B, u)
            add_product(net, work, team, layer.w_hh, flat, begin, net.state_size, B, team.of_state, u)
        elif net.cell == _ELMAN or net.cell == _LSTM:
            add_product(net, work, team, layer.w_hh, flat, begin, net.state_size, B, team.shared, at)
        if t == 0 or net.cell <= _GRU:
            _meet(team)
        for b in range(B):
            own, now = team.shared[at + b * net.widest :][: net.gates], state[b]
            h = now[begin : begin + H]
            if net.cell == _ELMAN:
                activate(net.activation, own, h)
            elif net.cell == _LSTM:
                gates.lstm(own, h, now[begin + H : begin + 2 * H], work.room)
            elif net.cell == _GRU:
                gates.gru(own, team.of_state[u + b * net.widest :][: net.gates], h, work.room)
            else:
                gates.mingru(own, h, work.room)
            x = (t * B + b) * net.broadest
            for j in range(H):
                work.x[x + j] = h[j]


@compiled
def _begin_with_hidden_bias(net: Any, team: Any, layer: Any, B: Any, u: Any) -> None:
    """Write (0, 0, b_hn) into this thread's panels of each row."""
    low, high = share(net.gates, team.part, team.parts)
    candidate = 2 * net.cell_size
    for b in range(B):
        at = u + b * net.widest
        for j in range(low, high):
            biased = j >= candidate
            team.of_state[at + j] = net.numbers[layer.bias_hn + j - candidate] if biased else 0


@compiled
def _add_branch(net: Any, work: Any, team: Any, matrix: Any, rows: Any) -> None:
    """Add W x to the stream."""
    at, D = _begin_place(net, team, rows), net.width
    _begin_with(net, team, D, -1, rows, team.shared, at)
    add_product(net, work, team, matrix, work.x, 0, net.broadest, rows, team.shared, at)
    _meet(team)
    for r in range(rows):
        for j in range(D):
            work.stream[r * D + j] += team.shared[at + r * net.widest + j]


@compiled
def _gate(net: Any, work: Any, team: Any, layer: Any, rows: Any) -> None:
    """Compute silu(W_g v) ⊙ W_u v from v in `work.x`, into `work.x`."""
    at, M = _begin_place(net, team, rows), net.mlp_size
    _begin_with(net, team, 2 * M, -1, rows, team.shared, at)
    add_product(net, work, team, layer.gate_up, work.x, 0, net.broadest, rows, team.shared, at)
    _meet(team)
    for r in range(rows):
        own, x = team.shared[at + r * net.widest :][: 2 * M], work.x[r * net.broadest :][:M]
        open_ = work.room[:M]
        activate(_SIGMOID, own[:M], open_)
        for j in range(M):
            x[j] = own[j] * open_[j] * own[M + j]


@compiled
def _predict(net: Any, work: Any, team: Any, first: Any, rows: Any, logits: Any) -> None:
    """Compute (4) for rows from `first` on into logits (T', B, V)."""
    ends, B = net.ends[0], logits.shape[1]
    at = _begin_place(net, team, rows)
    _begin_with(net, team, net.vocab_size, ends.out_bias, rows - first, team.shared, at)
    x = first * net.broadest
    add_product(net, work, team, ends.out, work.x, x, net.broadest, rows - first, team.shared, at)
    _meet(team)
    for r in range(rows - first):
        begin, row = at + r * net.widest, logits[r // B, r % B]
        for v in range(net.vocab_size):
            row[v] = team.shared[begin + v]
