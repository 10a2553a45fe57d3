"""The whole network, every cell in every block, against the written-out equations; resets, look-ups, tied weights."""

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch import ENGINE, cells, network
from charloom.engines.torch.batch import resets_on
from charloom.engines.torch.cpu import ops
from charloom.parameters import state_shapes

from ..cases import CASES, SHORT_CASES, random_ids, random_parameters, random_resets, random_state
from . import reference

CARRY = 1e-12  # float64: a product over one row may round differently
PARITY = {"rtol": 1e-10, "atol": 1e-12}  # float64: the same sums in another order
DIFFERENCE = 1e-7  # central differences at 1e-6 in float64

every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())


def bound(config, rng, precision="float64"):
    return ENGINE.model(random_parameters(config, rng), config, precision=precision)


def tensors(named, *, grad=False):
    return {name: torch.tensor(x, dtype=torch.float64, requires_grad=grad) for name, x in named.items()}


def marked(resets):
    return None if resets is None else resets_on(torch.device("cpu"), resets)


def as_tensor(resets):
    return None if resets is None else torch.tensor(resets)


@every_case
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
def test_forward_and_gradients_match_the_written_out_equations(config, with_resets, rng):
    params = tensors(random_parameters(config, rng), grad=True)
    begin = [tensors(layer, grad=True) for layer in random_state(state_shapes(config), 2, rng)]
    ids = torch.tensor(random_ids(rng, 2, 6))
    resets = random_resets(rng, 2, 6) if with_resets else None
    ours, after = network.forward(config, params, ids, begin, resets=marked(resets))
    theirs, expected = reference.forward(config, params, ids, begin, as_tensor(resets))
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
def test_gradients_match_central_differences_of_the_loss(name, moved, rng):
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


@every_stack
def test_resets_return_to_the_given_reset_state(config, rng):
    params = tensors(random_parameters(config, rng))
    reset_state = [tensors(layer) for layer in random_state(state_shapes(config), 2, rng)]
    for layer in reset_state:  # the convolution's inputs before a reset are zero, whatever the reset state
        if "conv" in layer:
            layer["conv"].zero_()
    start = [tensors(layer) for layer in random_state(state_shapes(config), 2, rng)]
    ids = torch.tensor(random_ids(rng, 2, 6))
    resets = np.zeros((2, 6), bool)
    resets[:, 2] = True
    joined, _ = network.forward(config, params, ids, start, resets=marked(resets), reset_state=reset_state)
    alone, _ = network.forward(config, params, ids[:, 2:], reset_state)
    torch.testing.assert_close(joined[:, 2:], alone, rtol=0, atol=CARRY)


@every_stack
@pytest.mark.parametrize("has_library", [True, False], ids=["compiled", "torch"])
def test_a_row_is_independent_of_another_rows_resets(config, has_library, rng, monkeypatch):
    """A row's reset state, with its inputs of a convolution, does not depend on resets of another row."""
    if not has_library:
        monkeypatch.setattr(ops, "library", lambda: None)
    params = tensors(random_parameters(config, rng))
    reset_state = [tensors(layer) for layer in random_state(state_shapes(config), 2, rng)]
    start = [tensors(layer) for layer in random_state(state_shapes(config), 2, rng)]
    ids = torch.tensor(random_ids(rng, 2, 6))
    resets = np.zeros((2, 6), bool)
    resets[0, 0] = True
    alone, _ = network.forward(config, params, ids, start, resets=marked(resets), reset_state=reset_state)
    resets[1, 3] = True
    together, _ = network.forward(config, params, ids, start, resets=marked(resets), reset_state=reset_state)
    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=CARRY)


@every_stack
def test_one_hot_vectors_and_row_look_up_give_the_same_logits(config, rng, monkeypatch):
    model = bound(config, rng)
    ids = random_ids(rng, 2, 6)
    monkeypatch.setattr(ops, "library", lambda: None)  # so that torch's kernel runs, on one-hot vectors
    dense, _ = model.forward(ids, model.initial_state(2))
    monkeypatch.setattr(cells, "ONE_HOT_LIMIT", 0)
    looked_up, _ = model.forward(ids, model.initial_state(2))
    np.testing.assert_allclose(looked_up, dense, rtol=0, atol=CARRY)


def test_last_only_returns_the_logits_of_the_last_step(rng):
    for config in SHORT_CASES.values():
        params = tensors(random_parameters(config, rng))
        ids = torch.tensor(random_ids(rng, 2, 5))
        begin = [tensors(x) for x in random_state(state_shapes(config), 2, rng)]
        whole, _ = network.forward(config, params, ids, begin)
        last, _ = network.forward(config, params, ids, begin, last_only=True)
        torch.testing.assert_close(last, whole[:, -1:], rtol=0, atol=CARRY)


def test_a_tied_model_uses_its_embedding_as_output_layer(rng):
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
def test_residual_blocks_with_unusual_settings_match_the_equations(settings, rng):
    config = ModelConfig(hidden_size=4, block="residual", cell="lstm", **settings)
    params = tensors(random_parameters(config, rng))
    ids, resets = torch.tensor(random_ids(rng, 2, 6)), random_resets(rng, 2, 6)
    begin = [tensors(x) for x in random_state(state_shapes(config), 2, rng)]
    for marks in (None, resets):
        ours, _ = network.forward(config, params, ids, begin, resets=marked(marks))
        theirs, _ = reference.forward(config, params, ids, begin, as_tensor(marks))
        torch.testing.assert_close(ours, theirs, **PARITY)
