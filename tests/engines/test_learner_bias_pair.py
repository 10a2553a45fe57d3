"""PyTorch's two biases per gate: trained separately, saved as their sum."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.parameters import initial_bias_pair, initial_parameters

from .cases import V
from .learners import every_engine, group, learner_of, one_pass, random_window, train_config, update

ROUNDING = {"rtol": 1e-9, "atol": 1e-12}  # float64 sums in another order, and a square root
BIAS, PAIR = "layers.0.cell.bias", "layers.0.cell.bias_pair"

every_cell = pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])


@every_engine
@every_cell
def test_adam_moves_the_sum_of_a_pair_twice_as_far(engine, cell, rng):
    config, window = ModelConfig(cell=cell, hidden_size=5, init="pytorch"), random_window(rng)
    adam = {"optimizer": "adam", "epsilon": 1e-12, "clip_norm": None, "schedule": "constant", "seed": 3}
    moved = {}
    for bias in ("single", "pair"):
        params = initial_parameters(config, V, 3)
        pair = initial_bias_pair(config, V, 3)[PAIR]
        if bias == "single":  # both start from the same sum, and so have the same gradient
            params[BIAS][: len(pair)] += pair
        learner = learner_of(engine, params, config, train_config(bias=bias, **adam))
        before = learner.model().parameters()
        update(learner, window)
        after = learner.model().parameters()
        assert before.keys() == after.keys()
        assert not any(name.endswith("_pair") for name in after)
        moved[bias] = {name: after[name] - before[name] for name in after}
    H2 = (
        10 if cell == "gru" else len(moved["single"][BIAS])
    )  # the second bias of a GRU's n is inside the reset
    np.testing.assert_allclose(moved["pair"][BIAS][:H2], 2 * moved["single"][BIAS][:H2], rtol=1e-6)
    np.testing.assert_allclose(moved["pair"][BIAS][H2:], moved["single"][BIAS][H2:], rtol=1e-6)
    np.testing.assert_allclose(moved["pair"]["out.bias"], moved["single"]["out.bias"], rtol=1e-6)


@every_engine
@every_cell
def test_both_biases_have_the_gradient_of_their_sum(engine, cell, rng):
    config = ModelConfig(cell=cell, hidden_size=5, init="pytorch")
    learner = learner_of(engine, initial_parameters(config, V, 3), config, train_config(bias="pair"))
    before = learner.tensors()
    gradients = one_pass(learner, random_window(rng)).gradients
    second = gradients[PAIR]
    assert second.shape == ((10,) if cell == "gru" else gradients[BIAS].shape)
    np.testing.assert_array_equal(second, gradients[BIAS][: len(second)])
    for name, x in learner.tensors().items():  # summing them changes neither
        np.testing.assert_array_equal(x, before[name])


def library(cell, seed, hidden, vocab):
    torch = pytest.importorskip("torch")
    kinds = {"elman": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    torch.manual_seed(seed)
    rnn = kinds[cell](vocab, hidden, batch_first=True, dtype=torch.float64)
    return torch, rnn, torch.nn.Linear(hidden, vocab).double()


@every_engine
@every_cell
def test_training_with_a_pair_matches_torch_modules(engine, cell, rng):  # golden: torch.nn, .optim
    config, H = ModelConfig(cell=cell, hidden_size=5), 5
    torch, rnn, out = library(cell, 11, H, V)
    params = {
        "layers.0.cell.w_ih": rnn.weight_ih_l0,
        "layers.0.cell.w_hh": rnn.weight_hh_l0,
        BIAS: rnn.bias_ih_l0,
        "out.weight": out.weight,
        "out.bias": out.bias,
    }
    params = {name: p.detach().numpy().copy() for name, p in params.items()}
    second = rnn.bias_hh_l0.detach().numpy().copy()
    if cell == "gru":
        params["layers.0.cell.bias_hn"] = second[2 * H :]
        second = second[: 2 * H]
    adam = {"optimizer": "adam", "clip_norm": None, "schedule": "constant", "learning_rate": 0.01}
    learner = learner_of(engine, params, config, train_config(bias="pair", **adam))
    learner.load_tensors(learner.tensors() | {f"param.{PAIR}": second})
    optimiser = torch.optim.Adam([*rnn.parameters(), *out.parameters()], lr=0.01, betas=(0.9, 0.99))
    for step in range(6):
        window = random_window(rng)
        update(learner, window, step=step)
        optimiser.zero_grad()
        h, _ = rnn(torch.nn.functional.one_hot(torch.tensor(window.inputs), V).double())
        logits = out(h).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, torch.tensor(window.targets).flatten()).backward()
        optimiser.step()
    ours, bias = learner.model().parameters(), (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach().numpy()
    if cell == "gru":
        bias[2 * H :] = rnn.bias_ih_l0.detach().numpy()[2 * H :]
        np.testing.assert_allclose(
            ours["layers.0.cell.bias_hn"], rnn.bias_hh_l0.detach()[2 * H :], **ROUNDING
        )
    np.testing.assert_allclose(ours[BIAS], bias, **ROUNDING)
    np.testing.assert_allclose(ours["layers.0.cell.w_hh"], rnn.weight_hh_l0.detach(), **ROUNDING)
    np.testing.assert_allclose(ours["out.weight"], out.weight.detach(), **ROUNDING)
    assert group(learner)[PAIR].shape == second.shape
