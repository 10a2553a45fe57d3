"""Elman network: one time step and its derivative.

    a_t = W_ih x_t + W_hh h_{t-1} + b     (1)
    h_t = φ(a_t)                          (2)  φ is tanh, σ or relu

Source: Elman (1990), in the form of PyTorch's ``nn.RNN`` with one bias.
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.engines.scratch import inputs
from charloom.engines.scratch.activations import ACTIVATIONS

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


class Params(NamedTuple):
    """W_ih (H, X), W_hh (H, H), b (H)."""

    w_ih: Array
    w_hh: Array
    bias: Array


class State(NamedTuple):
    """h (B, H)."""

    h: Array


class Tape(NamedTuple):
    """The value that `backward` needs of a step: φ's slope follows from it."""

    h: Array


def project(params: Params, x: Array) -> Float[Array, "T B H"]:
    """The part of (1) that does not need the state, for the whole window."""
    return inputs.project(params.w_ih, params.bias, x)


def step(
    params: Params, a_x: Float[Array, "B H"], prev: State, activation: str = "tanh"
) -> tuple[State, Tape]:
    """Advance one time step."""
    phi, _ = ACTIVATIONS[activation]
    h = phi(a_x + prev.h @ params.w_hh.T)  # (1), (2)
    return State(h), Tape(h)


def backward(
    params: Params, tape: Tape, d_next: State, activation: str = "tanh"
) -> tuple[Float[Array, "B H"], State]:
    """Backward pass of `step`: (d_a, d_prev)."""
    _, slope = ACTIVATIONS[activation]
    d_a = d_next.h * slope(tape.h)  # (2)
    return d_a, State(h=d_a @ params.w_hh)  # (1)


def forward_window(
    params: Params, a_x: Float[Array, "T B H"], h_0: Float[Array, "B H"], activation: str = "tanh"
) -> Float[Array, "T B H"]:
    """`step` over a whole window, in place: for small networks, calls and new arrays cost most of the time."""
    phi, _ = ACTIVATIONS[activation]
    h, w, prev = np.empty_like(a_x), params.w_hh.T, h_0
    for h_t, a_x_t in zip(h, a_x, strict=True):
        np.dot(prev, w, out=h_t)
        h_t += a_x_t  # (1)
        phi(h_t, out=h_t)  # (2)
        prev = h_t
    return h


def backward_window(
    params: Params,
    h: Float[Array, "T B H"],
    d_h: Float[Array, "T B H"],
    d_last: Float[Array, "B H"],
    activation: str = "tanh",
) -> tuple[Float[Array, "T B H"], Float[Array, "B H"]]:
    """`backward` over a whole window, in place: (d_a at every time step, d_h_0)."""
    _, slope = ACTIVATIONS[activation]
    d_a, w, d = slope(h), params.w_hh, d_last.copy()
    for d_a_t, d_h_t in zip(d_a[::-1], d_h[::-1], strict=True):
        d += d_h_t
        d_a_t *= d  # (2)
        np.dot(d_a_t, w, out=d)  # (1)
    return d_a, d


def input_part(d_a: Float[Array, "T B H"]) -> Float[Array, "T B H"]:
    """The gradient of W_ih x + b: all of it."""
    return d_a


def weight_gradients(
    x: Array, h_prev: Float[Array, "T B H"], d_a: Float[Array, "T B H"], width: int
) -> Params:
    """The gradients of (1) in its weights, summed over the window, with one product each."""
    d_flat = inputs.flatten_time(d_a)
    return Params(
        w_ih=inputs.weight_gradient(d_a, x, width),
        w_hh=d_flat.T @ inputs.flatten_time(h_prev),
        bias=d_flat.sum(axis=0),
    )
