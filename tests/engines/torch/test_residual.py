"""The parts of the residual block: RMSNorm and the causal convolution against plain loops."""

import numpy as np
import pytest
import torch

from charloom.engines.torch import residual

from ..convolution import naive_convolution

EXACT = {"rtol": 1e-12, "atol": 1e-14}  # float64, a handful of terms


@pytest.mark.parametrize("K", [1, 2, 4, 7])
@pytest.mark.parametrize("T", [1, 3, 8])
@pytest.mark.parametrize("reset_share", [None, 0.0, 0.3, 1.0])
def test_convolution_equals_a_plain_loop(K, T, reset_share, rng):
    x, past = rng.normal(size=(3, T, 4)), rng.normal(size=(3, K - 1, 4))
    weight, bias = rng.normal(size=(4, K)), rng.normal(size=4)
    resets = None if reset_share is None else rng.random((3, T)) < reset_share
    marks = None if resets is None else torch.tensor(resets.T)
    time_first = torch.tensor(x.swapaxes(0, 1))
    y, after = residual.convolve(time_first, *(torch.tensor(a) for a in (past, weight, bias)), marks)
    expected, expected_after = naive_convolution(x, past, weight, bias, resets)
    np.testing.assert_allclose(y.transpose(0, 1), expected, **EXACT)
    np.testing.assert_array_equal(after, expected_after)


def test_rms_norm_divides_by_the_root_of_the_mean_square(rng):
    x, gain = rng.normal(size=(2, 3, 5)) * 3, rng.normal(size=5)
    expected = gain * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(residual.norm(torch.tensor(x), torch.tensor(gain)), expected, **EXACT)


def test_rms_norm_of_zero_is_zero():
    assert not residual.norm(torch.zeros(1, 1, 4), torch.ones(4)).any()
