"""The benchmark of the limits of recurrent networks: its arithmetic, on models with known answers."""

import json

import numpy as np

from benchmarks import limits
from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.insight.gradient_grid import grad_norm_by_lag, gradient_grid
from charloom.parameters import initial_parameters


def test_recorded_values_are_named_by_their_place():
    values = np.arange(300.0)
    assert limits.shown(values, first=1)["64"] == 63.0
    assert limits.shown(values, first=0)["64"] == 64.0
    assert list(limits.shown(values[:3], first=1)) == ["1", "2", "3"]


def test_the_gradient_in_the_whole_state_of_an_lstm(rng, monkeypatch):
    monkeypatch.setattr(limits, "LAGS", 6)
    monkeypatch.setattr(limits, "PASSAGES", 1)
    config = ModelConfig(cell="lstm", hidden_size=5)
    model = load_engine("scratch").model(initial_parameters(config, 7, 0), config)
    ids = rng.integers(0, 7, 8)
    grid = gradient_grid(config, model.parameters(), ids[:7], 6)
    expected = grad_norm_by_lag(np.hypot(grid["h"], grid["c"]))
    np.testing.assert_allclose(limits.mean_norm_by_lag(model, ids), expected, rtol=1e-12)
    assert grid["c"].max() > 0


def test_one_part_is_measured_and_the_other_figures_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "RESULTS", tmp_path)
    monkeypatch.setattr(limits, "PARTS", {"one": lambda: {"figure": 1}, "two": lambda: {"figure": 2}})
    limits.main()
    monkeypatch.setattr(limits, "PARTS", {"one": lambda: {"figure": 3}})
    limits.main(["one"])
    written = json.loads((tmp_path / "limits.json").read_text("utf-8"))
    assert (written["one"]["figure"], written["two"]["figure"]) == (3, 2)
    assert written["one"]["machine"]["versions"]["charloom"]
