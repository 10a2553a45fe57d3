"""Long short-term memory: one time step and its derivative.

    a_t = W_ih x_t + W_hh h_{t-1} + b     (1)  four blocks: a_i, a_f, a_g, a_o
    i, f, o = σ(a_i), σ(a_f), σ(a_o)      (2)  input, forget and output gate
    g = tanh(a_g)                         (3)  candidate
    c_t = f ⊙ c_{t-1} + i ⊙ g             (4)  cell state
    h_t = o ⊙ tanh(c_t)                   (5)  hidden state

Source: Hochreiter & Schmidhuber (1997); forget gate of Gers et al. (2000); no peepholes, one bias.
Blocks are packed i, f, g, o as in every engine, so weights move between engines unpermuted.
Shapes: T time, B batch, X input size, H hidden size. State is (h, c), each (B, H); the layer above reads h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.engines.scratch import inputs
from charloom.engines.scratch.activations import sigmoid

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


class Params(NamedTuple):
    """W_ih (4H, X), W_hh (4H, H), b (4H)."""

    w_ih: Array
    w_hh: Array
    bias: Array


class State(NamedTuple):
    """h and c, each (B, H)."""

    h: Array
    c: Array


class Tape(NamedTuple):
    """Values of a step that `backward` needs, each (B, H)."""

    c_prev: Array
    i: Array
    f: Array
    g: Array
    o: Array
    tanh_c: Array


def project(params: Params, x: Array) -> Float[Array, "T B 4H"]:
    """The part of (1) that does not need the state, for the whole window."""
    return inputs.project(params.w_ih, params.bias, x)


def step(params: Params, a_x: Float[Array, "B 4H"], prev: State) -> tuple[State, Tape]:
    """Advance one time step."""
    a = a_x + prev.h @ params.w_hh.T  # (1)
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)  # (2)
    g = np.tanh(a_g)  # (3)
    c = f * prev.c + i * g  # (4)
    tanh_c = np.tanh(c)
    return State(h=o * tanh_c, c=c), Tape(prev.c, i, f, g, o, tanh_c)  # (5)


def backward(params: Params, tape: Tape, d_next: State) -> tuple[Float[Array, "B 4H"], State]:
    """Backward pass of `step`: (d_a, d_prev)."""
    c_prev, i, f, g, o, tanh_c = tape
    d_c = d_next.c + d_next.h * o * (1 - tanh_c**2)  # (5)
    d_a_i = d_c * g * i * (1 - i)  # (4), (2)
    d_a_f = d_c * c_prev * f * (1 - f)  # (4), (2)
    d_a_g = d_c * i * (1 - g**2)  # (4), (3)
    d_a_o = d_next.h * tanh_c * o * (1 - o)  # (5), (2)
    d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o], axis=1)
    return d_a, State(h=d_a @ params.w_hh, c=d_c * f)  # (1), (4)


def input_part(d_a: Float[Array, "T B 4H"]) -> Float[Array, "T B 4H"]:
    """The gradient of W_ih x + b: all of it."""
    return d_a


def weight_gradients(
    x: Array, h_prev: Float[Array, "T B H"], d_a: Float[Array, "T B 4H"], width: int
) -> Params:
    """The gradients of (1) in its weights, summed over the window, with one product each."""
    d_flat = inputs.flatten_time(d_a)
    return Params(
        w_ih=inputs.weight_gradient(d_a, x, width),
        w_hh=d_flat.T @ inputs.flatten_time(h_prev),
        bias=d_flat.sum(axis=0),
    )
