"""Minimal gated recurrent unit: one time step and its derivative, and a whole window as a linear scan.

    a_t = W_ih x_t + b                     (1)  two blocks: a_z, a_n
    z = σ(a_z)                             (2)  update gate; does not read the state
    n = g(a_n)                             (3)  g(a) = a + 0.5 if a ≥ 0, else σ(a)
    h_t = (1 − z) ⊙ h_{t-1} + z ⊙ n        (4)  here z writes

Source: Feng et al. (2024), "Were RNNs all we needed?", in its linear form: (4) is summed directly, never in
logarithms, and never below float32.
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.engines.scratch import inputs
from charloom.engines.scratch.activations import sigmoid
from charloom.kernels import linear_scan

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy import ndarray as Array


class Params(NamedTuple):
    """W_ih (2H, X), b (2H)."""

    w_ih: Array
    bias: Array


class State(NamedTuple):
    """h (B, H)."""

    h: Array


class Tape(NamedTuple):
    """Values of a step that `backward` needs, each (B, H)."""

    h_prev: Array
    z: Array
    n: Array


class ScanTape(NamedTuple):
    """Values of a window that `scan_backward` needs, each (T, B, H)."""

    keep: Array
    h_prev: Array
    h: Array
    z: Array
    n: Array


def candidate(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """The positive, continuous g of (3)."""
    return np.where(a >= 0, a + 0.5, sigmoid(a))


def candidate_slope(n: Float[Array, "..."]) -> Float[Array, "..."]:
    """g′ given g = `n`, which is at least 0.5 exactly if a ≥ 0."""
    return np.where(n >= 0.5, 1.0, n * (1 - n)).astype(n.dtype, copy=False)


def project(params: Params, x: Array) -> Float[Array, "T B 2H"]:
    """Equation (1) for the whole window."""
    return inputs.project(params.w_ih, params.bias, x)


def step(
    params: Params,  # noqa: ARG001 - the same signature for every cell
    a_x: Float[Array, "B 2H"],
    prev: State,
) -> tuple[State, Tape]:
    """Advance one time step."""
    a_z, a_n = np.split(a_x, 2, axis=1)  # (1)
    z, n = sigmoid(a_z), candidate(a_n)  # (2), (3)
    h = (1 - z) * prev.h + z * n  # (4)
    return State(h), Tape(prev.h, z, n)


def backward(
    params: Params,  # noqa: ARG001 - the same signature for every cell
    tape: Tape,
    d_next: State,
) -> tuple[Float[Array, "B 2H"], State]:
    """Backward pass of `step`: (d_a, d_prev)."""
    h_prev, z, n = tape
    d_a_z = d_next.h * (n - h_prev) * z * (1 - z)  # (4), (2)
    d_a_n = d_next.h * z * candidate_slope(n)  # (4), (3)
    d_a = np.concatenate([d_a_z, d_a_n], axis=1)  # (1)
    return d_a, State(d_next.h * (1 - z))  # (4)


def scan(
    a_x: Float[Array, "T B 2H"],
    h_0: Float[Array, "B H"],
    resets: Bool[Array, "T B"] | None,
    reset_state: Float[Array, "B H"],
) -> tuple[Float[Array, "T B H"], ScanTape]:
    """`step` over a whole window in one compiled loop; at a reset a row restarts from `reset_state`."""
    a_z, a_n = np.split(a_x, 2, axis=2)
    z, n = sigmoid(a_z), candidate(a_n)  # (2), (3)
    keep, update = 1 - z, z * n
    if resets is not None:
        here = resets[:, :, None]
        update = update + np.where(here, keep * reset_state, 0)
        keep = np.where(here, 0, keep).astype(z.dtype, copy=False)
    h = linear_scan.forward(_one_row(keep), _one_row(update), h_0.reshape(1, -1)).reshape(z.shape)
    h_prev = np.concatenate([h_0[None], h[:-1]])  # (4)
    if resets is not None:
        h_prev = np.where(here, reset_state, h_prev)
    return h, ScanTape(keep, h_prev, h, z, n)


def scan_backward(
    tape: ScanTape, d_h: Float[Array, "T B H"]
) -> tuple[Float[Array, "T B 2H"], Float[Array, "B H"]]:
    """Backward pass of `scan`: (d_a, d_h_0)."""
    keep, h_prev, h, z, n = tape
    h_0 = np.ascontiguousarray(h_prev[:1].reshape(1, -1))
    _, d_update, d_h_0 = linear_scan.backward(_one_row(keep), h_0, _one_row(h), _one_row(d_h))
    d_h_t = d_update.reshape(z.shape)  # the whole gradient of h_t: its own and what later steps send back
    d_a_z = d_h_t * (n - h_prev) * z * (1 - z)  # (4), (2)
    d_a_n = d_h_t * z * candidate_slope(n)  # (4), (3)
    return np.concatenate([d_a_z, d_a_n], axis=2), d_h_0.reshape(h.shape[1:])


def _one_row(x: Float[Array, "T B H"]) -> Float[Array, "1 T BH"]:
    """Batch and units as one axis, since the scan treats them alike."""
    return np.ascontiguousarray(x).reshape(1, len(x), -1)


def input_part(d_a: Float[Array, "T B 2H"]) -> Float[Array, "T B 2H"]:
    """The gradient of W_ih x + b: all of it."""
    return d_a


def weight_gradients(
    x: Array,
    h_prev: Float[Array, "T B H"],  # noqa: ARG001 - no weight multiplies the state
    d_a: Float[Array, "T B 2H"],
    width: int,
) -> Params:
    """The gradients of (1) in its weights, summed over the window, with one product each."""
    return Params(w_ih=inputs.weight_gradient(d_a, x, width), bias=inputs.flatten_time(d_a).sum(axis=0))
