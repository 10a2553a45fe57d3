"""Replicas that train alone between exchanges, against their equations and torch's own outer optimiser."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from charloom.engines import load_engine, map_state
from charloom.engines.torch.lane_sum import LaneSum
from charloom.engines.torch.learner import TorchLearner
from charloom.errors import ConfigError, DivergedError
from charloom.parameters import initial_parameters
from charloom.schedule import average_decay
from charloom.text.batching import Plan
from tests.training.small import MODEL, settings, small_corpus

CORPUS = small_corpus()
PARAMS = initial_parameters(MODEL, len(CORPUS.vocab), 0)
EVERY, ROUNDS = 3, 2


def config_of(**changes):
    shared = {"batch_size": 8, "precision": "float64", "sync_every": EVERY, "replicas": 2, "lane_groups": 1}
    return settings(**{**shared, **changes})


def learner_of(config):
    learner = load_engine("torch").learner(PARAMS, MODEL, config, device="cpu")
    learner.set_progress(((0, 0.0), (1000, 1.0)))
    return learner


def by_hand(config):
    """The shared weights after every exchange, with torch's SGD as the outer optimiser."""
    alone = dataclasses.replace(config, sync_every=None, replicas=None, average_decay=None)
    replicas = [
        TorchLearner(PARAMS, MODEL, alone, device="cpu", lane_sum=LaneSum(None, 1, (k, 2))) for k in range(2)
    ]
    states = [learner.initial_state(range(4 * k, 4 * k + 4)) for k, learner in enumerate(replicas)]
    plan = Plan(CORPUS.train, config)
    outer = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in PARAMS.values()]
    optimiser = torch.optim.SGD(outer, lr=0.7, momentum=0.9, nesterov=True)
    found = []
    for start in range(0, ROUNDS * EVERY, EVERY):
        for k, learner in enumerate(replicas):
            learner.set_progress(((0, 0.0), (1000, 1.0)))
            states[k], _ = learner.advance(plan, start, EVERY, states[k])
        for i, name in enumerate(PARAMS):
            outer[i].grad = outer[i].detach() - sum(r.params[name].detach() for r in replicas) / 2
        optimiser.step()
        for learner in replicas:
            for i, name in enumerate(PARAMS):
                learner.params[name].data.copy_(outer[i].detach())
        found.append({name: p.detach().numpy().copy() for name, p in zip(PARAMS, outer, strict=True)})
    return found


def test_the_outer_step_is_nesterovs():
    config = config_of()
    learner, expected = learner_of(config), by_hand(config)
    plan, state = Plan(CORPUS.train, config), learner.initial_state(range(8))
    for round_, weights in enumerate(expected):
        state, metrics = learner.advance(plan, round_ * EVERY, EVERY, state)
        assert metrics.chars.tolist() == [8 * 8] * EVERY
        for name, p in learner.model().parameters().items():
            np.testing.assert_allclose(p, weights[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_between_exchanges_the_shared_weights_stay_and_the_last_step_has_one():
    config = config_of(sync_every=4)
    learner, plan = learner_of(config), Plan(CORPUS.train, config)
    learner.advance(plan, 0, 3, learner.initial_state(range(8)))
    for name, p in learner.model().parameters().items():
        np.testing.assert_array_equal(p, np.asarray(PARAMS[name], np.float64))
    learner = learner_of(config)
    learner.set_progress(((0, 0.0), (3, 1.0)))
    learner.advance(plan, 0, 3, learner.initial_state(range(8)))
    assert any((p != PARAMS[name]).any() for name, p in learner.model().parameters().items())


def test_the_average_is_of_the_shared_weights():
    config = config_of(average_decay=0.9)
    learner, plan = learner_of(config), Plan(CORPUS.train, config)
    learner.advance(plan, 0, EVERY, learner.initial_state(range(8)))
    kept = math.prod(average_decay(config, step) for step in range(EVERY))
    for name, p in learner.model().parameters().items():
        expected = kept * np.asarray(PARAMS[name], np.float64) + (1 - kept) * learner.outer[name].numpy()
        np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-14)


def test_the_loss_is_the_mean_over_all_lanes():
    alone = settings(batch_size=8, precision="float64", lane_groups=1)
    joint, plan = load_engine("torch").learner(PARAMS, MODEL, alone, device="cpu"), Plan(CORPUS.train, alone)
    _, expected = joint.advance(plan, 0, 1, joint.initial_state(range(8)))
    learner = learner_of(config_of())
    _, metrics = learner.advance(plan, 0, 1, learner.initial_state(range(8)))
    assert metrics.loss == pytest.approx(expected.loss, rel=1e-12)


def test_a_replica_that_diverges_ends_the_training(monkeypatch):
    learner, plan = learner_of(config_of()), Plan(CORPUS.train, config_of())
    state = learner.initial_state(range(8))
    bad = map_state(state, lambda x: torch.cat([x[:4], x[4:] * float("nan")]))
    monkeypatch.setattr(plan, "carries", True)
    monkeypatch.setattr(plan, "_begins", lambda _step, lanes: np.zeros(len(lanes), bool))
    with pytest.raises(DivergedError, match="step 0"):
        learner.advance(plan, 0, 2, bad)


def test_a_replica_needs_a_lane():
    with pytest.raises(ConfigError, match="replicas is 9 and batch_size is 8"):
        learner_of(config_of(replicas=9))


def test_shared_weights_can_be_loaded_without_the_replicas():
    config = config_of()
    learner, plan = learner_of(config), Plan(CORPUS.train, config)
    learner.advance(plan, 0, 4, learner.initial_state(range(8)))  # one step after an exchange
    whole = learner.tensors()
    shared = {
        name: x + 1 if name.startswith("param.") else x for name, x in whole.items() if "replica" not in name
    }
    learner.load_tensors(shared)
    after = learner.tensors()
    for name, x in whole.items():
        expected = x + 1 if name.startswith("param.") else x
        np.testing.assert_array_equal(after[name], expected, err_msg=name)
