"""The flat vector of all parameters, and each optimiser on it against its published update."""

import numpy as np
import pytest

from charloom.config import TrainConfig
from charloom.engines.scratch.optimisers import Flat, Optimiser
from charloom.errors import ConfigError

from ..updates import ROUNDING, SHAPES, STEPS, TWINS, VARIANTS, configured_methods, start, take

every_variant = pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
FLOAT64 = np.dtype("float64")


def make(config, weights, dtype=FLOAT64):
    flat = Flat(weights, dtype)
    return flat.views(flat.vector), flat, Optimiser(flat, config)


def update(flat, optimiser, gradients, learning_rate):
    d = np.empty_like(flat.vector)
    flat.gather(gradients, d)
    optimiser.step(d, learning_rate)


@every_variant
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_each_optimiser_takes_its_published_update(method, settings, weight_decay, rng):
    config = TrainConfig(optimizer=method, weight_decay=weight_decay, **settings)
    weights, states = start(rng), {name: {} for name in SHAPES}
    views, flat, optimiser = make(config, weights)
    for t in range(1, STEPS + 1):
        gradients, learning_rate = start(rng), 0.1 / t
        update(flat, optimiser, gradients, learning_rate)
        weights = take(config, weights, gradients, states, t, learning_rate)
        for name, w in weights.items():
            np.testing.assert_allclose(views[name], w, **ROUNDING, err_msg=f"{name} {t}")


def test_every_optimiser_except_muon_is_supported():
    assert configured_methods() == {*TWINS, "muon"}
    with pytest.raises(
        ConfigError, match=r"optimizer is muon and engine is scratch.*sgd, adagrad, rmsprop, adam, adamw"
    ):
        Optimiser(Flat({"out.bias": np.zeros(3)}, FLOAT64), TrainConfig(optimizer="muon"))


@every_variant
def test_a_new_optimiser_resumes_from_saved_moments(method, settings, rng):
    config = TrainConfig(optimizer=method, weight_decay=0.1, **settings)
    views, flat, optimiser = make(config, start(rng))
    drawn = [start(rng) for _ in range(2 * STEPS)]
    for gradients in drawn[:STEPS]:
        update(flat, optimiser, gradients, 0.1)
    saved = optimiser.tensors()
    assert all(any(name.startswith(f"{p}.") for p in SHAPES) for name in saved)
    other, other_flat, resumed = make(config, {name: w.copy() for name, w in views.items()})
    resumed.load(saved)
    for gradients in drawn[STEPS:]:
        update(flat, optimiser, gradients, 0.1)
        update(other_flat, resumed, gradients, 0.1)
    for name in SHAPES:
        np.testing.assert_array_equal(other[name], views[name])


@every_variant
def test_moments_are_shaped_like_their_parameters_and_copied(method, settings, rng):
    _, flat, optimiser = make(TrainConfig(optimizer=method, **settings), start(rng))
    update(flat, optimiser, start(rng), 0.1)
    saved = optimiser.tensors()
    before = {name: x.copy() for name, x in saved.items()}
    update(flat, optimiser, start(rng), 0.1)
    for name, x in saved.items():
        parameter, _, key = name.rpartition(".")
        assert x.shape == (() if key == "step" else SHAPES[parameter])
        np.testing.assert_array_equal(x, before[name])
    counts = {float(x) for name, x in saved.items() if name.endswith(".step")}
    assert counts == (set() if method == "sgd" or "epsilon_inside_root" in settings else {1.0})


def test_loading_no_moments_resets_the_optimiser(rng):
    config = TrainConfig(optimizer="adam")
    _, flat, optimiser = make(config, start(rng))
    update(flat, optimiser, start(rng), 0.1)
    optimiser.load({})
    assert optimiser.num_steps == 0
    assert not any(x.any() for x in optimiser.moments.values())


@every_variant
def test_updates_keep_float32(method, settings, rng):
    config = TrainConfig(optimizer=method, weight_decay=0.1, **settings)
    views, flat, optimiser = make(config, start(rng), np.dtype("float32"))
    update(flat, optimiser, start(rng), 0.1)
    arrays = [*views.values(), *optimiser.moments.values()]
    assert {x.dtype for x in arrays} == {np.dtype("float32")}


def test_the_gradient_is_not_modified(rng):
    for method, settings in VARIANTS:
        _, flat, optimiser = make(TrainConfig(optimizer=method, weight_decay=0.1, **settings), start(rng))
        d = rng.normal(size=flat.vector.shape)
        before = d.copy()
        optimiser.step(d, 0.1)
        np.testing.assert_array_equal(d, before)


def test_views_share_memory_and_keep_the_order(rng):
    values = start(rng) | {"scalar": np.array(2.0)}
    flat = Flat(values, FLOAT64)
    np.testing.assert_array_equal(flat.vector, np.concatenate([x.ravel() for x in values.values()]))
    views = flat.views(flat.vector)
    for name, x in values.items():
        np.testing.assert_array_equal(views[name], x)
        assert np.shares_memory(views[name], flat.vector)
    views["out.weight"][1, 2] = 9.0
    assert flat.vector[-2] == 9.0
    values["out.weight"][0, 0] = 7.0
    assert views["out.weight"][0, 0] != 7.0


def test_gather_writes_arrays_of_any_layout(rng):
    flat = Flat(start(rng), FLOAT64)
    gradients = {name: np.asfortranarray(x) for name, x in start(rng).items()}
    out = np.empty_like(flat.vector)
    flat.gather(gradients, out)
    for name, view in flat.views(out).items():
        np.testing.assert_array_equal(view, gradients[name])


def test_matrices_decay_and_vectors_do_not(rng):
    flat = Flat(start(rng), FLOAT64)
    assert Flat(start(rng), np.dtype("float32")).decays(0.3).dtype == np.float32
    decays = flat.views(flat.decays(0.3))
    assert {name: set(x.ravel().tolist()) for name, x in decays.items()} == {
        name: {0.3 if len(shape) == 2 else 0.0} for name, shape in SHAPES.items()
    }
