"""Connectivity: against central differences in one input, and a network that depends on a single position."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.insight.bptt import unroll
from charloom.insight.connectivity import connectivity
from charloom.parameters import initial_parameters
from tests.engines.cases import CASES, V, random_parameters

EPS = 1e-5
CLOSE = {"rel": 1e-5, "abs": 1e-9}  # central differences in float64
LAGS, N = 4, 8


def moved_logit(config, params, ids, place, direction, t):
    """The logit of the next character at step t with one input perturbed: that position reads a character of its own."""
    ids = ids.copy()
    char, ids[place] = ids[place], V
    if "embedding" in params:
        table = params["embedding"]
        moved = {"embedding": np.concatenate([table, [table[char] + direction]])}
    else:
        w = params["layers.0.cell.w_ih"]
        moved = {"layers.0.cell.w_ih": np.concatenate([w, (w[:, char] + w @ direction)[:, None]], axis=1)}
    target = char if place == t + 1 else ids[t + 1]
    return unroll(config, params | moved, ids[: t + 1, None]).logits[t, 0, target]


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_sensitivity_is_the_norm_of_a_derivative(config, rng):
    params, ids = random_parameters(config, rng, scale=0.5), rng.integers(0, V, N)
    found = connectivity(config, params, ids, LAGS)
    assert found.lean.shape == (N - 1 - LAGS, LAGS + 1)
    width = params["embedding"].shape[1] if "embedding" in params else V
    for row, t in enumerate(range(LAGS, N - 1)):
        for lag in (0, 1, LAGS):
            slopes = []
            for unit in EPS * np.eye(width):
                ends = [moved_logit(config, params, ids, t - lag, sign * unit, t) for sign in (1, -1)]
                slopes.append((ends[0] - ends[1]) / (2 * EPS))
            assert found.lean[row, lag] == pytest.approx(np.linalg.norm(slopes), **CLOSE), (t, lag)
    assert found.mean_by_lag == pytest.approx(found.lean.mean(axis=0))
    assert (found.ids[found.first :].size, found.first) == (len(found.lean), LAGS + 1)


def test_a_shift_register_depends_on_the_character_it_outputs(rng):
    """Each unit passes its input to the next one; the output reads the input of three steps back."""
    back, config = 3, ModelConfig(cell="elman", activation="relu", hidden_size=4 * V)
    params = {name: np.zeros_like(p) for name, p in initial_parameters(config, V, 0).items()}
    params["layers.0.cell.w_ih"][:V] = np.eye(V)
    params["layers.0.cell.w_hh"] = np.eye(4 * V, k=-V)
    params["layers.0.cell.bias"][:] = 1e-3  # keeps every unit on
    params["out.weight"][:, back * V :] = np.eye(V)
    found = connectivity(config, params, rng.integers(0, V, 30), 10)
    assert found.mean_by_lag.argmax() == back
    assert found.mean_by_lag[back] == pytest.approx(1.0)
    assert np.delete(found.mean_by_lag, back) == pytest.approx(0.0)


def test_no_prediction_depends_on_characters_before_a_boundary(rng):
    config, boundary = ModelConfig(cell="gru", hidden_size=5), V - 1
    params, ids = random_parameters(config, rng), rng.integers(0, V - 1, 12)
    ids[6] = boundary
    found = connectivity(config, params, ids, 4, boundary_id=boundary)
    for row, t in enumerate(range(4, 11)):
        for lag in range(5):
            across = t >= 6 > t - lag
            assert (found.lean[row, lag] == 0) == across
