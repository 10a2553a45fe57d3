"""The gradient grid: against finite differences of the forward pass, at truncation, and at its edges."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import loss, network
from charloom.errors import ConfigError
from charloom.insight.gradient_grid import grad_norm_by_lag, gradient_grid
from charloom.parameters import state_shapes
from tests.engines.cases import BLOCKS, CELLS, H, V, random_parameters

T = 7
EPS = 1e-6  # error of a central difference in float64: about EPS² + 1e-16 / EPS
CLOSE = {"rel": 1e-6, "abs": 1e-9}

CASES = {
    f"{cell}-{block}": ModelConfig(hidden_size=H, **CELLS[cell], **BLOCKS[block])
    for cell in CELLS
    for block in ("plain-one-hot", "plain-embedding")
}
CASES["gru-tied"] = ModelConfig(hidden_size=H, cell="gru", embedding_size=H, tie_embeddings=True)


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request, rng):
    config = request.param
    return config, random_parameters(config, rng), rng.integers(0, V, T + 1)


def losses_after(config, params, ids, k, moved):
    """The losses from step k on, with `moved` added to the state after step k.

    The output of step k changes with its h: the output layer reads the same h_k as step k + 1.
    """
    state = [{key: np.zeros((1, *s)) for key, s in layer.items()} for layer in state_shapes(config)]
    _, state, _ = network.forward(config, params, ids[: k + 1, None], state)
    state = [{key: s + moved.get(key, 0) for key, s in state[0].items()}]
    weight = params["embedding" if config.tie_embeddings else "out.weight"]
    logits = [state[0]["h"][None] @ weight.T + params["out.bias"]]
    if k < T - 1:
        logits.append(network.forward(config, params, ids[k + 1 : -1, None], state)[0])
    return loss.losses(loss.log_softmax(np.concatenate(logits)), ids[k + 1 :, None])[:, 0]


def numeric_grid(config, params, ids):
    grid = {key: np.zeros((T, T)) for key in state_shapes(config)[0]}
    for key, norms in grid.items():
        for k in range(T):
            columns = []
            for unit in EPS * np.eye(H):
                plus = losses_after(config, params, ids, k, {key: unit})
                minus = losses_after(config, params, ids, k, {key: -unit})
                columns.append((plus - minus) / (2 * EPS))
            norms[k:, k] = np.linalg.norm(columns, axis=0)
    return grid


def test_the_grid_is_the_derivative_of_the_forward_pass(case):
    grid, numeric = gradient_grid(*case, bptt_length=T), numeric_grid(*case)
    assert grid.keys() == numeric.keys()
    for key, norms in grid.items():
        assert norms == pytest.approx(numeric[key], **CLOSE), key


@pytest.mark.parametrize("bptt_length", [1, 2, 3, 6, 7, 8])
def test_truncation_zeroes_gradients_across_windows_and_changes_no_other(case, bptt_length):
    t, k = np.indices((T, T))
    same_window = t // bptt_length == k // bptt_length
    cut, whole = gradient_grid(*case, bptt_length=bptt_length), gradient_grid(*case, bptt_length=T)
    for key, norms in cut.items():
        assert norms == pytest.approx(np.where(same_window, whole[key], 0), rel=1e-12)


def test_a_loss_reaches_every_earlier_state_and_no_later_one(case):
    norms = gradient_grid(*case, bptt_length=T)["h"]
    assert not np.triu(norms, 1).any()
    assert (norms[np.tril_indices(T)] > 0).all()


def test_float32_parameters_are_measured_in_float64(rng):
    config = ModelConfig(hidden_size=H, cell="elman")
    params = {name: p.astype(np.float32) for name, p in random_parameters(config, rng, scale=0.01).items()}
    ids = rng.integers(0, V, 41)
    norms = gradient_grid(config, params, ids, bptt_length=40)["h"]
    double = {name: p.astype(np.float64) for name, p in params.items()}
    assert (norms == gradient_grid(config, double, ids, bptt_length=40)["h"]).all()
    assert 0 < norms[-1, 0] < 1e-45  # below the smallest float32


def test_several_layers_or_residual_blocks_are_an_error(rng):
    for settings in ({"num_layers": 2}, {"block": "residual"}):
        config = ModelConfig(hidden_size=H, **settings)
        with pytest.raises(ConfigError, match="one plain layer"):
            gradient_grid(config, random_parameters(config, rng), rng.integers(0, V, 4), bptt_length=3)


def test_the_mean_by_lag_is_over_losses_with_that_lag():
    norms = np.tril(np.arange(16.0).reshape(4, 4))
    assert grad_norm_by_lag(norms).tolist() == [7.5, (4 + 9 + 14) / 3, (8 + 13) / 2, 12]
