"""The updates of a learner: objective, clipping, learning rate, average, observation."""

import numpy as np
import pytest

from charloom.schedule import learning_rate
from charloom.text.batching import Plan

from .cases import random_parameters
from .learners import (
    CARRY,
    SMALL,
    every_engine,
    group,
    learner_of,
    make,
    one_pass,
    random_text,
    random_window,
    train_config,
    update,
)

PLAIN_SGD = {"optimizer": "sgd", "schedule": "constant", "clip_norm": None}


@every_engine
def test_the_objective_is_the_mean_or_the_sum_of_the_windows_losses(engine, rng):
    window, params = random_window(rng), random_parameters(SMALL, rng)
    norms = {}
    for loss in ("mean", "sum"):
        learner = learner_of(engine, params, SMALL, train_config(loss=loss, clip_norm=None))
        _, value, norm, chars = update(learner, window)
        norms[loss] = (value, norm)
        assert chars == 15
    assert norms["sum"][0] == pytest.approx(norms["mean"][0], rel=1e-12)  # nats per character in both cases
    assert norms["sum"][1] == pytest.approx(15 * norms["mean"][1], rel=1e-9)


@every_engine
def test_the_reported_loss_is_the_mean_of_the_models_losses(engine, rng):
    learner, _ = make(engine, SMALL, rng)
    window, model = random_window(rng), learner.model()
    nats, _ = model.losses(window, model.initial_state(3))
    _, value, _, _ = update(learner, window)
    assert value == pytest.approx(nats.mean(), rel=CARRY)


@every_engine
def test_objective_last_trains_on_the_last_prediction_only(engine, rng):
    window = random_window(rng)
    learner, _ = make(engine, SMALL, rng, objective="last", batching="random")
    found, model = one_pass(learner, window), learner.model()
    nats, _ = model.losses(window, model.initial_state(3))
    assert found.count == 3
    assert found.total == pytest.approx(nats[:, -1].sum(), rel=CARRY)


@every_engine
@pytest.mark.parametrize(
    ("clip", "ceiling"), [("clip_norm", 0.05), ("clip_value", 0.002), ("clip_norm", 1e9)]
)
def test_clipping_limits_large_gradients_only(engine, clip, ceiling, rng):
    window, params = random_window(rng), random_parameters(SMALL, rng)
    config = train_config(**{**PLAIN_SGD, "learning_rate": 1.0, clip: ceiling})
    learner = learner_of(engine, params, SMALL, config)
    raw = {name: g.copy() for name, g in one_pass(learner, window).gradients.items()}
    norm = np.sqrt(sum((g**2).sum() for g in raw.values()))
    _, _, reported, _ = update(learner, window)
    assert reported == pytest.approx(norm, rel=1e-12)  # before clipping
    for name, p in group(learner).items():
        if clip == "clip_norm":
            expected = raw[name] * min(1.0, ceiling / norm)
        else:
            expected = np.clip(raw[name], -ceiling, ceiling)
        np.testing.assert_allclose(params[name] - p, expected, rtol=1e-7, atol=1e-15)


@every_engine
def test_the_norm_is_clipped_before_the_values(engine, rng):
    window, params = random_window(rng), random_parameters(SMALL, rng)
    config = train_config(**{**PLAIN_SGD, "learning_rate": 1.0, "clip_norm": 0.05, "clip_value": 0.01})
    learner = learner_of(engine, params, SMALL, config)
    raw = {name: g.copy() for name, g in one_pass(learner, window).gradients.items()}
    norm = np.sqrt(sum((g**2).sum() for g in raw.values()))
    update(learner, window)
    for name, p in group(learner).items():
        expected = np.clip(raw[name] * 0.05 / norm, -0.01, 0.01)
        np.testing.assert_allclose(params[name] - p, expected, rtol=1e-7, atol=1e-15)


@every_engine
def test_each_update_uses_the_scheduled_learning_rate(engine, rng):
    learner, config = make(engine, SMALL, rng, optimizer="sgd", clip_norm=None, warmup=2, learning_rate=0.5)
    learner.set_progress(((0, 0.0), (4, 0.7), (9, 1.0)))
    for step in (0, 1, 3, 7):
        window, before = random_window(rng), group(learner)["out.bias"]
        gradient = one_pass(learner, window).gradients["out.bias"].copy()
        update(learner, window, step=step)
        rate = learning_rate(config, learner.knots, step)
        np.testing.assert_allclose(
            before - group(learner)["out.bias"], rate * gradient, rtol=1e-9, atol=1e-15
        )


@every_engine
def test_the_average_is_exponential_and_forgets_faster_when_young(engine, rng):
    learner, settings = make(engine, SMALL, rng, average_decay=0.6)
    expected = group(learner)
    plan, state = Plan(random_text(rng), settings), learner.initial_state(range(3))
    for step in range(12):
        state, _ = learner.advance(plan, step, 1, state)
        decay = min(0.6, (1 + step) / (10 + step))
        averages = group(learner, "average")
        for name, p in group(learner).items():
            expected[name] = decay * expected[name] + (1 - decay) * p
            np.testing.assert_allclose(averages[name], expected[name], rtol=1e-12, atol=1e-14)
    weights = group(learner)
    for name, value in learner.model().parameters().items():
        np.testing.assert_array_equal(value, averages[name])
        assert (value != weights[name]).any()


@every_engine
def test_the_returned_model_does_not_change_in_later_training(engine, rng):
    for average_decay in (None, 0.5):
        learner, settings = make(engine, SMALL, rng, average_decay=average_decay)
        model = learner.model()
        before = model.parameters()
        learner.advance(Plan(random_text(rng), settings), 0, 3, learner.initial_state(range(3)))
        for name, value in model.parameters().items():
            np.testing.assert_array_equal(value, before[name])


@every_engine
def test_observing_an_update_does_not_change_it(engine, rng):
    learner, settings = make(engine, SMALL, rng, clip_norm=1e-3, freeze="out.bias")
    other, _ = make(engine, SMALL, rng, clip_norm=1e-3, freeze="out.bias")
    other.load_tensors(learner.tensors())
    plan = Plan(random_text(rng), settings)
    state, _ = learner.advance(plan, 0, 2, learner.initial_state(range(3)))
    before = group(learner)
    state, metrics = learner.advance(plan, 2, 1, state, observe=True)
    found = metrics.last_update
    after = group(learner)
    _, expected = other.advance(plan, 0, 3, other.initial_state(range(3)))
    for name, value in group(other).items():
        np.testing.assert_array_equal(value, after[name])
    assert metrics.loss[0] == expected.loss[2]
    assert found.keys() == before.keys()
    total = np.sqrt(sum(one.grad_norm**2 for one in found.values()))
    assert total == pytest.approx(metrics.grad_norm[0], rel=1e-9)  # before clipping
    assert total > 1e-2
    for name, one in found.items():
        assert one.weight_norm == pytest.approx(np.linalg.norm(before[name]), rel=1e-9)
        assert one.update_norm == pytest.approx(np.linalg.norm(after[name] - before[name]), rel=1e-6)
        assert (one.grad_norm == one.update_norm == 0) == (name == "out.bias")
