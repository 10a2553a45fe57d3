"""Optimiser rules of the online trainer against their equations in NumPy."""

from ctypes import byref

import numpy as np
import pytest

from charloom.config import TrainConfig
from charloom.engines.fused.online.updates import update_rule
from charloom.kernels.library import library, struct

LEVELS = library().levels if library() is not None else ()
CLOSE = {"float32": {"rtol": 1e-5, "atol": 1e-6}, "float64": {"rtol": 1e-12, "atol": 1e-14}}
RATE, COUNT, SCALE, BEGIN = 0.01, 3, 0.7, 5

SETTINGS = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    "adagrad": {"optimizer": "adagrad", "epsilon": 1e-3},
    "adagrad inside": {
        "optimizer": "adagrad",
        "epsilon": 1e-3,
        "epsilon_inside_root": True,
        "clip_value": 0.5,
    },
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "epsilon": 1e-3, "weight_decay": 0.1},
    "adam": {"optimizer": "adam", "weight_decay": 0.1, "clip_value": 0.5},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "beta1": 0.8},
}


def by_equations(config, w, g, first, second, *, decays):
    """Equations (1) to (7) of ``online_rules.h``."""
    decay = config.weight_decay if decays else 0.0
    ceiling = np.inf if config.clip_value is None else config.clip_value
    if config.optimizer == "adamw":
        w, decay = w * (1 - RATE * decay), 0.0
    d = np.clip(SCALE * g, -ceiling, ceiling) + decay * w
    if config.optimizer == "sgd":
        first = config.momentum * first + d
        return w - RATE * first, first, second
    if config.optimizer == "adagrad":
        second = second + d**2
        inside = config.epsilon_inside_root
        root = np.sqrt(second + config.epsilon) if inside else np.sqrt(second) + config.epsilon
        return w - RATE * d / root, first, second
    second = config.beta2 * second + (1 - config.beta2) * d**2
    if config.optimizer == "rmsprop":
        first = config.momentum * first + d / (np.sqrt(second) + config.epsilon)
        return w - RATE * first, first, second
    first = config.beta1 * first + (1 - config.beta1) * d
    root = np.sqrt(second / (1 - config.beta2**COUNT)) + config.epsilon
    return w - RATE / (1 - config.beta1**COUNT) * first / root, first, second


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("decays", [False, True])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("size", [1, 16, 83])
def test_a_rule_computes_its_equations(settings, size, decays, precision, level, rng):
    config = TrainConfig(**{"clip_value": None, **settings})
    arrays = rng.normal(size=(4, BEGIN + size)).astype(precision)
    w, g, first, second = arrays
    np.square(second, out=second)
    before = arrays.copy()
    expected = by_equations(config, *before[:, BEGIN:].astype(np.float64), decays=decays)
    vectors = struct("FlatVectors", size=len(w), w=w, g=g, first=first, second=second)
    update = library()._replace(level=level).function("update_segment", precision)
    update(byref(update_rule(config)), byref(vectors), BEGIN, len(w), decays, SCALE, RATE, COUNT)
    np.testing.assert_array_equal(arrays[:, :BEGIN], before[:, :BEGIN])  # outside the segment nothing moves
    np.testing.assert_array_equal(g, before[1])
    np.testing.assert_allclose(w[BEGIN:], expected[0], **CLOSE[precision])
    if settings != {"optimizer": "sgd"}:  # without momentum nothing is kept
        np.testing.assert_allclose(first[BEGIN:], expected[1], **CLOSE[precision])
    np.testing.assert_allclose(second[BEGIN:], expected[2], **CLOSE[precision])
