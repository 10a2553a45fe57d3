"""Jacobians of a step: against central differences, and products that would under- or overflow if computed naively."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import cells
from charloom.insight.bptt import unroll
from charloom.insight.jacobian import jacobians, products, rows_back, step_jacobian
from tests.engines.cases import CASES, V, random_parameters
from tests.insight.test_gradient_flow import linear_network

EPS = 1e-5
CLOSE = {"rtol": 1e-5, "atol": 1e-9}
T = 8


def read_case(config, rng):
    return unroll(config, random_parameters(config, rng, scale=0.5), rng.integers(0, V, (T, 1)))


def numeric_jacobian(config, layer, t):
    """Columns by central differences of the cell's step; its projected input is inferred from a zero-state step."""
    cell = cells.CELLS[config.cell]
    own = cell.Params(**layer.cell)
    options = {"activation": config.activation} if config.cell == "elman" else {}
    prev = {"h": layer.h[t - 1]}
    if config.cell == "lstm":
        prev["c"] = layer.steps[t].c_prev
    a_x = cell.project(own, layer.read)[t]
    columns = []
    for key, value in prev.items():
        for unit in np.eye(value.shape[1]):
            ends = []
            for sign in (1, -1):
                moved = prev | {key: value + sign * EPS * unit}
                state, _ = cell.step(own, a_x, cell.State(**moved), **options)
                ends.append(np.concatenate([s[0] for s in state]))
            columns.append((ends[0] - ends[1]) / (2 * EPS))
    return np.array(columns).T


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_the_jacobian_of_a_step_is_its_derivative(config, rng):
    for layer in read_case(config, rng).layers:
        np.testing.assert_allclose(
            step_jacobian(config, layer, 4), numeric_jacobian(config, layer, 4), **CLOSE
        )


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
def test_products_are_those_of_plain_matrices(cell, rng):
    config = ModelConfig(cell=cell, hidden_size=5)
    (layer,) = read_case(config, rng).layers
    gains, growth = products(config, layer, range(T - 1, T - 6, -1))
    steps = [step_jacobian(config, layer, t) for t in range(T - 1, T - 6, -1)]
    plain = [np.linalg.multi_dot(steps[:k]) if k > 1 else steps[0] for k in range(1, 6)]
    np.testing.assert_allclose(gains, [np.log(np.linalg.norm(m, 2)) for m in plain], rtol=1e-9)
    diagonal = np.diagonal(np.linalg.qr(plain[-1].T)[1])
    np.testing.assert_allclose(growth, np.sort(np.log(np.abs(diagonal)))[::-1] / 5, rtol=1e-6)
    determinants = [np.linalg.slogdet(step)[1] for step in steps]
    assert growth.sum() == pytest.approx(np.mean(determinants), rel=1e-6)
    assert (np.diff(growth) <= 0).all()


def test_products_with_rows_do_not_need_the_matrix(rng):
    config = ModelConfig(cell="lstm", hidden_size=5)
    (layer,) = read_case(config, rng).layers
    rows = rng.normal(size=(2, 10))
    expected = rows @ step_jacobian(config, layer, 3)
    np.testing.assert_allclose(rows_back(config, layer, 3, rows), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("eigenvalue", [1e-6, 1.0, 1e6])
def test_a_long_product_neither_underflows_nor_overflows(eigenvalue, rng):
    config, params = linear_network(1.0)
    read = unroll(config, params, rng.integers(0, V, (90, 1)))
    read.layers[0].cell["w_hh"] = eigenvalue * read.layers[0].cell["w_hh"]  # the units stay on
    gains, growth = products(config, read.layers[0], range(89, 9, -1))
    np.testing.assert_allclose(gains, np.arange(1, 81) * np.log(eigenvalue), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(growth, np.log(eigenvalue), rtol=1e-9, atol=1e-9)


def test_the_growth_of_a_forgotten_direction_is_minus_infinity(rng):
    config, params = linear_network(1.0)
    read = unroll(config, params, rng.integers(0, V, (9, 1)))
    read.layers[0].cell["w_hh"] = 0 * read.layers[0].cell["w_hh"]
    gains, growth = products(config, read.layers[0], range(8, 4, -1))
    assert np.isneginf(gains).all()
    assert np.isneginf(growth).all()


def test_every_layer_is_measured_in_the_second_half(rng):
    config = CASES["lstm-plain-embedding-2"]
    read = read_case(config, rng)
    found = jacobians(read, num_steps=3, num_lags=4)
    assert [one.layer for one in found] == [0, 1]
    for one, layer in zip(found, read.layers, strict=True):
        values = [np.linalg.svd(step_jacobian(config, layer, t), compute_uv=False) for t in (4, 5, 7)]
        np.testing.assert_allclose(one.singular_values, np.mean(values, axis=0))
        np.testing.assert_allclose(one.largest, [v[0] for v in values])
        assert one.log_gain_by_lag.shape == (4,)
