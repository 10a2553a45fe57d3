"""Compiled φ and exp against float64 and libm: error bounds, large inputs, and NaN."""

import math

import numpy as np
import pytest

from charloom.kernels.library import ACTIVATIONS, library, pointer

EXP = 3
"""The code of the exponential, beside those of activations."""

EXP32 = 1e-7  # relative: a polynomial of degree 7 and three roundings; measured 8.3e-8
RATIO32 = 2e-7  # relative: the same and a division; measured 1.5e-7
EXACT64 = 1e-14  # relative: libm
LOG64 = 4e-16  # relative: a series and four roundings; measured 2.1e-16

EVERYWHERE = np.concatenate(
    [np.linspace(-87, 88, 400_001), np.geomspace(1e-30, 1, 10_001), -np.geomspace(1e-30, 1, 10_001)]
)
PLAIN = {"tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "relu": lambda a: np.maximum(a, 0)}


def applied(name, a):
    h = np.empty_like(a)
    code = EXP if name == "exp" else ACTIVATIONS[name]
    library().function("activate", str(a.dtype))(code, pointer(a), pointer(h), len(a))
    return h


def relative_error(found, exact):
    return np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float32).tiny)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, EXP32), (np.float64, EXACT64)])
def test_exp_matches_numpy(dtype, bound):
    x = EVERYWHERE.astype(dtype)
    found = applied("exp", x)
    assert relative_error(found, np.exp(x.astype(np.float64))).max() < bound


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, RATIO32), (np.float64, EXACT64)])
@pytest.mark.parametrize("name", PLAIN)
def test_activations_match_numpy(name, dtype, bound):
    a = EVERYWHERE.astype(dtype)
    assert relative_error(applied(name, a), PLAIN[name](a.astype(np.float64))).max() < bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_inputs_saturate_and_nan_stays_nan(dtype):
    a = np.array([-np.inf, -1e4, 1e4, np.inf, np.nan, 0.0], dtype)
    np.testing.assert_array_equal(applied("tanh", a), np.array([-1, -1, 1, 1, np.nan, 0], dtype))
    np.testing.assert_allclose(applied("sigmoid", a), np.array([0, 0, 1, 1, np.nan, 0.5], dtype), atol=1e-38)
    np.testing.assert_array_equal(applied("relu", a), np.array([0, 0, 1e4, np.inf, np.nan, 0], dtype))
    x = np.array([-1e4, np.nan, 0.0], dtype)
    np.testing.assert_allclose(applied("exp", x), [0, np.nan, 1], atol=1.3e-38)


def test_every_activation_of_the_configuration_has_a_code():
    import typing

    from charloom.config import ModelConfig

    assert set(ACTIVATIONS) == set(typing.get_args(typing.get_type_hints(ModelConfig)["activation"]))
    assert sorted(ACTIVATIONS.values()) == [0, 1, 2]
    assert math.isclose(applied("tanh", np.array([0.5]))[0], math.tanh(0.5))


@pytest.mark.parametrize("flavour", ["float64", "portable"])
def test_log_matches_numpy(flavour, rng):
    """The loss at V equal logits is log V."""
    nats_of_targets = library().function("nats_of_targets", flavour)
    dtype, found = np.dtype(np.float64 if flavour == "float64" else np.float32), []
    sizes = np.unique(np.concatenate([np.arange(1, 300), np.geomspace(300, 3e5, 60).astype(int)]))
    for V in sizes:
        logits, target, nats = np.zeros(V, dtype), np.zeros(1, np.int64), np.empty(1, dtype)
        nats_of_targets(pointer(logits), pointer(target), pointer(nats), 1, int(V))
        found.append(nats[0])
    exact = np.log(sizes.astype(np.float64))
    if flavour == "portable":  # float32 results of a float64 logarithm
        np.testing.assert_array_equal(found, exact.astype(np.float32))
    else:
        assert (np.abs(found - exact) <= LOG64 * exact).all()
