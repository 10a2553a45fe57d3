"""The GRU: its derivative, and one step by hand."""

import math

import numpy as np
import pytest

from charloom.engines.scratch import gru

from .derivative import assert_backward_is_the_derivative_of_step, every_point


@every_point
@pytest.mark.parametrize("moved", ["w_ih", "w_hh", "bias", "bias_hn", "x", "h"])
def test_backward_is_the_derivative_of_step(moved, point, rng):
    assert_backward_is_the_derivative_of_step({"cell": "gru"}, moved, point, rng)


def test_z_keeps_and_r_acts_after_the_recurrent_product():
    w_hh = np.array([[0.0], [0.0], [2.0]])
    params = gru.Params(w_ih=np.zeros((3, 1)), w_hh=w_hh, bias=np.zeros(3), bias_hn=np.array([0.7]))
    prev = gru.State(np.array([[0.5]]))
    big = 40.0  # σ(±big) is 1 and 0 to seventeen digits

    def step(r, z, n):
        return gru.step(params, np.array([[r, z, n]]), prev)[0].h.item()

    assert step(0.0, big, 0.1) == pytest.approx(0.5)
    assert step(-big, -big, 0.1) == pytest.approx(math.tanh(0.1))
    assert step(big, -big, 0.1) == pytest.approx(math.tanh(0.1 + 2 * 0.5 + 0.7))
    assert step(0.0, -big, 0.1) == pytest.approx(math.tanh(0.1 + 0.5 * (2 * 0.5 + 0.7)))


def test_both_gates_read_the_hidden_state():
    w_hh = np.array([[1.0], [2.0], [0.0]])
    params = gru.Params(w_ih=np.zeros((3, 1)), w_hh=w_hh, bias=np.zeros(3), bias_hn=np.array([0.7]))
    state, _ = gru.step(params, np.zeros((1, 3)), gru.State(np.array([[0.3]])))
    r, z = (1 / (1 + math.exp(-a)) for a in (0.3, 0.6))
    assert state.h.item() == pytest.approx((1 - z) * math.tanh(0.7 * r) + z * 0.3)
