"""torch and scratch from the same weights: outputs, losses, gradients, twenty updates, checkpoints exchanged half-way."""

import itertools

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.parameters import state_shapes
from charloom.text.batching import Plan, Window

from .cases import CASES, CELLS, PLAIN_CASES, H, random_ids, random_parameters, random_resets, random_state
from .learners import assert_states_equal, group, learner_of, one_pass, random_text, train_config
from .updates import VARIANTS

PARITY = {"rtol": 1e-10, "atol": 1e-12}
"""float64: the same sums in another order."""

PARITY_UPDATES = {"rtol": 1e-10, "atol": 1e-10}
"""The same after twenty updates; the absolute part is for weights near 0."""

PARITY32 = {"rtol": 2e-3, "atol": 2e-4}
"""float32: sums in another order differ by 1e-7, and AdamW divides small gradients by their own size."""

STEPS = 20
OTHER_BLOCKS = {
    "one-tap": {"conv_width": 1},
    "no-mlp": {"mlp_ratio": 0.0},
    "narrow": {"expansion": 0.4},
    "tied": {"tie_embeddings": True},
}
NETWORKS = CASES | {
    f"residual-{name}": ModelConfig(cell="lstm", hidden_size=4, block="residual", **settings)
    for name, settings in OTHER_BLOCKS.items()
}
TIED = {"tied": ModelConfig(cell="lstm", hidden_size=4, embedding_size=4, tie_embeddings=True)}
TRAINED = PLAIN_CASES | TIED


def both(build):
    """Call `build` for torch, then for scratch."""
    return [build(engine) for engine in ("torch", "scratch")]


# ---------------------------------------------------------------------------------------------------- one window


@pytest.mark.parametrize("name", NETWORKS | TIED)
@pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])
def test_logits_losses_and_states_are_the_same(name, has_resets, rng):
    config = (NETWORKS | TIED)[name]
    params, begin = random_parameters(config, rng), random_state(state_shapes(config), 3, rng)
    resets = random_resets(rng, 3, 6) if has_resets else np.zeros((3, 6), bool)
    window = Window(random_ids(rng, 3, 6), random_ids(rng, 3, 6), resets)

    def read(engine):
        model = load_engine(engine).model(params, config, precision="float64")
        logits, after = model.forward(window.inputs, model.import_state(begin), resets)
        nats, _ = model.losses(window, model.import_state(begin))
        return logits, nats, model.export_state(after)

    theirs, mine = both(read)
    np.testing.assert_allclose(mine[0], theirs[0], **PARITY)
    np.testing.assert_allclose(mine[1], theirs[1], **PARITY)
    assert_states_equal(mine[2], theirs[2], **PARITY)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("objective", ["every", "last"])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_gradients_are_the_same(name, objective, loss, rng):
    config = TRAINED[name]
    params, begin = random_parameters(config, rng), random_state(state_shapes(config), 3, rng)
    window = Window(random_ids(rng, 3, 6), random_ids(rng, 3, 6), random_resets(rng, 3, 6))
    settings = train_config(objective=objective, loss=loss, batching="random", initial_state="normal")

    def learn(engine):
        learner = learner_of(engine, params, config, settings)
        found = one_pass(learner, window, step=3, state=learner.import_state(begin))
        return found, learner.export_state(found.after)

    (theirs, their_state), (mine, my_state) = both(learn)
    assert mine.total == pytest.approx(theirs.total, rel=PARITY["rtol"])
    assert mine.count == theirs.count
    assert mine.gradients.keys() == theirs.gradients.keys()
    for key, gradient in theirs.gradients.items():
        np.testing.assert_allclose(mine.gradients[key], gradient, **PARITY, err_msg=key)
    assert_states_equal(my_state, their_state, **PARITY)


def test_a_state_can_move_to_the_other_engine(rng):
    config = CASES["lstm-residual-2"]
    params, ids = random_parameters(config, rng), random_ids(rng, 2, 8)
    theirs, mine = both(lambda engine: load_engine(engine).model(params, config, precision="float64"))
    whole, _ = theirs.forward(ids, theirs.initial_state(2))
    for first, second in ((theirs, mine), (mine, theirs)):
        _, state = first.forward(ids[:, :3], first.initial_state(2))
        rest, _ = second.forward(ids[:, 3:], second.import_state(first.export_state(state)))
        np.testing.assert_allclose(rest, whole[:, 3:], **PARITY)


# ------------------------------------------------------------------------------------------------ twenty updates


def trained(engine, params, config, settings, ids, *, boundary_id=None, steps=STEPS):
    """Train a new learner: (learner, state, metrics)."""
    learner = learner_of(engine, params, config, settings)
    plan = Plan(ids, settings, boundary_id=boundary_id)
    return learner, *learner.advance(plan, 0, steps, learner.initial_state(range(plan.batch_size)))


def assert_learners_equal(mine, theirs, tolerance):
    """Check that the checkpoints and the models of two learners are the same."""
    own, other = mine.tensors(), theirs.tensors()
    assert own.keys() == other.keys()
    for name, x in own.items():
        np.testing.assert_allclose(x, other[name], **tolerance, err_msg=name)
    weights = theirs.model().parameters()
    for name, p in mine.model().parameters().items():
        np.testing.assert_allclose(p, weights[name], **tolerance, err_msg=name)


def assert_training_is_the_same(config, settings, rng, *, boundary_id=None, tolerance=None):
    tolerance = tolerance or PARITY_UPDATES
    params, ids = random_parameters(config, rng), random_text(rng)
    (theirs, their_state, expected), (mine, my_state, metrics) = both(
        lambda engine: trained(engine, params, config, settings, ids, boundary_id=boundary_id)
    )
    np.testing.assert_allclose(metrics.loss, expected.loss, **tolerance)
    np.testing.assert_allclose(metrics.grad_norm, expected.grad_norm, **tolerance)
    np.testing.assert_array_equal(metrics.chars, expected.chars)
    assert_learners_equal(mine, theirs, tolerance)
    assert_states_equal(mine.export_state(my_state), theirs.export_state(their_state), **tolerance)
    moved = group(mine)
    assert all((moved[name] != p).any() for name, p in params.items())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
@pytest.mark.parametrize("objective", ["every", "last"])
def test_twenty_updates_are_the_same(cell, method, settings, objective, rng):
    config = ModelConfig(hidden_size=H, **CELLS[cell])
    batching = "stream" if objective == "every" else "random"
    train = train_config(
        optimizer=method,
        objective=objective,
        batching=batching,
        learning_rate=0.01,
        bptt_length=4,
        **settings,
    )
    assert_training_is_the_same(config, train, rng)


FEATURES = {
    "weight-decay": {"weight_decay": 0.3},
    "weight-decay-sgd": {"weight_decay": 0.3, "optimizer": "sgd", "momentum": 0.5},
    "clip-norm": {"clip_norm": 0.1},
    "clip-value": {"clip_value": 0.01, "clip_norm": None},
    "no-clipping": {"clip_norm": None},
    "average": {"average_decay": 0.8},
    "pair": {"bias": "pair"},
    "initial-state": {"initial_state": "normal", "initial_state_scale": 0.5, "state_reset_probability": 0.3},
    "state-resets": {"state_reset_probability": 0.4},
    "wrap": {"state_reset": "wrap", "bptt_length": 30},
    "sum": {"loss": "sum"},
    "schedule": {"schedule": "wsd", "warmup": 5, "stream_offset": "random"},
    "random": {"batching": "random"},
    "sliding": {"batching": "sliding", "stride": 3, "order": "shuffled"},
    "ragged": {"bptt_length": 13},
    "one-row": {"batch_size": 1},
    "length-1": {"bptt_length": 1},
}
SOME = (
    "elman-tanh-plain-one-hot-1",
    "lstm-plain-embedding-2",
    "gru-plain-one-hot-2",
    "mingru-plain-embedding-1",
)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_of_training_is_the_same(name, feature, rng):
    assert_training_is_the_same(
        CASES[name], train_config(**{"learning_rate": 0.01, **FEATURES[feature]}), rng
    )


@pytest.mark.parametrize("name", PLAIN_CASES)
@pytest.mark.parametrize("initial_state", ["zeros", "normal"])
def test_documents_that_begin_inside_windows_are_the_same(name, initial_state, rng):
    """A regression test: with one-hot input and AdamW, torch updated the wrong elements of a transposed gradient."""
    settings = train_config(learning_rate=0.01, initial_state=initial_state)
    assert_training_is_the_same(PLAIN_CASES[name], settings, rng, boundary_id=2)


@pytest.mark.parametrize(
    ("cell", "site"),
    [
        *itertools.product(["elman", "lstm", "gru", "mingru"], ["char", "input", "layer", "output", "all"]),
        *itertools.product(["elman", "lstm", "gru"], ["recurrent", "recurrent and all"]),
    ],
)
def test_dropout_masks_are_the_same(cell, site, rng):
    sites = ("char", "input", "layer", "output") if "all" in site else ()
    sites += ("recurrent",) if "recurrent" in site else ()
    sites = sites or (site,)
    rates = {f"dropout_{s}": 0.3 for s in sites}
    config = ModelConfig(cell=cell, hidden_size=H, num_layers=2, embedding_size=4, **rates)
    assert_training_is_the_same(config, train_config(learning_rate=0.01, seed=5), rng)


def test_tied_embeddings_train_the_same(rng):
    assert_training_is_the_same(TIED["tied"], train_config(learning_rate=0.01, weight_decay=0.1), rng)


def test_a_large_vocabulary_trains_the_same(rng):
    config = ModelConfig(cell="gru", hidden_size=H)
    settings = train_config(learning_rate=0.01)
    ids = rng.integers(0, 400, size=300)  # too many for scratch's dense product
    params = random_parameters(config, rng, 400)
    (theirs, _, _), (mine, _, _) = both(lambda engine: trained(engine, params, config, settings, ids))
    assert_learners_equal(mine, theirs, PARITY_UPDATES)


@pytest.mark.parametrize("name", SOME)
def test_float32_results_are_close(name, rng):
    settings = train_config(learning_rate=0.01, precision="float32", epsilon=1e-4)
    assert_training_is_the_same(CASES[name], settings, rng, tolerance=PARITY32)


# ------------------------------------------------------------------------------------------------- exchanging checkpoints


@pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
@pytest.mark.parametrize("first", ["torch", "scratch"])
def test_a_checkpoint_can_move_to_the_other_engine(first, method, settings, rng):
    config = ModelConfig(cell="gru", hidden_size=H, embedding_size=4, dropout_output=0.2)
    params, ids = random_parameters(config, rng), random_text(rng)
    train = train_config(
        optimizer=method, learning_rate=0.01, average_decay=0.8, bias="pair", weight_decay=0.1, **settings
    )
    learner, state, _ = trained(first, params, config, train, ids, steps=STEPS // 2)
    zeros = {name: np.zeros_like(p) for name, p in params.items()}
    other = learner_of("scratch" if first == "torch" else "torch", zeros, config, train)
    other.load_tensors(learner.tensors())
    plan, carried = Plan(ids, train), other.import_state(learner.export_state(state))
    expected_state, expected = learner.advance(plan, STEPS // 2, STEPS // 2, state)
    end, metrics = other.advance(plan, STEPS // 2, STEPS // 2, carried)
    np.testing.assert_allclose(metrics.loss, expected.loss, **PARITY_UPDATES)
    assert_learners_equal(other, learner, PARITY_UPDATES)
    assert_states_equal(other.export_state(end), learner.export_state(expected_state), **PARITY_UPDATES)
