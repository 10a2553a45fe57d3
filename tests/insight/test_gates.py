"""Gates: saturation and timescales, against plain counting and networks with fixed gates."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.insight.bptt import unroll
from charloom.insight.gates import GATES, gate_values, gates, timescale
from charloom.parameters import initial_parameters
from tests.engines.cases import SHORT_CASES, V, random_parameters

H = 6
T = 40


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def set_gates(cell, biases, rng):
    """A network with constant gates: gate g of every unit is σ(biases[g])."""
    config = ModelConfig(cell=cell, hidden_size=H)
    params = initial_parameters(config, V, 0)
    params["layers.0.cell.w_ih"][:] = 0
    params["layers.0.cell.bias"] = np.repeat(np.asarray(biases, float), H)
    if "layers.0.cell.w_hh" in params:
        params["layers.0.cell.w_hh"][:] = 0
    return unroll(config, params, rng.integers(0, V, (T, 2)))


KEEPS = {"lstm": (-3.0, 2.5, 0.0, 3.0), "gru": (-3.0, 2.5, 0.0), "mingru": (-2.5, 0.0)}


@pytest.mark.parametrize("cell", KEEPS)
def test_a_constant_gate_has_the_expected_timescale(cell, rng):
    found = gates(set_gates(cell, KEEPS[cell], rng))
    keep = sigmoid(2.5)
    assert found.timescales[0].chars == pytest.approx(np.full(H, -1 / np.log(keep)), rel=1e-9)
    assert found.timescales[0].median_chars == found.timescales[0].longest_chars
    assert found.num_chars == 2 * T


def test_closed_and_open_gates_are_distinguished(rng):
    found = {s.gate: s for s in gates(set_gates("lstm", (-3.0, 3.0, 0.0, 0.0), rng)).saturation}
    assert [(found[g].low.mean(), found[g].high.mean()) for g in "ifo"] == [(1, 0), (0, 1), (0, 0)]
    assert [found[g].saturated_fraction for g in "ifo"] == [1, 1, 0]
    assert found["i"].mean == pytest.approx(np.full(H, sigmoid(-3.0)))


@pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES)
def test_saturation_matches_plain_counting(config, rng):
    read = unroll(config, random_parameters(config, rng, scale=2.0), rng.integers(0, V, (T, 3)))
    found = gates(read)
    expected = GATES[config.cell] or ("activation",)
    assert [(s.layer, s.gate) for s in found.saturation] == [(i, g) for i in range(2) for g in expected]
    assert len(found.timescales) == (0 if config.cell == "elman" else 2)
    for s in found.saturation:
        if s.gate == "activation":
            continue
        values = np.array([getattr(step, s.gate) for step in read.layers[s.layer].steps]).reshape(3 * T, -1)
        assert s.low.tolist() == [np.mean([v < 0.1 for v in unit]) for unit in values.T]
        assert s.high.tolist() == [np.mean([v > 0.9 for v in unit]) for unit in values.T]
        assert s.saturated_fraction == pytest.approx(np.mean((values < 0.1) | (values > 0.9)))


@pytest.mark.parametrize(
    ("activation", "low", "high"), [("tanh", -0.8, 0.8), ("sigmoid", 0.1, 0.9), ("relu", 1e-300, np.inf)]
)
def test_an_activation_saturates_at_a_small_slope(activation, low, high, rng):
    config = ModelConfig(cell="elman", activation=activation, hidden_size=H)
    read = unroll(config, random_parameters(config, rng, scale=1.5), rng.integers(0, V, (T, 2)))
    (found,) = gates(read).saturation
    h = read.layers[0].h.reshape(-1, H)
    assert 0 < found.saturated_fraction < 1
    assert found.low == pytest.approx((h < low).mean(axis=0))
    assert found.high == pytest.approx((h > high).mean(axis=0))
    assert found.mean == pytest.approx(h.mean(axis=0))


def test_a_timescale_is_the_decay_time_of_a_product_of_gates(rng):
    """Even for a varying gate, e^−n is left after n · timescale steps."""
    keep = np.resize([0.99, 0.4, 0.9], (300, 1))
    (chars,) = timescale(keep)
    assert np.log(np.prod(keep)) == pytest.approx(-300 / chars, rel=1e-9)


def test_values_cover_every_step_and_row(rng):
    read = set_gates("gru", (0.0, 1.0, 0.0), rng)
    assert gate_values(read.layers[0], "z").shape == (2 * T, H)
