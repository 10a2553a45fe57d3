"""The benchmark of what recurrent networks cannot do: its arithmetic, on models whose answer is known."""

import json

import numpy as np
import pytest

from benchmarks import limits
from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.engines.scratch.walk import grad_norm_by_lag, gradient_walk
from charloom.parameters import initial_parameters


class Counting:
    """A model whose loss is the id to predict, and 1/k for the k characters that it has read."""

    def initial_state(self, batch_size):
        return batch_size

    def losses(self, window, state):
        assert state == len(window.inputs)
        return window.targets + 1 / np.arange(1, window.inputs.shape[1] + 1), state


def test_every_element_of_the_context_curve_is_a_mean_over_the_same_characters():
    ids = np.arange(40.0) ** 2
    curve = limits.context_curve(Counting(), ids, reach=8, targets=20)
    assert curve == pytest.approx(ids[8:28].mean() + 1 / np.arange(1, 9))


def test_stretches_of_a_long_text_lie_evenly_from_its_start_to_its_end():
    ids = np.arange(100.0)
    curve = limits.context_curve(Counting(), ids, reach=4, targets=10)
    firsts = np.linspace(0, 82, 5).astype(int) + 4
    assert curve[0] - 1 == pytest.approx(np.mean([np.arange(first, first + 10) for first in firsts]))


def test_enough_is_where_all_further_characters_gain_under_one_per_cent():
    curve = np.array([3.0, 1.5, 1.02, 1.009, *[1.0] * limits.TAIL])
    assert limits.enough(curve) == 4


def test_the_horizon_is_the_first_lag_with_one_per_cent_of_the_gradient():
    assert limits.horizon(np.array([2.0, 1.0, 0.03, 0.02, 0.5])) == 3
    assert limits.horizon(np.array([2.0, 1.0])) is None


def test_what_is_shown_is_named_by_its_place():
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
    walk = gradient_walk(config, model.parameters(), ids[:7], 6)
    expected = grad_norm_by_lag(np.hypot(walk["h"], walk["c"]))
    np.testing.assert_allclose(limits.mean_walk(model, ids), expected, rtol=1e-12)
    assert walk["c"].max() > 0


def test_a_part_is_measured_alone_and_the_others_figures_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "RESULTS", tmp_path)
    monkeypatch.setattr(limits, "PARTS", {"one": lambda: {"figure": 1}, "two": lambda: {"figure": 2}})
    limits.main()
    monkeypatch.setattr(limits, "PARTS", {"one": lambda: {"figure": 3}})
    limits.main(["one"])
    written = json.loads((tmp_path / "limits.json").read_text("utf-8"))
    assert (written["one"]["figure"], written["two"]["figure"]) == (3, 2)
    assert written["one"]["machine"]["versions"]["charloom"]
