"""σ, tanh, relu and their slopes, including large inputs."""

import math

import numpy as np
import pytest

from charloom.engines.scratch.activations import ACTIVATIONS, sigmoid

from .derivative import IMAGINARY, RELATIVE

VALUES = {"tanh": math.tanh, "sigmoid": lambda a: 1 / (1 + math.exp(-a)), "relu": lambda a: max(a, 0.0)}
LIMITS = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "relu": (0.0, 1e4)}

every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@every_activation
def test_activations_match_their_formulas(name, rng):
    a = rng.normal(size=(3, 4)) * 4
    value, _ = ACTIVATIONS[name]
    expected = [[VALUES[name](x) for x in row] for row in a.tolist()]
    np.testing.assert_allclose(value(a), expected, rtol=1e-14)


@every_activation
def test_the_slope_is_the_derivative(name, rng):
    a = rng.normal(size=(3, 4)) * 3
    value, slope = ACTIVATIONS[name]
    numeric = value(a + 1j * IMAGINARY).imag / IMAGINARY
    np.testing.assert_allclose(slope(value(a)), numeric, rtol=RELATIVE)


@every_activation
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_values_reach_their_limits_without_warnings(name, dtype):
    value, slope = ACTIVATIONS[name]
    y = value(np.array([-1e4, 1e4], dtype))
    assert y.tolist() == list(LIMITS[name])
    assert slope(y).tolist() == ([0.0, 1.0] if name == "relu" else [0.0, 0.0])
    assert y.dtype == slope(y).dtype == dtype


def test_sigmoid_of_infinity_is_its_limit():
    assert sigmoid(np.array([-np.inf, np.inf])).tolist() == [0.0, 1.0]


def test_relu_slope_is_zero_at_the_corner():
    value, slope = ACTIVATIONS["relu"]
    assert slope(value(np.zeros(1))).item() == 0.0


@every_activation
def test_inputs_are_not_modified(name):
    a = np.array([-1.0, 0.5])
    value, slope = ACTIVATIONS[name]
    y = value(a)
    before = y.copy()
    slope(y)
    assert a.tolist() == [-1.0, 0.5]
    np.testing.assert_array_equal(y, before)


@every_activation
def test_results_can_overwrite_the_input(name, rng):
    a = rng.normal(size=(3, 4)) * 4
    value, _ = ACTIVATIONS[name]
    expected, other = value(a.copy()), np.empty_like(a)
    assert value(a, out=other) is other
    assert value(a, out=a) is a
    for written in (a, other):
        np.testing.assert_array_equal(written, expected)
