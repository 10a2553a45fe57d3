"""`CharModule`, and the import of torch.nn stacks: the same logits as the model's."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from charloom.config import ModelConfig
from charloom.engines.torch import ENGINE
from charloom.engines.torch.module import CharModule, parameters_of
from charloom.errors import ConfigError

from ..cases import SHORT_CASES, V, random_ids, random_parameters

GOLDEN = {"rtol": 1e-10, "atol": 1e-12}  # float64: one bias added instead of two
every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())


class Library(nn.Module):
    """A character model as users write it."""

    def __init__(self, rnn, embedding_size, hidden_size):
        super().__init__()
        self.embed = nn.Embedding(V, embedding_size) if embedding_size else None
        self.rnn, self.out = rnn, nn.Linear(hidden_size, V)
        self.double()

    def forward(self, ids):
        x = self.embed(ids) if self.embed else nn.functional.one_hot(ids, V).double()
        return self.out(self.rnn(x)[0])


def library(kind, layers, embedding_size, **settings):
    torch.manual_seed(1)
    return Library(kind(embedding_size or V, 5, layers, batch_first=True, **settings), embedding_size, 5)


KINDS = [(nn.RNN, {"nonlinearity": "tanh"}), (nn.RNN, {"nonlinearity": "relu"}), (nn.LSTM, {}), (nn.GRU, {})]


@pytest.mark.parametrize(
    ("kind", "layers", "embedding"), list(itertools.product(KINDS, (1, 2), (None, 3))), ids=str
)
def test_an_imported_torch_stack_gives_the_same_logits(kind, layers, embedding, rng):
    module = library(kind[0], layers, embedding, **kind[1])
    config, params = parameters_of(module, V)
    assert (config.num_layers, config.embedding_size, config.hidden_size) == (layers, embedding, 5)
    ids = random_ids(rng, 2, 6)
    model = ENGINE.model(params, config, precision="float64")
    ours, _ = model.forward(ids, model.initial_state(2))
    np.testing.assert_allclose(ours, module(torch.tensor(ids)).detach(), **GOLDEN)


def test_importing_a_stack_does_not_change_it():
    module = library(nn.GRU, 1, None)
    before = {name: p.clone() for name, p in module.state_dict().items()}
    parameters_of(module, V)
    for name, p in module.state_dict().items():
        assert torch.equal(p, before[name])


@every_stack
def test_module_matches_the_model_and_carries_its_state(config, rng):
    params = random_parameters(config, rng)
    module, model = CharModule(config, params, V), ENGINE.model(params, config, precision="float64")
    ids = random_ids(rng, 2, 6)
    expected, _ = model.forward(ids, model.initial_state(2))
    first, state = module(torch.tensor(ids[:, :2]))
    rest, _ = module(torch.tensor(ids[:, 2:]), state)
    np.testing.assert_allclose(torch.cat([first, rest], 1).detach(), expected, **GOLDEN)


@every_stack
def test_module_parameters_have_model_file_names_and_round_trip(config, rng):
    params = random_parameters(config, rng)
    module = CharModule(config, params, V)
    assert module.state_dict().keys() == params.keys()
    back_config, back = parameters_of(module, V)
    assert back_config == config
    assert list(back) == list(params)
    for name, p in params.items():
        np.testing.assert_array_equal(back[name], p)


def test_module_trains_with_a_torch_optimiser(rng):
    config = SHORT_CASES["gru-residual-2"]
    params = random_parameters(config, rng)
    module = CharModule(config, params, V)
    ids = torch.tensor(random_ids(rng, 2, 9))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        logits, _ = module(ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in module.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(params["out.bias"], CharModule(config, params, V).state_dict()["out.bias"])


FOREIGN = {
    "bidirectional": (
        lambda: nn.GRU(V, 5, bidirectional=True),
        "is bidirectional, has a projection, or has no bias",
    ),
    "projected": (lambda: nn.LSTM(V, 5, proj_size=2), "is bidirectional, has a projection, or has no bias"),
    "no-bias": (lambda: nn.RNN(V, 5, bias=False), "is bidirectional, has a projection, or has no bias"),
    "two-stacks": (
        lambda: nn.Sequential(nn.GRU(V, 5), nn.LSTM(V, 5)),
        "has 2 layers of nn.RNN or nn.LSTM or nn.GRU",
    ),
    "none": (lambda: nn.Identity(), "has 0 layers of nn.RNN"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_unsupported_recurrent_stack_is_rejected(name):
    make, message = FOREIGN[name]
    with pytest.raises(ConfigError, match=message) as caught:
        parameters_of(Library(make(), None, 5), V)
    assert caught.value.fix


@pytest.mark.parametrize("extra", ["linear", "embedding", "no-linear"])
def test_extra_or_missing_layers_are_rejected(extra):
    module = library(nn.GRU, 1, 3)
    if extra == "no-linear":
        module.out = nn.Identity()
    else:
        module.extra = nn.Linear(5, 5) if extra == "linear" else nn.Embedding(3, 3)
    with pytest.raises(ConfigError, match=r"has (0|2) layers of nn\.(Linear|Embedding)"):
        parameters_of(module, V)


@pytest.mark.parametrize("vocab_size", [V - 1, V + 1])
def test_a_vocabulary_of_the_wrong_size_is_rejected(vocab_size):
    with pytest.raises(ConfigError, match=rf"has shape .*vocabulary of {vocab_size} requires"):
        parameters_of(library(nn.GRU, 1, 3), vocab_size)
    config = ModelConfig(hidden_size=3)
    module = CharModule(config, random_parameters(config, np.random.default_rng(0)), V)
    with pytest.raises(ConfigError, match=rf"vocabulary of {vocab_size} requires"):
        parameters_of(module, vocab_size)


@every_stack
def test_an_exported_program_gives_the_same_logits_for_other_rows_and_a_carried_state(config, rng):
    module = CharModule(config, random_parameters(config, rng), V)
    ids = torch.tensor(random_ids(rng, 3, 8))
    rows = {"ids": {0: torch.export.Dim("B")}}
    with torch.no_grad():
        first = torch.export.export(module, (ids[:2, :4],), dynamic_shapes=rows).module()
        logits, state = first(ids[:, :4])
        rest, _ = torch.export.export(module, (ids[:, 4:], state)).module()(ids[:, 4:], state)
        np.testing.assert_allclose(torch.cat([logits, rest], 1), module(ids)[0], **GOLDEN)


def test_a_module_can_be_exported_through_dynamo(rng):
    module = CharModule(
        SHORT_CASES["gru-residual-2"], random_parameters(SHORT_CASES["gru-residual-2"], rng), V
    )
    ids = torch.tensor(random_ids(rng, 2, 6))
    exported = torch.export.export(module, (ids,), strict=True).module()
    np.testing.assert_allclose(exported(ids)[0].detach(), module(ids)[0].detach(), **GOLDEN)
