"""Gradient flow: against central differences, a network with a known decay, and pitfalls of the measurement."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import loss
from charloom.insight.bptt import unroll
from charloom.insight.gradient_flow import describe, gradient_flow, measure
from charloom.insight.gradient_grid import grad_norm_by_lag, gradient_grid
from charloom.parameters import initial_parameters
from tests.engines.cases import CASES, H, V, random_parameters
from tests.insight.test_bptt import moved_losses

EPS = 1e-5
CLOSE = {"rel": 1e-5, "abs": 1e-9}  # central differences in float64
LAGS = 4


def numeric_norms(config, params, ids):
    """The mean over losses of ‖∂L_t/∂node_{t−k}‖ by lag, each component by central differences."""
    T, width = len(ids) - 1, unroll(config, params, ids[:-1, None]).layers[0].h.shape[2]
    sums = {}
    for layer in range(config.num_layers):
        for key in ("h", "c") if config.cell == "lstm" else ("h",):
            squares = np.zeros((T, T))  # loss, step
            for s in range(T):
                for unit in EPS * np.eye(width):
                    plus, minus = (
                        moved_losses(config, params, ids[:, None], None, (layer, key, s), sign * unit)
                        for sign in (1, -1)
                    )
                    squares[:, s] += ((plus - minus) / (2 * EPS)) ** 2
            norms = np.sqrt(squares)
            sums[layer, key] = [
                np.mean([norms[t, t - lag] for t in range(LAGS, T)]) for lag in range(LAGS + 1)
            ]
    return sums


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_norms_by_lag_match_central_differences(config, rng, monkeypatch):
    monkeypatch.setattr("tests.insight.test_bptt.T", LAGS + 3)
    params, ids = random_parameters(config, rng, scale=0.5), rng.integers(0, V, LAGS + 3)
    flow = measure(config, params, ids[None], LAGS)
    numeric = numeric_norms(config, params, ids)
    assert [(decay.layer, decay.array) for decay in flow.arrays] == sorted(
        numeric, key=lambda place: (place[0], place[1] != "h")
    )
    for decay in flow.arrays:
        assert decay.grad_norm_by_lag == pytest.approx(numeric[decay.layer, decay.array], **CLOSE)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
def test_one_plain_layer_agrees_with_the_gradient_grid(cell, rng):
    """Both treat h as a node; the grid treats c as an input of the next step, so only h is compared."""
    config = ModelConfig(cell=cell, hidden_size=H)
    params, ids = random_parameters(config, rng), rng.integers(0, V, 12)
    grid = gradient_grid(config, params, ids, 100)["h"]
    expected = [np.mean([grid[t, t - lag] for t in range(5, 11)]) for lag in range(6)]
    flow = measure(config, params, ids[None], 5)
    assert flow.arrays[0].grad_norm_by_lag == pytest.approx(expected, rel=1e-10)
    assert grad_norm_by_lag(grid)[0] > 0


def linear_network(eigenvalue, hidden_size=8):
    """ReLU units that are never off: a linear recurrence with W_hh = λ · a rotation of the units."""
    config = ModelConfig(cell="elman", activation="relu", hidden_size=hidden_size)
    params = initial_parameters(config, V, 0)
    params["layers.0.cell.w_hh"] = eigenvalue * np.roll(np.eye(hidden_size), 1, axis=0)
    params["layers.0.cell.w_ih"] = np.abs(params["layers.0.cell.w_ih"])
    params["layers.0.cell.bias"] = np.ones(hidden_size)
    return config, params


@pytest.mark.parametrize("eigenvalue", [0.3, 0.9, 1.0, 1.1])
def test_a_linear_network_decays_by_its_eigenvalue(eigenvalue, rng):
    config, params = linear_network(eigenvalue)
    (decay,) = measure(config, params, rng.integers(0, V, (2, 140)), 100).arrays
    share = decay.grad_norm_by_lag / decay.grad_norm_by_lag[0]
    # the mean is over the same losses at every lag, so the ratio is exact
    np.testing.assert_allclose(share, eigenvalue ** np.arange(101), rtol=1e-6)
    assert decay.decay_per_char == pytest.approx(eigenvalue, rel=1e-6)
    if eigenvalue < 1:
        assert decay.half_life_chars == pytest.approx(math.log(2) / -math.log(eigenvalue), rel=1e-6)
        assert decay.horizon_chars == math.ceil(math.log(0.01) / math.log(eigenvalue))
    elif eigenvalue > 1:
        assert (decay.half_life_chars, decay.horizon_chars) == (None, None)


def test_a_norm_that_underflows_in_float32_is_measured(rng):
    config, params = linear_network(0.3)
    params = {name: p.astype(np.float32) for name, p in params.items()}
    (decay,) = measure(config, params, rng.integers(0, V, (1, 130)), 110).arrays
    assert 0 < decay.grad_norm_by_lag[100] < 1e-45  # below the smallest float32


def test_no_gradient_is_counted_across_documents(rng):
    config, params = linear_network(0.9)
    boundary = V - 1
    ids = np.concatenate([np.array([boundary, *rng.integers(0, V - 1, 9)]) for _ in range(4)])
    (decay,) = measure(config, params, ids[None], 20, boundary_id=boundary).arrays
    share = decay.grad_norm_by_lag / decay.grad_norm_by_lag[0]
    assert len(share) == 10  # as in the longest document
    norms = exact_means(config, params, ids, boundary)
    np.testing.assert_allclose(share, norms / norms[0], rtol=1e-9)


def exact_means(config, params, ids, boundary):
    """For the linear network: ‖W_outᵀ d_y_t‖ λᵏ, averaged over losses with at least k earlier steps in their document."""
    read = unroll(config, params, ids[:-1, None], ids[:-1, None] == boundary)
    d = loss.backward(loss.log_softmax(read.logits), ids[1:, None])[:, 0] @ params["out.weight"]
    at, norms = np.arange(len(ids) - 1), np.linalg.norm(d, axis=1)
    return np.array([norms[(at >= 20) & (at % 10 >= lag)].mean() * 0.9**lag for lag in range(10)])


def test_the_flow_at_initialisation_is_measured_too(rng):
    config = ModelConfig(cell="gru", hidden_size=H)
    params, passages = random_parameters(config, rng), rng.integers(0, V, (2, 20))
    flow = gradient_flow(config, params, passages, 8, seed=3)
    initial = measure(config, initial_parameters(config, V, 3), passages, 8)
    trained = measure(config, params, passages, 8)
    assert (flow.num_lags, flow.num_losses) == (8, 2 * 11)
    assert (flow.initial.arrays[0].grad_norm_by_lag == initial.arrays[0].grad_norm_by_lag).all()
    assert (flow.trained.arrays[0].grad_norm_by_lag == trained.arrays[0].grad_norm_by_lag).all()


def test_the_horizon_of_a_network_is_its_largest_one(rng):
    config = ModelConfig(cell="elman", activation="relu", hidden_size=8, num_layers=2)
    params = initial_parameters(config, V, 0)
    for i, eigenvalue in enumerate((0.5, 0.1)):
        params[f"layers.{i}.cell.w_hh"] = eigenvalue * np.roll(np.eye(8), 1, axis=0)
        params[f"layers.{i}.cell.w_ih"] = np.abs(params[f"layers.{i}.cell.w_ih"])
        params[f"layers.{i}.cell.bias"] = np.ones(8)
    flow = measure(config, params, rng.integers(0, V, (1, 60)), 30)
    horizons = [decay.horizon_chars for decay in flow.arrays]
    assert horizons[1] == 2
    assert flow.memory_horizon_chars == horizons[0] >= 6


def test_a_zero_or_non_finite_curve_has_no_slope():
    flat = describe(0, "h", np.array([1.0, 0.0, 0.0]))
    assert (flat.decay_per_char, flat.half_life_chars, flat.horizon_chars) == (None, None, 1)
    wild = describe(0, "h", np.array([1.0, 4.0, 16.0, np.inf, np.nan]))
    assert wild.decay_per_char == pytest.approx(4.0)
    assert (wild.half_life_chars, wild.horizon_chars) == (None, None)
