"""Learners that stop and resume, diverge, or compute in another precision."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.errors import DivergedError
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

from .cases import V, random_parameters
from .learners import SMALL, every_engine, learner_of, make, random_text, train_config
from .updates import VARIANTS

BAD_NUMBERS = [
    ("layers.0.cell.w_hh", float("nan"), r"step 7: the parameter layers.0.cell.w_hh is not finite"),
    ("out.weight", 1e300, r"step 7: .*training cannot continue from a non-finite loss or gradient"),
]


@every_engine
@pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_new_learner_resumes_from_saved_tensors(engine, method, settings, precision, rng):
    config = ModelConfig(cell="lstm", hidden_size=6, dropout_output=0.2)
    params, ids = random_parameters(config, rng), random_text(rng)
    train = train_config(average_decay=0.9, bias="pair", optimizer=method, precision=precision, **settings)
    plan = Plan(ids, train)
    learner = learner_of(engine, params, config, train)
    state, _ = learner.advance(plan, 0, 6, learner.initial_state(range(3)))
    tensors, saved = learner.tensors(), learner.export_state(state)
    assert {name.split(".")[0] for name in tensors} >= {"param", "average"}
    other = learner_of(engine, initial_parameters(config, V, 99), config, train)
    other.load_tensors(tensors)
    learner.advance(plan, 6, 6, state)
    other.advance(plan, 6, 6, other.import_state(saved))
    resumed = other.tensors()
    for name, value in learner.tensors().items():
        np.testing.assert_array_equal(resumed[name], value)


@every_engine
def test_tensors_are_copies(engine, rng):
    learner, settings = make(engine, SMALL, rng, average_decay=0.5)
    plan = Plan(random_text(rng), settings)
    state, _ = learner.advance(plan, 0, 1, learner.initial_state(range(3)))
    tensors = learner.tensors()
    before = {name: value.copy() for name, value in tensors.items()}
    learner.advance(plan, 1, 2, state)
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, before[name])


@every_engine
def test_a_learner_does_not_modify_its_initial_parameters(engine, rng):
    params, settings = random_parameters(SMALL, rng), train_config()
    before = {name: p.copy() for name, p in params.items()}
    learner = learner_of(engine, params, SMALL, settings)
    learner.advance(Plan(random_text(rng), settings), 0, 2, learner.initial_state(range(3)))
    for name, p in params.items():
        np.testing.assert_array_equal(p, before[name])


@every_engine
@pytest.mark.parametrize(("name", "value", "message"), BAD_NUMBERS, ids=["nan", "overflow"])
def test_non_finite_numbers_are_reported_and_change_nothing(engine, name, value, message, rng):
    learner, settings = make(engine, SMALL, rng, average_decay=0.5)
    tensors = learner.tensors()
    tensors[f"param.{name}"][:, 0] = value
    learner.load_tensors(tensors)
    before = learner.tensors()
    plan = Plan(random_text(rng), settings)
    with pytest.raises(DivergedError, match=message):
        learner.advance(plan, 7, 2, learner.initial_state(range(3)))
    for key, x in learner.tensors().items():
        np.testing.assert_array_equal(x, before[key])


@every_engine
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
def test_precision_is_that_of_parameters_moments_averages_and_state(engine, precision, cell, rng):
    config = ModelConfig(cell=cell, hidden_size=6, embedding_size=4, num_layers=2, dropout_layer=0.2)
    extras = {"average_decay": 0.9, "weight_decay": 0.1, "clip_value": 0.1, "initial_state": "normal"}
    learner, settings = make(engine, config, rng, precision=precision, **extras)
    plan = Plan(random_text(rng), settings, boundary_id=2)
    state, _ = learner.advance(plan, 0, 2, learner.initial_state(range(3)))
    kinds = {x.dtype for n, x in learner.tensors().items() if not n.endswith(".step")}
    kinds |= {x.dtype for layer in learner.export_state(state) for x in layer.values()}
    model = learner.model()
    logits, after = model.forward(np.zeros((1, 2), int), model.initial_state(1))
    kinds |= {logits.dtype} | {x.dtype for layer in model.export_state(after) for x in layer.values()}
    assert kinds == {np.dtype(precision)}
