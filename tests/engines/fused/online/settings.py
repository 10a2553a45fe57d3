"""Helpers that run torch and the online trainer with the same weights and settings."""

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.text.batching import Plan

from ...cases import V, random_parameters

BASE = {
    "precision": "float64",
    "batch_size": 1,
    "bptt_length": 5,
    "steps": 20,
    "learning_rate": 0.01,
    "clip_norm": None,
    "stream_offset": "fixed",
}


def elman(**settings):
    return ModelConfig(**{"cell": "elman", "hidden_size": 9, **settings})


def settings_of(**settings):
    return TrainConfig(**{**BASE, **settings})


def parameters(config, rng):
    """Random parameters without chaotic dynamics, which would amplify rounding."""
    params = random_parameters(config, rng)
    params["layers.0.cell.w_hh"] *= 1.3 / np.sqrt(config.hidden_size)
    return params


def text(rng, size=200):
    return rng.integers(0, V, size=size).astype(np.uint8)


def make(engine, params, config, train_config):
    return load_engine(engine).learner(params, config, train_config, device="cpu")


def fused(config, rng, **settings):
    """An online learner with random parameters, and a plan over random text."""
    train_config = settings_of(**settings)
    learner = make("fused", parameters(config, rng), config, train_config)
    return learner, Plan(text(rng), train_config)


def advance(learner, plan, cuts, first_step=0, state=None):
    """Take `cuts` steps, one call per element: the state after them and all losses, norms and characters."""
    state = learner.initial_state(range(1)) if state is None else state
    measured = []
    for num in cuts:
        state, metrics = learner.advance(plan, first_step, num, state)
        measured.append((metrics.loss, metrics.grad_norm, metrics.chars))
        first_step += num
    return state, [np.concatenate(series) for series in zip(*measured, strict=True)]


def assert_equal_learners(one, other, *, compare=np.testing.assert_array_equal, **tolerance):
    ours, theirs = one.tensors(), other.tensors()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].shape == theirs[name].shape, name
        compare(ours[name], theirs[name], err_msg=name, **tolerance)


def same_bytes(one, other):
    ours, theirs = one.tensors(), other.tensors()
    return ours.keys() == theirs.keys() and all(ours[n].tobytes() == theirs[n].tobytes() for n in ours)
