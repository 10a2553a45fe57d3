"""Monitoring during training gives the same numbers as the full measurements on one passage."""

import json

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.insight.bptt import unroll
from charloom.insight.gates import gates
from charloom.insight.gradient_flow import measure
from charloom.insight.monitor import GATE_CHARS, LAGS, LOSSES, monitor
from tests.engines.cases import SHORT_CASES, V, random_parameters


@pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES)
def test_the_monitor_gives_the_numbers_of_the_measurements(config, rng):
    ids, params = rng.integers(0, V, 400), random_parameters(config, rng)
    found = monitor(config, ids)(params)
    flow = measure(config, params, ids[None, : LAGS + LOSSES + 1], LAGS)
    for one in flow.arrays:
        np.testing.assert_allclose(
            found["grad_norm_by_lag"][f"layer {one.layer} {one.array}"], one.grad_norm_by_lag, rtol=1e-12
        )
    assert found["memory_horizon_chars"] == flow.memory_horizon_chars
    for one in gates(unroll(config, params, ids[:GATE_CHARS, None])).saturation:
        assert found["saturation"][f"layer {one.layer} {one.gate}"] == one.saturated_fraction
    json.dumps(found, allow_nan=False)


def test_a_short_text_and_documents(rng):
    config = ModelConfig(cell="gru", hidden_size=5)
    found = monitor(config, rng.integers(0, V, 12), boundary_id=0)(random_parameters(config, rng))
    assert found["saturation"].keys() == {"layer 0 r", "layer 0 z"}
    assert len(found["grad_norm_by_lag"]["layer 0 h"]) <= 7


def test_exploding_norms_are_reported_as_none(rng):
    config = ModelConfig(cell="elman", hidden_size=5, activation="relu")
    params = {name: np.abs(p) * 1e30 for name, p in random_parameters(config, rng).items()}
    found = monitor(config, rng.integers(0, V, 60))(params)
    json.dumps(found, allow_nan=False)
    assert None in found["grad_norm_by_lag"]["layer 0 h"]
