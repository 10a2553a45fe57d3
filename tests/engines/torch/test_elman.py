"""The Elman cell: one step by hand, the library kernel against the steps, torch.nn.RNN."""

import pytest
import torch

from charloom.engines.torch import elman

from .windows import GOLDEN, assert_library_kernel_equals_steps, library_outputs, random_cell


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_library_kernel_equals_steps(activation, dtype, rng):
    assert_library_kernel_equals_steps(
        {"cell": "elman", "activation": activation}, elman.library_kernel, dtype, rng
    )


def test_library_has_no_kernel_for_sigmoid(rng):
    config, params, x, state = random_cell({"cell": "elman", "activation": "sigmoid"}, torch.float64, rng)
    assert elman.library_kernel(params, x, state, config.activation) is None


def test_each_activation_is_applied_to_the_sum():
    params = {"w_hh": torch.tensor([[2.0]])}
    prev = {"h": torch.tensor([[0.25]])}
    a_x = torch.tensor([[-1.25]])  # 2 · 0.25 − 1.25 = −0.75
    expected = {"tanh": -0.6351490, "sigmoid": 0.3208213, "relu": 0.0}  # by hand, seven digits
    for activation, value in expected.items():
        h = elman.step(params, a_x, prev, activation)["h"]
        assert float(h) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_bias_matches_two_pytorch_biases(activation, rng):  # golden: torch.nn.RNN
    module = torch.nn.RNN(3, 4, nonlinearity=activation, batch_first=True, dtype=torch.float64)
    ours, theirs = library_outputs({"cell": "elman", "activation": activation}, module, rng)
    torch.testing.assert_close(ours, theirs, **GOLDEN)
