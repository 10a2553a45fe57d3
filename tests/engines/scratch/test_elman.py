"""The Elman cell: its derivative, one step by hand, and the window functions against single steps."""

import numpy as np
import pytest

from charloom.engines.scratch import elman

from .derivative import B, H, assert_backward_is_the_derivative_of_step, every_point

ACTIVATIONS = ("tanh", "sigmoid", "relu")
REORDERED = {"rtol": 1e-12, "atol": 1e-13}  # an in-place product over a batch may round differently
T = 6

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_length = pytest.mark.parametrize("length", [1, 2, T])


@every_point
@every_activation
@pytest.mark.parametrize("moved", ["w_ih", "w_hh", "bias", "x", "h"])
def test_backward_is_the_derivative_of_step(moved, activation, point, rng):
    settings = {"cell": "elman", "activation": activation}
    assert_backward_is_the_derivative_of_step(settings, moved, point, rng)


@pytest.mark.parametrize(
    ("activation", "expected"), [("tanh", -0.6351490), ("sigmoid", 0.3208213), ("relu", 0)]
)
def test_each_activation_is_applied_to_the_sum(activation, expected):  # by hand, seven digits
    params = elman.Params(w_ih=np.zeros((1, 1)), w_hh=np.array([[2.0]]), bias=np.zeros(1))
    state, _ = elman.step(params, np.array([[-1.25]]), elman.State(np.array([[0.25]])), activation)
    assert state.h.item() == pytest.approx(expected, abs=1e-6)  # φ(2 · 0.25 − 1.25)


def test_rows_of_w_hh_are_output_units():
    params = elman.Params(w_ih=np.zeros((2, 1)), w_hh=np.array([[0.0, 3.0], [0.0, 0.0]]), bias=np.zeros(2))
    state, _ = elman.step(params, np.zeros((1, 2)), elman.State(np.array([[0.0, 2.0]])), "relu")
    assert state.h.tolist() == [[6.0, 0.0]]


def random_window(rng, length=T, dtype="float64"):
    """(parameters, projections, first state, gradients of the states, gradient of the last one)."""
    params = elman.Params(np.zeros((H, 1), dtype), rng.normal(size=(H, H)).astype(dtype), np.zeros(H, dtype))
    arrays = (
        rng.normal(size=shape).astype(dtype) for shape in ((length, B, H), (B, H), (length, B, H), (B, H))
    )
    return params, *arrays


@every_activation
@every_length
def test_window_functions_equal_single_steps(activation, length, rng):
    params, a_x, h_0, d_h, d_last = random_window(rng, length)
    state, tapes, outputs = elman.State(h_0), [], []
    for t in range(length):
        state, tape = elman.step(params, a_x[t], state, activation)
        tapes.append(tape)
        outputs.append(state.h)
    h = elman.forward_window(params, a_x, h_0, activation)
    np.testing.assert_allclose(h, outputs, **REORDERED)

    d, d_a = elman.State(d_last), [d_last] * length
    for t in reversed(range(length)):
        d_a[t], d = elman.backward(params, tapes[t], elman.State(d.h + d_h[t]), activation)
    mine, d_h_0 = elman.backward_window(params, h, d_h, d_last, activation)
    np.testing.assert_allclose(mine, d_a, **REORDERED)
    np.testing.assert_allclose(d_h_0, d.h, **REORDERED)


@every_activation
def test_window_functions_keep_inputs_and_precision(activation, rng):
    params, *given = random_window(rng, dtype="float32")
    before = [x.copy() for x in given]
    a_x, h_0, d_h, d_last = given
    h = elman.forward_window(params, a_x, h_0, activation)
    kept = h.copy()
    d_a, d_h_0 = elman.backward_window(params, h, d_h, d_last, activation)
    for x, old in zip([*given, h], [*before, kept], strict=True):
        np.testing.assert_array_equal(x, old)
    assert {x.dtype for x in (h, d_a, d_h_0)} == {np.dtype("float32")}
