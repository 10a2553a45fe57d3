"""The LSTM: its derivative, and one step by hand."""

import math

import numpy as np
import pytest

from charloom.engines.scratch import lstm

from .derivative import assert_backward_is_the_derivative_of_step, every_point


@every_point
@pytest.mark.parametrize("moved", ["w_ih", "w_hh", "bias", "x", "h", "c"])
def test_backward_is_the_derivative_of_step(moved, point, rng):
    assert_backward_is_the_derivative_of_step({"cell": "lstm"}, moved, point, rng)


def test_blocks_are_in_the_order_i_f_g_o():
    open_, shut = 40.0, -40.0  # σ is 1 and 0 to seventeen digits
    params = lstm.Params(w_ih=np.zeros((4, 1)), w_hh=np.zeros((4, 1)), bias=np.zeros(4))
    prev = lstm.State(h=np.zeros((1, 1)), c=np.full((1, 1), 0.5))

    def step(i, f, g, o):
        after, _ = lstm.step(params, np.array([[i, f, g, o]]), prev)
        return after.h.item(), after.c.item()

    assert step(shut, open_, 0.3, open_) == pytest.approx((math.tanh(0.5), 0.5))
    assert step(open_, shut, 0.3, open_) == pytest.approx((math.tanh(math.tanh(0.3)), math.tanh(0.3)))
    assert step(open_, open_, 0.3, shut) == pytest.approx((0.0, 0.5 + math.tanh(0.3)))


def test_every_gate_reads_the_hidden_state():
    params = lstm.Params(np.zeros((4, 1)), w_hh=np.array([[1.0], [2.0], [3.0], [4.0]]), bias=np.zeros(4))
    state, _ = lstm.step(params, np.zeros((1, 4)), lstm.State(np.array([[0.1]]), np.array([[0.5]])))
    i, f, o = (1 / (1 + math.exp(-a)) for a in (0.1, 0.2, 0.4))
    c = f * 0.5 + i * math.tanh(0.3)
    assert (state.h.item(), state.c.item()) == pytest.approx((o * math.tanh(c), c))
