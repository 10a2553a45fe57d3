"""Frozen parameters keep every bit with every optimiser, and all others train as before."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.text.batching import Plan

from .cases import random_ids, random_parameters

MODEL = ModelConfig(cell="gru", hidden_size=5, embedding_size=4)
ENGINES = ("torch", "scratch")


def trained(engine, rng, **settings):
    params = random_parameters(MODEL, np.random.default_rng(3))
    config = TrainConfig(
        batch_size=3, bptt_length=6, steps=12, precision="float64", learning_rate=0.05, **settings
    )
    learner = load_engine(engine).learner(params, MODEL, config, device="cpu")
    plan = Plan(random_ids(np.random.default_rng(4), 1, 300)[0], config)
    learner.advance(plan, 0, 12, learner.initial_state(range(3)))
    return params, learner.tensors()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "adagrad", "rmsprop"])
def test_frozen_parameters_keep_every_bit_and_others_move(engine, optimizer, rng):
    before, after = trained(engine, rng, optimizer=optimizer, weight_decay=0.1, freeze="out.*, embedding")
    for name, value in before.items():
        same = np.array_equal(after[f"param.{name}"], value)
        assert same == (name.startswith("out.") or name == "embedding"), name


def test_both_engines_freeze_the_same_parameters(rng):
    (_, one), (_, other) = (trained(e, rng, freeze="*.w_hh", weight_decay=0.2) for e in ENGINES)
    for name in (n for n in one if n.startswith("param.")):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frozen_parameter_does_not_count_in_the_gradient_norm(engine, rng):
    params = random_parameters(MODEL, rng)
    ids = random_ids(rng, 1, 100)[0]
    norms = []
    for freeze in (None, "layers.*,embedding,out.weight"):
        config = TrainConfig(batch_size=2, bptt_length=8, steps=1, precision="float64", freeze=freeze)
        learner = load_engine(engine).learner(params, MODEL, config, device="cpu")
        _, metrics = learner.advance(Plan(ids, config), 0, 1, learner.initial_state(range(2)))
        norms.append(float(metrics.grad_norm[0]))
    assert 0 < norms[1] < norms[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pattern_without_a_match_is_an_error_with_the_names(engine, rng):
    with pytest.raises(ConfigError, match=r"no parameter matches bias: .*layers\.0\.cell\.bias_hn"):
        trained(engine, rng, freeze="bias")


@pytest.mark.parametrize("engine", ENGINES)
def test_freezing_everything_is_an_error(engine, rng):
    with pytest.raises(ConfigError, match="nothing is left to train"):
        trained(engine, rng, freeze="*")
