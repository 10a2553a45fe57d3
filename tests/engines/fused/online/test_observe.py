"""The measured update of each parameter in the online trainer, against torch's."""

import numpy as np
import pytest

from charloom.text.batching import Plan

from .settings import elman, make, parameters, settings_of, text

CASES = {
    "adagrad": ({}, {"optimizer": "adagrad", "epsilon": 1e-3}),
    "adam, clipped": ({}, {"optimizer": "adam", "clip_norm": 1e-3}),
    "clipped elements": ({}, {"optimizer": "sgd", "clip_value": 1e-4, "clip_norm": None}),
    "an embedding": ({"embedding_size": 3}, {"optimizer": "sgd"}),
    "one character": ({}, {"optimizer": "sgd", "bptt_length": 1, "clip_norm": 1e-3}),
    "decay": ({}, {"optimizer": "adagrad", "weight_decay": 0.1}),
}


@pytest.mark.parametrize(("network", "training"), CASES.values(), ids=CASES)
def test_observed_updates_match_torch(network, training, rng):
    config, settings = elman(**network), settings_of(**training)
    params, plan = parameters(config, rng), Plan(text(rng), settings)
    found = {}
    for engine in ("torch", "fused"):
        learner = make(engine, params, config, settings)
        state, _ = learner.advance(plan, 0, 3, learner.initial_state(range(1)))
        _, metrics = learner.advance(plan, 3, 1, state, observe=True)
        found[engine] = metrics.last_update
        total = np.sqrt(sum(one.grad_norm**2 for one in found[engine].values()))
        assert total == pytest.approx(metrics.grad_norm[0], rel=1e-9)
    assert found["fused"].keys() == found["torch"].keys()
    for name, one in found["fused"].items():
        reference = found["torch"][name]
        assert one.grad_norm > 0
        assert one.grad_norm == pytest.approx(reference.grad_norm, rel=1e-7), name
        assert one.weight_norm == pytest.approx(reference.weight_norm, rel=1e-9), name
        assert one.update_norm == pytest.approx(reference.update_norm, rel=1e-7), name
