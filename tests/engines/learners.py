"""Helpers for tests of learners: the engines that train, small windows of random text, one forward and backward pass."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.text.batching import Window

from .cases import V, random_ids, random_parameters

ENGINES = ("torch", "scratch")
every_engine = pytest.mark.parametrize("engine", ENGINES)

CARRY = 1e-12  # float64: a product over one row may round differently
BASE = {"precision": "float64", "batch_size": 3, "bptt_length": 5, "steps": 20, "stream_offset": "fixed"}
SMALL = ModelConfig(hidden_size=6, embedding_size=4)
TINY = 1e-300
"""A learning rate so small that no parameter changes."""


def train_config(**settings):
    return TrainConfig(**{**BASE, **settings})


def make(engine, model_config, rng, **settings):
    """A learner with random parameters, and its configuration."""
    config = train_config(**settings)
    return learner_of(engine, random_parameters(model_config, rng), model_config, config), config


def learner_of(engine, params, model_config, config):
    return load_engine(engine).learner(params, model_config, config, device="cpu")


def random_text(rng, size=200):
    return rng.integers(0, V, size=size)


def random_window(rng, rows=3, length=5):
    ids, targets = random_ids(rng, rows, length), random_ids(rng, rows, length)
    return Window(ids, targets, np.zeros((rows, length), bool))


class Pass(NamedTuple):
    """One forward and backward pass: summed loss, number of predictions, gradients of the objective, state after it."""

    total: float
    count: int
    gradients: dict[str, np.ndarray]
    after: Any


def one_pass(learner, window, *, step=0, state=None):
    """Loss and gradients of a window, without an update."""
    state = learner.initial_state(range(len(window.inputs))) if state is None else state
    total, count, gradients, after = learner.gradients(step, window, state)
    arrays = {name: g.numpy() if hasattr(g, "numpy") else g for name, g in gradients.items()}
    return Pass(float(total), count, arrays, after)


class OneWindow(NamedTuple):
    """A plan with the same window at every step."""

    the_window: Any
    carries: bool = True

    @property
    def batch_size(self):
        return len(self.the_window.inputs)

    def num_rows(self, _step):
        return self.batch_size

    def window(self, _step, _lanes):
        return self.the_window


def update(learner, window, *, step=0, state=None):
    """Take one update on a window: (state after it, loss, gradient norm, characters)."""
    state = learner.initial_state(range(len(window.inputs))) if state is None else state
    after, metrics = learner.advance(OneWindow(window), step, 1, state)
    return after, float(metrics.loss[0]), float(metrics.grad_norm[0]), int(metrics.chars[0])


def group(learner, prefix="param"):
    """A learner's parameters, or another group of tensors in its checkpoints."""
    return {
        n.removeprefix(f"{prefix}."): x for n, x in learner.tensors().items() if n.startswith(f"{prefix}.")
    }


def assert_states_equal(mine, theirs, **tolerance):
    """Check that two states with NumPy leaves are equal, bit for bit or within a tolerance."""
    for own, other in zip(mine, theirs, strict=True):
        assert own.keys() == other.keys()
        for key, x in own.items():
            np.testing.assert_allclose(x, other[key], **(tolerance or {"rtol": 0, "atol": 0}))
