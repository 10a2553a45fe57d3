"""The compiled model against torch's: logits, losses, states, resets; chunks equal the whole."""

import numpy as np
import pytest

from charloom.engines import Model, load_engine
from charloom.text.windows import Window

from ..cases import V, random_ids, random_parameters, random_resets
from .online.settings import elman

PARITY = {"rtol": 0, "atol": 1e-10}  # float64: sums in another order
SINGLE = {"rtol": 0, "atol": 2e-5}  # float32 logits and losses of order 1 to 10
CARRY = {"rtol": 0, "atol": 1e-12}

B, T = 3, 11
activations = pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
inputs = pytest.mark.parametrize("embedding_size", [None, 3], ids=["one-hot", "embedding"])


def case(rng, activation="tanh", embedding_size=None, **settings):
    config = elman(activation=activation, embedding_size=embedding_size, **settings)
    return config, random_parameters(config, rng), random_ids(rng, B, T), random_ids(rng, B, T)


def begin(model, rng):
    return model.import_state([{"h": rng.normal(size=(B, 9)) * 0.5}])


@activations
@inputs
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", PARITY), ("float32", SINGLE)])
@pytest.mark.parametrize("resets", [False, True])
def test_forward_and_losses_are_those_of_torch(activation, embedding_size, precision, tolerance, resets, rng):
    config, params, ids, targets = case(rng, activation, embedding_size)
    marks, start = random_resets(rng, B, T) & resets, rng.normal(size=(B, 9)) * 0.5
    results = []
    for engine in ("torch", "fused"):
        model = load_engine(engine).model(params, config, precision=precision)
        state = model.import_state([{"h": start}])
        logits, after = model.forward(ids, state, marks if resets else None)
        nats, end = model.losses(Window(ids, targets, marks), state)
        one, next_state = model.step(ids[:, 0], state)
        states = [model.export_state(s)[0]["h"] for s in (after, end, next_state)]
        results.append([logits, nats, one, *states])
    for theirs, ours in zip(*results, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, **tolerance)


@activations
@inputs
@pytest.mark.parametrize("cut", [1, 4, 10])
def test_chunks_equal_the_whole(activation, embedding_size, cut, rng):
    config, params, ids, _ = case(rng, activation, embedding_size)
    model = load_engine("fused").model(params, config, precision="float64")
    state, marks = begin(model, rng), random_resets(rng, B, T)
    whole, end = model.forward(ids, state, marks)
    first, between = model.forward(ids[:, :cut], state, marks[:, :cut])
    second, after = model.forward(ids[:, cut:], between, marks[:, cut:])
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, **CARRY)
    np.testing.assert_allclose(after[0]["h"], end[0]["h"], **CARRY)


def test_no_output_depends_on_a_later_character(rng):
    config, params, ids, _ = case(rng)
    model = load_engine("fused").model(params, config, precision="float64")
    before, _ = model.forward(ids, model.initial_state(B))
    ids[:, 6] = (ids[:, 6] + 1) % V
    after, _ = model.forward(ids, model.initial_state(B))
    np.testing.assert_array_equal(after[:, :6], before[:, :6])
    assert (after[:, 6] != before[:, 6]).any(axis=1).all()


def test_it_offers_what_the_contract_names_and_shares_nothing(rng):
    config, params, ids, _ = case(rng)
    given = {name: value.copy() for name, value in params.items()}
    model = load_engine("fused").model(params, config, precision="float64")
    assert (model.config, model.vocab_size) == (config, V)
    for name in vars(Model):
        if not name.startswith("_"):
            assert callable(getattr(model, name)), name
    shipped = model.parameters()
    assert shipped.keys() == params.keys()
    for name, value in shipped.items():
        np.testing.assert_array_equal(value, given[name])
        value[...] = 0
        params[name][...] = 0
    state = begin(model, rng)
    kept = state[0]["h"].copy()
    logits, _ = model.forward(ids, state)
    np.testing.assert_array_equal(state[0]["h"], kept)
    reference, _ = (
        load_engine("torch")
        .model(given, config, precision="float64")
        .forward(ids, load_engine("torch").model(given, config, precision="float64").import_state(state))
    )
    np.testing.assert_allclose(logits, reference, **PARITY)


def test_parts_of_an_array_are_read_where_they_lie(rng):
    config, params, _, _ = case(rng)
    model = load_engine("fused").model(params, config, precision="float64")
    wide = np.asarray(rng.integers(0, V, size=(T, 2 * B)), np.uint8)
    strided, _ = model.forward(wide[:, ::2].T, model.initial_state(B))
    plain, _ = model.forward(np.array(wide[:, ::2].T, np.int64, order="C"), model.initial_state(B))
    np.testing.assert_array_equal(strided, plain)


@pytest.mark.parametrize("ids", [[[0, V]], [[-1, 0]]])
def test_an_id_outside_the_vocabulary_reads_no_memory(ids, rng):
    config, params, _, _ = case(rng)
    model = load_engine("fused").model(params, config)
    with pytest.raises(IndexError, match="vocabulary"):
        model.forward(np.array(ids), model.initial_state(1))
