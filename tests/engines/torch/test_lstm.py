"""The LSTM: one step by hand, the library kernel against the steps, torch.nn.LSTM."""

import math

import pytest
import torch

from charloom.engines.torch import lstm

from .windows import GOLDEN, assert_library_kernel_equals_steps, library_outputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
def test_library_kernel_equals_steps(dtype, grad, rng):
    with torch.set_grad_enabled(grad):
        assert_library_kernel_equals_steps({"cell": "lstm"}, lstm.library_kernel, dtype, rng, grad=grad)


def test_gate_blocks_are_in_the_order_i_f_g_o():
    open_, shut = 40.0, -40.0  # σ is 1 and 0 to seventeen digits
    params = {"w_hh": torch.zeros(4, 1, dtype=torch.float64)}
    prev = {"h": torch.zeros(1, 1, dtype=torch.float64), "c": torch.full((1, 1), 0.5, dtype=torch.float64)}

    def step(i, f, g, o):
        after = lstm.step(params, torch.tensor([[i, f, g, o]], dtype=torch.float64), prev)
        return float(after["h"]), float(after["c"])

    assert step(shut, open_, 0.3, open_) == pytest.approx((math.tanh(0.5), 0.5))
    assert step(open_, shut, 0.3, open_) == pytest.approx((math.tanh(math.tanh(0.3)), math.tanh(0.3)))
    assert step(open_, open_, 0.3, shut) == pytest.approx((0.0, 0.5 + math.tanh(0.3)))


def test_one_bias_matches_two_pytorch_biases(rng):  # golden: torch.nn.LSTM
    module = torch.nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
    ours, theirs = library_outputs({"cell": "lstm"}, module, rng)
    torch.testing.assert_close(ours, theirs, **GOLDEN)
