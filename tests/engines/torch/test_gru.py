"""The GRU: one step by hand, the library kernel against the steps, torch.nn.GRU."""

import math

import pytest
import torch

from charloom.engines.torch import gru

from .windows import GOLDEN, assert_library_kernel_equals_steps, library_outputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_library_kernel_equals_steps(dtype, rng):
    assert_library_kernel_equals_steps({"cell": "gru"}, gru.library_kernel, dtype, rng)


def test_z_keeps_and_r_acts_after_the_recurrent_product():
    params = {
        "w_hh": torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64),
        "bias_hn": torch.tensor([0.7], dtype=torch.float64),
    }
    prev = {"h": torch.tensor([[0.5]], dtype=torch.float64)}
    big = 40.0  # σ is 1 and 0 to seventeen digits

    def step(r, z, n):
        return float(gru.step(params, torch.tensor([[r, z, n]], dtype=torch.float64), prev)["h"])

    assert step(0.0, big, 0.1) == pytest.approx(0.5)
    assert step(-big, -big, 0.1) == pytest.approx(math.tanh(0.1))
    assert step(big, -big, 0.1) == pytest.approx(math.tanh(0.1 + 2 * 0.5 + 0.7))
    assert step(0.0, -big, 0.1) == pytest.approx(math.tanh(0.1 + 0.5 * (2 * 0.5 + 0.7)))


def test_bias_and_bias_hn_match_two_pytorch_biases(rng):  # golden: torch.nn.GRU
    module = torch.nn.GRU(3, 4, batch_first=True, dtype=torch.float64)
    ours, theirs = library_outputs({"cell": "gru"}, module, rng)
    torch.testing.assert_close(ours, theirs, **GOLDEN)
