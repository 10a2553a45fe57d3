"""The whole network, every cell in every block: contract, carry, causality, and parity with the written-out equations."""

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch import ENGINE, cells, network
from charloom.parameters import state_shapes
from charloom.text.windows import Window

from ..cases import CASES, SHORT_CASES, V, random_ids, random_parameters, random_resets, random_state
from . import reference

CARRY = 1e-12  # float64: a product over one row may round differently
PARITY = {"rtol": 1e-10, "atol": 1e-12}  # float64: the same sums in another order
ROUNDING32 = 2e-5  # float32: about a hundred roundings of numbers near 1
DIFFERENCE = 1e-7  # central differences at 1e-6 in float64

every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())


def bound(config, rng, precision="float64"):
    return ENGINE.model(random_parameters(config, rng), config, precision=precision)


def tensors(named, *, grad=False):
    return {name: torch.tensor(x, dtype=torch.float64, requires_grad=grad) for name, x in named.items()}


@every_case
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("batch_size", "length"), [(1, 1), (1, 6), (3, 1), (3, 6)])
def test_forward_returns_logits_and_state_of_the_declared_shapes(config, precision, batch_size, length, rng):
    model = bound(config, rng, precision)
    state = model.initial_state(batch_size)
    assert [{k: x.shape[1:] for k, x in layer.items()} for layer in state] == [
        {k: torch.Size(s) for k, s in layer.items()} for layer in state_shapes(config)
    ]
    assert all(not x.any() and len(x) == batch_size for layer in state for x in layer.values())
    logits, after = model.forward(random_ids(rng, batch_size, length), state)
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (batch_size, length, V)
    assert logits.dtype == np.dtype(precision)
    assert np.isfinite(logits).all()
    exported = model.export_state(after)
    for layer, before in zip(exported, state, strict=True):
        assert layer.keys() == before.keys()
        for key, x in layer.items():
            assert isinstance(x, np.ndarray)
            assert x.shape == tuple(before[key].shape)
            assert x.dtype == np.dtype(precision)


@every_case
def test_forward_leaves_the_state_it_was_given_unchanged(config, rng):
    model = bound(config, rng)
    given = random_state(state_shapes(config), 2, rng)
    state = model.import_state(given)
    model.forward(random_ids(rng, 2, 5), state, random_resets(rng, 2, 5))
    for layer, before in zip(model.export_state(state), given, strict=True):
        for key, x in layer.items():
            np.testing.assert_array_equal(x, before[key])


@every_case
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
def test_forward_and_its_gradients_are_those_of_the_written_out_equations(config, with_resets, rng):
    params = tensors(random_parameters(config, rng), grad=True)
    begin = [tensors(layer, grad=True) for layer in random_state(state_shapes(config), 2, rng)]
    ids = torch.tensor(random_ids(rng, 2, 6))
    resets = torch.tensor(random_resets(rng, 2, 6)) if with_resets else None
    ours, after = network.forward(config, params, ids, begin, resets=resets)
    theirs, expected = reference.forward(config, params, ids, begin, resets)
    torch.testing.assert_close(ours, theirs, **PARITY)
    for i, layer in enumerate(expected):
        for key, x in layer.items():
            torch.testing.assert_close(after[i][key], x, **PARITY)

    direction = torch.tensor(rng.normal(size=ours.shape))
    along = [{key: torch.tensor(rng.normal(size=x.shape)) for key, x in layer.items()} for layer in expected]
    leaves = [*params.values(), *(x for layer in begin for x in layer.values())]
    names = [*params, *(f"state.{i}.{key}" for i, layer in enumerate(begin) for key in layer)]

    def gradients(logits, state):
        loss = (direction * logits).sum()
        loss = loss + sum(
            (along[i][key] * x).sum() for i, layer in enumerate(state) for key, x in layer.items()
        )
        return torch.autograd.grad(loss, leaves, materialize_grads=True)

    for name, mine, twin in zip(names, gradients(ours, after), gradients(theirs, expected), strict=True):
        torch.testing.assert_close(mine, twin, **PARITY, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("moved", ["layers.0.cell.w_ih", "layers.1.cell.bias", "out.weight"])
@pytest.mark.parametrize("name", ["lstm-residual-2", "gru-plain-one-hot-2", "mingru-plain-embedding-2"])
def test_gradients_are_central_differences_of_the_loss(name, moved, rng):
    config = CASES[name]
    arrays = random_parameters(config, rng)
    ids, targets = random_ids(rng, 2, 5), torch.tensor(random_ids(rng, 2, 5)).flatten()
    direction = rng.normal(size=arrays[moved].shape)

    def loss(params):
        begin = [tensors(layer) for layer in zeros]
        logits, _ = network.forward(config, params, torch.tensor(ids), begin)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets)

    zeros = [{k: np.zeros((2, *s)) for k, s in layer.items()} for layer in state_shapes(config)]
    params = tensors(arrays, grad=True)
    (gradient,) = torch.autograd.grad(loss(params), [params[moved]])
    eps = 1e-6
    up, down = (float(loss(tensors(arrays | {moved: arrays[moved] + s * eps * direction}))) for s in (1, -1))
    analytic = float((gradient.numpy() * direction).sum())
    assert (up - down) / (2 * eps) == pytest.approx(analytic, rel=DIFFERENCE, abs=1e-9)


@every_case
@pytest.mark.parametrize("cuts", [(1,), (4,), (8,), (2, 3, 7), tuple(range(1, 9))], ids=str)
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
def test_one_pass_equals_its_chunks_with_carried_state(config, cuts, with_resets, rng):
    model = bound(config, rng)
    T = 9
    ids, begin = random_ids(rng, 3, T), model.import_state(random_state(state_shapes(config), 3, rng))
    resets = random_resets(rng, 3, T) if with_resets else None
    whole, end = model.forward(ids, begin, resets)
    pieces, state = [], begin
    for a, b in zip((0, *cuts), (*cuts, T)):
        logits, state = model.forward(ids[:, a:b], state, None if resets is None else resets[:, a:b])
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=0, atol=CARRY)
    for layer, expected in zip(model.export_state(state), model.export_state(end), strict=True):
        for key in layer:
            np.testing.assert_allclose(layer[key], expected[key], rtol=0, atol=CARRY)


@every_stack
def test_step_reads_one_character_as_forward_does(config, rng):
    model = bound(config, rng)
    ids, state = random_ids(rng, 3, 4), model.initial_state(3)
    whole, _ = model.forward(ids, state)
    for t in range(4):
        logits, state = model.step(ids[:, t], state)
        assert logits.shape == (3, V)
        np.testing.assert_allclose(logits, whole[:, t], rtol=0, atol=CARRY)


@every_stack
def test_rows_do_not_see_each_other(config, rng):
    model = bound(config, rng)
    ids, resets = random_ids(rng, 4, 6), random_resets(rng, 4, 6)
    together, _ = model.forward(ids, model.initial_state(4), resets)
    for b in range(4):
        alone, _ = model.forward(ids[b : b + 1], model.initial_state(1), resets[b : b + 1])
        np.testing.assert_allclose(alone[0], together[b], rtol=0, atol=CARRY)


@every_case
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_no_output_depends_on_a_later_character(config, with_resets, precision, rng):
    model = bound(config, rng, precision)
    T = 8
    ids = random_ids(rng, 2, T)
    resets = random_resets(rng, 2, T) if with_resets else None
    before, _ = model.forward(ids, model.initial_state(2), resets)
    for t in range(1, T):
        moved = ids.copy()
        moved[:, t] = (moved[:, t] + 1) % V
        after, _ = model.forward(moved, model.initial_state(2), resets)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()


@every_case
def test_a_reset_hides_everything_before_it(config, rng):
    model = bound(config, rng)
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
    for layer, expected in zip(model.export_state(moved_end), model.export_state(end), strict=True):
        for key in layer:
            np.testing.assert_array_equal(layer[key][0], expected[key][0])


@every_case
def test_a_reset_starts_the_row_as_a_text_of_its_own(config, rng):
    model = bound(config, rng)
    ids, resets = random_ids(rng, 1, 7), np.zeros((1, 7), bool)
    resets[0, 3] = True
    begin = model.import_state(random_state(state_shapes(config), 1, rng))
    joined, _ = model.forward(ids, begin, resets)
    alone, _ = model.forward(ids[:, 3:], model.initial_state(1))
    np.testing.assert_allclose(joined[:, 3:], alone, rtol=0, atol=CARRY)


@every_stack
def test_resets_return_to_the_given_fresh_state(config, rng):
    params = tensors(random_parameters(config, rng))
    fresh = [tensors(layer) for layer in random_state(state_shapes(config), 2, rng)]
    for layer in fresh:  # the convolution's inputs before a reset are none, whatever the fresh state
        if "conv" in layer:
            layer["conv"].zero_()
    start = [tensors(layer) for layer in random_state(state_shapes(config), 2, rng)]
    ids = torch.tensor(random_ids(rng, 2, 6))
    resets = torch.zeros(2, 6, dtype=torch.bool)
    resets[:, 2] = True
    joined, _ = network.forward(config, params, ids, start, resets=resets, fresh=fresh)
    alone, _ = network.forward(config, params, ids[:, 2:], fresh)
    torch.testing.assert_close(joined[:, 2:], alone, rtol=0, atol=CARRY)


@every_stack
def test_one_hot_vectors_and_the_row_look_up_give_the_same_logits(config, rng, monkeypatch):
    model = bound(config, rng)
    ids = random_ids(rng, 2, 6)
    dense, _ = model.forward(ids, model.initial_state(2))
    monkeypatch.setattr(cells, "ONE_HOT_LIMIT", 0)
    looked_up, _ = model.forward(ids, model.initial_state(2))
    np.testing.assert_allclose(looked_up, dense, rtol=0, atol=CARRY)


@every_stack
def test_float32_stays_near_float64(config, rng):
    params, ids = random_parameters(config, rng), random_ids(rng, 3, 10)
    outputs = []
    for precision in ("float32", "float64"):
        model = ENGINE.model(params, config, precision=precision)
        outputs.append(model.forward(ids, model.initial_state(3))[0])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=ROUNDING32, atol=ROUNDING32)


@every_stack
def test_losses_are_minus_the_log_probability_of_each_target(config, rng):
    model = bound(config, rng)
    ids, targets, resets = random_ids(rng, 2, 5), random_ids(rng, 2, 5), random_resets(rng, 2, 5)
    nats, _ = model.losses(Window(ids, targets, resets), model.initial_state(2))
    logits, _ = model.forward(ids, model.initial_state(2), resets)
    for b in range(2):
        for t in range(5):
            p = np.exp(logits[b, t]) / np.exp(logits[b, t]).sum()
            assert nats[b, t] == pytest.approx(-np.log(p[targets[b, t]]), rel=1e-12)


def test_last_only_gives_the_logits_of_the_last_step(rng):
    for config in SHORT_CASES.values():
        params = tensors(random_parameters(config, rng))
        ids = torch.tensor(random_ids(rng, 2, 5))
        begin = [tensors(x) for x in random_state(state_shapes(config), 2, rng)]
        whole, _ = network.forward(config, params, ids, begin)
        last, _ = network.forward(config, params, ids, begin, last_only=True)
        torch.testing.assert_close(last, whole[:, -1:], rtol=0, atol=CARRY)


def test_a_tied_model_writes_with_its_embedding(rng):
    for config in (
        ModelConfig(hidden_size=4, embedding_size=4, tie_embeddings=True),
        ModelConfig(hidden_size=4, block="residual", tie_embeddings=True),
    ):
        params = random_parameters(config, rng)
        assert "out.weight" not in params
        ids = torch.tensor(random_ids(rng, 2, 4))
        zeros = [{k: torch.zeros(2, *s).double() for k, s in x.items()} for x in state_shapes(config)]
        ours, _ = network.forward(config, tensors(params), ids, zeros)
        theirs, _ = reference.forward(config, tensors(params), ids, zeros)
        torch.testing.assert_close(ours, theirs, **PARITY)


@pytest.mark.parametrize("settings", [{"conv_width": 1}, {"mlp_ratio": 0.0}, {"expansion": 0.4}], ids=str)
def test_a_residual_block_of_unusual_make_follows_the_equations(settings, rng):
    config = ModelConfig(hidden_size=4, block="residual", cell="lstm", **settings)
    params = tensors(random_parameters(config, rng))
    ids, resets = torch.tensor(random_ids(rng, 2, 6)), torch.tensor(random_resets(rng, 2, 6))
    begin = [tensors(x) for x in random_state(state_shapes(config), 2, rng)]
    for marks in (None, resets):
        ours, _ = network.forward(config, params, ids, begin, resets=marks)
        theirs, _ = reference.forward(config, params, ids, begin, marks)
        torch.testing.assert_close(ours, theirs, **PARITY)
