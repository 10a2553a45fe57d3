"""Gated recurrent unit: one time step and its derivative.

    a_t = W_ih x_t + b,  u_t = W_hh h_{t-1}     (1)  three blocks each: r, z, n
    r, z = σ(a_r + u_r), σ(a_z + u_z)           (2)  reset and update gate
    m = u_n + b_hn                              (3)  recurrent part, gated by r
    n = tanh(a_n + r ⊙ m)                       (4)  candidate; the reset acts after the product
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}             (5)  z keeps

Source: Cho et al. (2014), in the form of PyTorch and cuDNN (reset after the recurrent product).
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).
The gradient d_a has four blocks: of a_r, a_z, a_n and, for the recurrent weights only, of m.
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
    """W_ih (3H, X), W_hh (3H, H), b (3H), b_hn (H)."""

    w_ih: Array
    w_hh: Array
    bias: Array
    bias_hn: Array


class State(NamedTuple):
    """h (B, H)."""

    h: Array


class Tape(NamedTuple):
    """Values of a step that `backward` needs, each (B, H)."""

    h_prev: Array
    r: Array
    z: Array
    m: Array
    n: Array


def project(params: Params, x: Array) -> Float[Array, "T B 3H"]:
    """The part of (1) that does not need the state, for the whole window."""
    return inputs.project(params.w_ih, params.bias, x)


def step(params: Params, a_x: Float[Array, "B 3H"], prev: State) -> tuple[State, Tape]:
    """Advance one time step."""
    a_r, a_z, a_n = np.split(a_x, 3, axis=1)
    u_r, u_z, u_n = np.split(prev.h @ params.w_hh.T, 3, axis=1)  # (1)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)  # (2)
    m = u_n + params.bias_hn  # (3)
    n = np.tanh(a_n + r * m)  # (4)
    h = (1 - z) * n + z * prev.h  # (5)
    return State(h), Tape(prev.h, r, z, m, n)


def backward(params: Params, tape: Tape, d_next: State) -> tuple[Float[Array, "B 4H"], State]:
    """Backward pass of `step`: (d_a, d_prev)."""
    h_prev, r, z, m, n = tape
    d_a_n = d_next.h * (1 - z) * (1 - n**2)  # (5), (4)
    d_a_z = d_next.h * (h_prev - n) * z * (1 - z)  # (5), (2)
    d_a_r = d_a_n * m * r * (1 - r)  # (4), (2)
    d_m = d_a_n * r  # (4), (3)
    d_u = np.concatenate([d_a_r, d_a_z, d_m], axis=1)
    d_h = d_next.h * z + d_u @ params.w_hh  # (5), (1)
    return np.concatenate([d_a_r, d_a_z, d_a_n, d_m], axis=1), State(d_h)


def input_part(d_a: Float[Array, "T B 4H"]) -> Float[Array, "T B 3H"]:
    """The gradient of W_ih x + b: the blocks of a_r, a_z and a_n."""
    return d_a[..., : 3 * (d_a.shape[-1] // 4)]


def weight_gradients(
    x: Array, h_prev: Float[Array, "T B H"], d_a: Float[Array, "T B 4H"], width: int
) -> Params:
    """The gradients of (1) and (3) in their weights, summed over the window, with one product each."""
    H = h_prev.shape[-1]
    d_x = np.ascontiguousarray(input_part(d_a))
    d_flat = inputs.flatten_time(d_a)
    d_u = np.concatenate([d_flat[:, : 2 * H], d_flat[:, 3 * H :]], axis=1)
    return Params(
        w_ih=inputs.weight_gradient(d_x, x, width),
        w_hh=d_u.T @ inputs.flatten_time(h_prev),
        bias=d_flat[:, : 3 * H].sum(axis=0),
        bias_hn=d_flat[:, 3 * H :].sum(axis=0),
    )
