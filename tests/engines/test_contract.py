"""The contract of every engine's model, for every cell in every block: shapes, precision, carry, causality, resets, import."""

import numpy as np
import pytest

from charloom.engines import load_engine
from charloom.parameters import state_shapes
from charloom.text.batching import Window

from .cases import CASES, SHORT_CASES, V, random_ids, random_parameters, random_resets, random_state
from .learners import CARRY, assert_states_equal

ROUNDING32 = 2e-5  # float32: about a hundred roundings of numbers near 1

every_model = pytest.mark.parametrize("engine", ["torch", "scratch", "fused"])
every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())
every_precision = pytest.mark.parametrize("precision", ["float32", "float64"])
with_resets = pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])


def bound(engine, config, rng, precision="float64"):
    return load_engine(engine).model(random_parameters(config, rng), config, precision=precision)


@every_model
@every_case
@every_precision
def test_forward_returns_logits_and_state_of_the_declared_shapes(engine, config, precision, rng):
    model = bound(engine, config, rng, precision)
    for batch_size, length in ((1, 1), (1, 6), (3, 1), (3, 6)):
        assert_shapes(model, batch_size, length, np.dtype(precision), rng)


def assert_shapes(model, batch_size, length, dtype, rng):
    state = model.initial_state(batch_size)
    assert [{k: tuple(x.shape[1:]) for k, x in layer.items()} for layer in state] == state_shapes(
        model.config
    )
    assert all(not x.any() and len(x) == batch_size for layer in state for x in layer.values())
    logits, after = model.forward(random_ids(rng, batch_size, length), state)
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (batch_size, length, V)
    assert logits.dtype == dtype
    assert np.isfinite(logits).all()
    exported = model.export_state(after)
    for layer, before in zip(exported, state, strict=True):
        assert layer.keys() == before.keys()
        for key, x in layer.items():
            assert isinstance(x, np.ndarray)
            assert x.shape == tuple(before[key].shape)
            assert x.dtype == dtype


@every_model
@every_case
def test_forward_does_not_modify_its_state(engine, config, rng):
    model = bound(engine, config, rng)
    given = random_state(state_shapes(config), 2, rng)
    state = model.import_state(given)
    model.forward(random_ids(rng, 2, 5), state, random_resets(rng, 2, 5))
    assert_states_equal(model.export_state(state), given)


@every_model
@every_case
@with_resets
def test_one_pass_equals_chunks_with_carried_state(engine, config, has_resets, rng):
    model = bound(engine, config, rng)
    T = 9
    ids, begin = random_ids(rng, 3, T), model.import_state(random_state(state_shapes(config), 3, rng))
    resets = random_resets(rng, 3, T) if has_resets else None
    whole, end = model.forward(ids, begin, resets)
    for cuts in ((1,), (4,), (8,), (2, 3, 7), tuple(range(1, T))):
        pieces, state = [], begin
        for a, b in zip((0, *cuts), (*cuts, T)):
            logits, state = model.forward(ids[:, a:b], state, None if resets is None else resets[:, a:b])
            pieces.append(logits)
        np.testing.assert_allclose(
            np.concatenate(pieces, axis=1), whole, rtol=0, atol=CARRY, err_msg=str(cuts)
        )
        assert_states_equal(model.export_state(state), model.export_state(end), rtol=0, atol=CARRY)


@every_model
@every_stack
def test_step_reads_one_character_as_forward_does(engine, config, rng):
    model = bound(engine, config, rng)
    ids, state = random_ids(rng, 3, 4), model.initial_state(3)
    whole, _ = model.forward(ids, state)
    for t in range(4):
        logits, state = model.step(ids[:, t], state)
        assert logits.shape == (3, V)
        np.testing.assert_allclose(logits, whole[:, t], rtol=0, atol=CARRY)


@every_model
@every_stack
def test_rows_do_not_see_each_other(engine, config, rng):
    model = bound(engine, config, rng)
    ids, resets = random_ids(rng, 4, 6), random_resets(rng, 4, 6)
    together, _ = model.forward(ids, model.initial_state(4), resets)
    for b in range(4):
        alone, _ = model.forward(ids[b : b + 1], model.initial_state(1), resets[b : b + 1])
        np.testing.assert_allclose(alone[0], together[b], rtol=0, atol=CARRY)


@every_model
@every_case
@with_resets
@every_precision
def test_no_output_depends_on_a_later_character(engine, config, has_resets, precision, rng):
    model = bound(engine, config, rng, precision)
    T = 8
    ids = random_ids(rng, 2, T)
    resets = random_resets(rng, 2, T) if has_resets else None
    before, _ = model.forward(ids, model.initial_state(2), resets)
    for t in range(1, T):
        moved = ids.copy()
        moved[:, t] = (moved[:, t] + 1) % V
        after, _ = model.forward(moved, model.initial_state(2), resets)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()


@every_model
@every_case
def test_a_reset_hides_everything_before_it(engine, config, rng):
    model = bound(engine, config, rng)
    T, place = 9, 5
    ids, resets = random_ids(rng, 2, T), np.zeros((2, T), bool)
    resets[0, place] = True
    before, end = model.forward(ids, model.initial_state(2), resets)
    moved = (ids + 1) % V
    moved[:, place:] = ids[:, place:]
    other = model.import_state(random_state(state_shapes(config), 2, rng))
    after, moved_end = model.forward(moved, other, resets)
    np.testing.assert_array_equal(after[0, place:], before[0, place:])
    assert (after[1, place:] != before[1, place:]).any()
    ends = (
        [{key: x[0] for key, x in layer.items()} for layer in model.export_state(s)] for s in (end, moved_end)
    )
    assert_states_equal(*ends)


@every_model
@every_case
def test_a_reset_starts_a_separate_text(engine, config, rng):
    model = bound(engine, config, rng)
    ids, resets = random_ids(rng, 1, 7), np.zeros((1, 7), bool)
    resets[0, 3] = True
    begin = model.import_state(random_state(state_shapes(config), 1, rng))
    joined, _ = model.forward(ids, begin, resets)
    alone, _ = model.forward(ids[:, 3:], model.initial_state(1))
    np.testing.assert_allclose(joined[:, 3:], alone, rtol=0, atol=CARRY)


@every_model
@every_stack
def test_float32_stays_near_float64(engine, config, rng):
    params, ids = random_parameters(config, rng), random_ids(rng, 3, 10)
    outputs = []
    for precision in ("float32", "float64"):
        model = load_engine(engine).model(params, config, precision=precision)
        outputs.append(model.forward(ids, model.initial_state(3))[0])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=ROUNDING32, atol=ROUNDING32)


@every_model
@every_stack
@every_precision
def test_losses_are_minus_the_log_probability_of_each_target(engine, config, precision, rng):
    model = bound(engine, config, rng, precision)
    ids, targets, resets = random_ids(rng, 2, 5), random_ids(rng, 2, 5), random_resets(rng, 2, 5)
    nats, _ = model.losses(Window(ids, targets, resets), model.initial_state(2))
    assert nats.dtype == np.dtype(precision)
    logits, _ = model.forward(ids, model.initial_state(2), resets)
    tolerance = {"rel": 1e-12} if precision == "float64" else {"abs": ROUNDING32}
    for b in range(2):
        for t in range(5):
            y = logits[b, t].astype(np.float64)
            p = np.exp(y) / np.exp(y).sum()
            assert nats[b, t] == pytest.approx(-np.log(p[targets[b, t]]), **tolerance)


@every_model
@every_stack
@every_precision
def test_states_survive_import_and_export(engine, config, precision, rng):
    model = bound(engine, config, rng, precision)
    given = random_state(state_shapes(config), 3, rng)
    there = model.import_state(given)
    for layer in there:
        for x in layer.values():
            assert isinstance(x, np.ndarray) == (engine != "torch")
            assert x.dtype == model.dtype
    expected = [{key: x.astype(precision) for key, x in layer.items()} for layer in given]
    assert_states_equal(model.export_state(there), expected)


@every_model
def test_an_exported_state_is_a_copy(engine, rng):
    model = bound(engine, SHORT_CASES["lstm-plain-one-hot-2"], rng)
    state = model.initial_state(2)
    exported = model.export_state(state)
    exported[0]["h"][:] = 7
    assert not state[0]["h"].any()


@every_model
def test_an_imported_state_is_a_copy(engine, rng):
    config = SHORT_CASES["lstm-plain-one-hot-2"]
    model = bound(engine, config, rng)
    given = random_state(state_shapes(config), 2, rng)
    state = model.import_state(given)
    given[0]["h"][:] = 7
    assert (model.export_state(state)[0]["h"] != 7).all()


@every_model
@every_precision
def test_parameters_returns_copies_of_the_given_values(engine, precision, rng):
    config = SHORT_CASES["gru-residual-2"]
    given = random_parameters(config, rng)
    model = load_engine(engine).model(given, config, precision=precision)
    back = model.parameters()
    for name, p in given.items():
        assert back[name].dtype == np.dtype(precision)
        np.testing.assert_array_equal(back[name], p.astype(precision))
        back[name][:] = 0
    assert all(p.any() for p in model.parameters().values())


@every_model
def test_a_model_copies_its_parameters(engine, rng):
    config = SHORT_CASES["gru-residual-2"]
    given = random_parameters(config, rng)
    model = load_engine(engine).model(given, config, precision="float64")
    ids = random_ids(rng, 1, 3)
    before, _ = model.forward(ids, model.initial_state(1))
    for p in given.values():
        p[:] = 0
    after, _ = model.forward(ids, model.initial_state(1))
    np.testing.assert_array_equal(after, before)


@every_model
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_of_any_integer_type_are_read(engine, dtype, rng):
    model = bound(engine, SHORT_CASES["gru-plain-one-hot-2"], rng)
    ids = random_ids(rng, 2, 4)
    expected, _ = model.forward(ids, model.initial_state(2))
    found, _ = model.forward(ids.astype(dtype), model.initial_state(2))
    np.testing.assert_array_equal(found, expected)
