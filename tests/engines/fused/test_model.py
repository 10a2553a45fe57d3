"""The compiled forward pass: close to scratch in float64, close to float32 in int8, the same bits for every split."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.engines.fused import model as model_module
from charloom.engines.fused import packing
from charloom.engines.fused.model import FusedModel, check_ids
from charloom.kernels.library import library
from charloom.parameters import initial_parameters, state_shapes
from charloom.text.batching import Plan, Window
from charloom.text.inputs import builtin_text

from ..cases import BLOCKS, CASES, CELLS, V, random_ids, random_parameters, random_resets, random_state

RELATIVE = 1e-4  # of the largest logit, after a thousand steps in float32
NATS = 0.005  # loss that int8 may add

every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
every_stack = pytest.mark.parametrize(
    "config", [c for n, c in CASES.items() if n.endswith("-2")], ids=[n for n in CASES if n.endswith("-2")]
)
DEPTHS = {
    f"{cell}-{block}-{layers}": ModelConfig(hidden_size=24, num_layers=layers, **CELLS[cell], **BLOCKS[block])
    for cell in CELLS
    for block in BLOCKS
    for layers in (1, 2, 3)
}


@pytest.mark.parametrize("config", DEPTHS.values(), ids=DEPTHS.keys())
def test_a_thousand_steps_stay_near_scratch_in_float64(config, rng):
    params = initial_parameters(config, V, 3)
    params["out.weight"] = rng.normal(size=params["out.weight"].shape)  # the initial one is small
    for name in (n for n in params if n.endswith(("proj", "mlp.down"))):
        params[name] = rng.normal(size=params[name].shape) * 0.2  # the initial one is zero
    ids = random_ids(rng, 1, 1000)
    exact, _ = (
        load_engine("scratch").model(params, config, precision="float64").forward(ids, _zeros(config, 1))
    )
    model = FusedModel(params, config)
    ours, _ = model.forward(ids, model.initial_state(1))
    assert np.abs(ours - exact).max() < RELATIVE * np.abs(exact).max()
    assert np.abs(exact).max() > 0.5


def _zeros(config, rows):
    return (
        load_engine("scratch")
        .model(initial_parameters(config, V, 0), config, precision="float64")
        .initial_state(rows)
    )


@every_stack
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_splits_and_batches_give_the_same_bits(config, precision, rng):
    model = FusedModel(random_parameters(config, rng), config, precision=precision)
    B, T = 13, 9  # tiles of 6 + 4 + 3 rows; below also 1, 2, 7 and 8 rows
    ids, resets = random_ids(rng, B, T), random_resets(rng, B, T)
    begin = model.import_state(random_state(state_shapes(config), B, rng))
    whole, end = model.forward(ids, begin, resets)
    for cuts in ((4,), (2, 3, 7), tuple(range(1, T))):
        pieces, state = [], begin
        for a, b in zip((0, *cuts), (*cuts, T)):
            logits, state = model.forward(ids[:, a:b], state, resets[:, a:b])
            pieces.append(logits)
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
        for layer, other in zip(state, end, strict=True):
            for key in layer:
                np.testing.assert_array_equal(layer[key], other[key])
    for rows in ([0], [12, 3], list(range(7)), list(range(8))):
        state = [{key: leaf[rows] for key, leaf in layer.items()} for layer in begin]
        np.testing.assert_array_equal(model.forward(ids[rows], state, resets[rows])[0], whole[rows])


@pytest.mark.parametrize("size", [(3, 8), (16, 16), (17, 33), (40, 100)])
def test_sizes_that_are_not_whole_panels_match_scratch(size, rng):
    hidden, vocab_size = size
    config = ModelConfig(cell="gru", hidden_size=hidden, embedding_size=5)
    params, ids = random_parameters(config, rng, vocab_size), random_ids(rng, 2, 6, vocab_size)
    exact = load_engine("scratch").model(params, config, precision="float64")
    ours = FusedModel(params, config, precision="float64")
    np.testing.assert_allclose(
        ours.forward(ids, ours.initial_state(2))[0], exact.forward(ids, exact.initial_state(2))[0], atol=1e-11
    )


def test_an_embedding_too_large_to_fold_is_multiplied(monkeypatch, rng):
    config = ModelConfig(cell="lstm", hidden_size=6, embedding_size=4)
    params, ids = random_parameters(config, rng), random_ids(rng, 3, 5)
    folded = FusedModel(params, config, precision="float64")
    monkeypatch.setattr(packing, "FOLDED_UP_TO", 0)
    unfolded = FusedModel(params, config, precision="float64")
    assert (folded.net.folded, unfolded.net.folded) == (True, False)
    np.testing.assert_allclose(
        folded.forward(ids, folded.initial_state(3))[0],
        unfolded.forward(ids, unfolded.initial_state(3))[0],
        atol=1e-12,
    )


TRAINED = {
    f"{cell}-{block}": ModelConfig(hidden_size=48, **CELLS[cell], **BLOCKS[block])
    for cell in ("elman-tanh", "elman-sigmoid", "elman-relu", "lstm", "gru", "mingru")
    for block in ("plain-one-hot", "plain-embedding", "residual")
}


@pytest.mark.parametrize("config", TRAINED.values(), ids=TRAINED.keys())
def test_int8_costs_little_on_a_trained_network(config):
    ids = np.frombuffer(builtin_text()[:30_000].encode("ascii", "ignore"), np.uint8) % 64
    settings = (
        TrainConfig(  # each window starts from zero: the carried state of a ReLU network grows without bound
            batch_size=16, bptt_length=32, steps=60, learning_rate=1e-2, batching="random"
        )
    )
    learner = load_engine("torch").learner(initial_parameters(config, 64, 0), config, settings, device="cpu")
    plan = Plan(ids[:27_000], settings)
    learner.advance(plan, 0, 60, learner.initial_state(range(16)))
    params = learner.model().parameters()
    window = Window(
        ids[None, 27_000:-1].astype(np.int64),
        ids[None, 27_001:].astype(np.int64),
        np.zeros((1, len(ids) - 27_001), bool),
    )
    losses = {}
    for precision in ("float32", "int8"):
        model = FusedModel(params, config, precision=precision)
        losses[precision] = model.losses(window, model.initial_state(1))[0].mean(dtype=np.float64)
    assert losses["float32"] < np.log(64) - 0.7, "the network must have learnt something"
    assert abs(losses["int8"] - losses["float32"]) < NATS


@pytest.mark.parametrize("ids", [[[0, V]], [[-1, 0]]])
def test_ids_outside_the_vocabulary_are_an_error(ids, rng):
    config = CASES["lstm-plain-one-hot-1"]
    model = FusedModel(random_parameters(config, rng), config)
    with pytest.raises(IndexError, match="vocabulary"):
        model.forward(np.array(ids), model.initial_state(1))
    with pytest.raises(IndexError, match="vocabulary"):
        check_ids(np.array(ids), V)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_threads_that_share_rows_change_no_bit(rows, rng, monkeypatch):
    monkeypatch.setattr(model_module, "CHARS_A_THREAD", 16)
    config = ModelConfig(cell="lstm", hidden_size=9, num_layers=2)
    params = initial_parameters(config, 7, 0)
    ids = rng.integers(0, 7, (rows, 40))
    resets = rng.random((rows, 40)) < 0.1
    found = []
    for threads in (1, 3):
        model = FusedModel(params, config, threads=threads)
        assert len(model._rows(rows, rows * 40)) == min(threads, rows)
        logits, after = model.forward(ids, model.initial_state(rows), resets)
        found.append([logits, *(leaf for layer in after for leaf in layer.values())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def level_of(level):
    """The library at another of this processor's levels."""
    return lambda: library()._replace(level=level)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@every_stack
def test_portable_logits_have_the_same_bits_at_every_level(config, precision, rng, monkeypatch):
    params, ids = random_parameters(config, rng), random_ids(rng, 2, 40)
    found = []
    for level in library().levels:
        monkeypatch.setattr(model_module, "library", level_of(level))
        model = FusedModel(params, config, precision=precision, portable=True)
        found.append(model.forward(ids, model.initial_state(2))[0])
    assert len({logits.tobytes() for logits in found}) == 1
    usual = FusedModel(params, config, precision=precision)
    expected = usual.forward(ids, usual.initial_state(2))[0]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=RELATIVE * np.abs(expected).max())
