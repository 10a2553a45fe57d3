"""The unrolled network: the forward pass matches the engine's, and every gradient is the derivative of it."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import cells, loss, network, residual
from charloom.insight.bptt import backpropagate, state_back, unroll
from charloom.parameters import state_shapes
from tests.engines.cases import CASES, H, V, random_parameters

T = 7
EPS = 1e-4
CLOSE = {"rel": 1e-6, "abs": 1e-9}  # five-point differences in float64: truncation EPS⁴, rounding 1e-16 / EPS


def slope_at_zero(f):
    """The derivative of f at 0 by five-point differences.

    Source: Abramowitz & Stegun (1964), table 25.2.
    """
    return (8 * (f(EPS) - f(-EPS)) - (f(2 * EPS) - f(-2 * EPS))) / (12 * EPS)


SAME = {"rtol": 1e-12, "atol": 1e-12}

TIED = ModelConfig(hidden_size=H, cell="gru", embedding_size=H, tie_embeddings=True)
every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES)


def zero_state(config, rows=1):
    return [{key: np.zeros((rows, *s)) for key, s in layer.items()} for layer in state_shapes(config)]


def text(rng, with_resets=False, rows=1):
    resets = None
    if with_resets:
        resets = np.zeros((T, rows), bool)
        resets[3] = True
    return rng.integers(0, V, (T, rows)), resets


@pytest.mark.parametrize("config", [*CASES.values(), TIED], ids=[*CASES, "gru-tied"])
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "reset"])
def test_the_forward_pass_matches_the_engine(config, with_resets, rng):
    params, (ids, resets) = random_parameters(config, rng), text(rng, with_resets, rows=3)
    expected, _, _ = network.forward(config, params, ids, zero_state(config, 3), resets=resets)
    np.testing.assert_allclose(unroll(config, params, ids, resets).logits, expected, **SAME)


def moved_losses(config, params, ids, resets, node, shift):
    """All losses with `shift` added to one node (layer, key, t), computed step by step without the code under test.

    A shifted h is read above it and one step later; a shifted c also by its own h.
    """
    place, key, when = node
    state, losses = zero_state(config), []
    for t in range(T - 1):
        state = zero_state(config) if resets is not None and resets[t].any() else state
        x = params["embedding"][ids[t]] if "embedding" in params else ids[t]
        for i in range(config.num_layers):
            move = shift if (i, t) == (place, when) else None
            x, state[i] = one_layer(config, network.layer_params(params, i), x, state[i], key, move)
        if config.block == "residual":
            x = residual.norm(x, params["norm"])
        out = params["embedding"] if config.tie_embeddings else params["out.weight"]
        logits = (x @ out.T + params["out.bias"])[None]
        losses.append(loss.losses(loss.log_softmax(logits), ids[None, t + 1])[0, 0])
    return np.array(losses)


def one_layer(config, weights, x, state, key, move):
    cell = cells.CELLS[config.cell]
    own = cell.Params(*(weights[f"cell.{name}"] for name in cell.Params._fields))
    options = {"activation": config.activation} if config.cell == "elman" else {}
    stream, after = x, {}
    if config.block == "residual":
        taps = np.concatenate([state["conv"], residual.norm(x, weights["norm"])[:, None]], axis=1)
        x = weights["conv.bias"] + (taps * weights["conv.weight"].T).sum(axis=1)
        after["conv"] = taps[:, 1:]
    prev = cell.State(*(state[name] for name in cell.State._fields))
    now, tape = cell.step(own, cell.project(own, x[None])[0], prev, **options)
    if move is not None and key == "h":
        now = now._replace(h=now.h + move)
    if move is not None and key == "c":
        now = now._replace(c=now.c + move, h=tape.o * np.tanh(now.c + move))
    after |= now._asdict()
    if config.block == "plain":
        return now.h, after
    y = stream + now.h @ weights["proj"].T
    return y + residual.gated_mlp(weights, residual.norm(y, weights["mlp_norm"])), after


@pytest.mark.parametrize("config", [*CASES.values(), TIED], ids=[*CASES, "gru-tied"])
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "reset"])
def test_the_gradient_in_every_node_is_the_derivative_of_the_losses(config, with_resets, rng):
    params, (ids, resets) = random_parameters(config, rng, scale=0.5), text(rng, with_resets)
    read, times = unroll(config, params, ids, resets), np.arange(T - 1)
    d_logits = loss.backward(loss.log_softmax(read.logits[:-1]), ids[1:])[:, 0]
    assert moved_losses(config, params, ids, resets, (0, "h", 0), 0.0) == pytest.approx(
        loss.losses(loss.log_softmax(read.logits[:-1]), ids[1:])[:, 0], rel=1e-10
    )
    seen = 0
    for found in backpropagate(read, times, d_logits):
        for i, arrays in enumerate(found.layers):
            for key, d in arrays.items():
                along = rng.normal(size=d.shape[1])
                place = (i, key, found.t)
                slope = slope_at_zero(
                    lambda step, place=place, along=along: moved_losses(
                        config, params, ids, resets, place, step * along
                    )
                )
                assert d @ along == pytest.approx(slope, **CLOSE), place
                seen += 1
    assert seen == (T - 1) * config.num_layers * (1 + (config.cell == "lstm"))


@every_case
def test_the_gradient_in_the_input_is_the_derivative_of_a_logit(config, rng):
    """An embedding row is used wherever its character occurs, so the sum over those positions is compared."""
    params, (ids, _) = random_parameters(config, rng, scale=0.5), text(rng)
    name = "embedding" if "embedding" in params else "layers.0.cell.w_ih"
    target, char = np.array([3]), ids[1, 0]
    d_logit = np.eye(V)[target]
    read = unroll(config, params, ids)
    if name != "embedding":
        total = 0  # to perturb a one-hot vector, the look-up becomes a product with a dense one
        for found in backpropagate(read, np.array([T - 1]), d_logit, with_inputs=True):
            total = found.x[0] if found.t == 1 else total
        along = rng.normal(size=V)
        table = {"embedding": np.eye(V), **params}
        dense = np.concatenate([table["embedding"], [table["embedding"][char]]])
        ids = ids.copy()
        ids[1] = V

        def logit(eps):
            moved = dense.copy()
            moved[V] += eps * along
            return unroll(config, params | {"embedding": moved}, ids).logits[-1, 0, 3]

        slope = slope_at_zero(logit)
        assert total @ along == pytest.approx(slope, **CLOSE)
        return
    along = rng.normal(size=params[name].shape[1])
    total = sum(
        found.x[0]
        for found in backpropagate(read, np.array([T - 1]), d_logit, with_inputs=True)
        if ids[found.t, 0] == char
    )

    def logit(eps):
        moved = params[name].copy()
        moved[char] += eps * along
        return unroll(config, params | {name: moved}, ids).logits[-1, 0, 3]

    slope = slope_at_zero(logit)
    assert total @ along == pytest.approx(slope, **CLOSE)


@every_case
def test_gradients_in_parallel_equal_those_of_each_alone(config, rng):
    params, (ids, _) = random_parameters(config, rng), text(rng)
    read, times, d_logits = unroll(config, params, ids), np.array([5, 2, 6]), rng.normal(size=(3, V))
    together = list(backpropagate(read, times, d_logits, first=1, with_inputs=True))
    assert [found.t for found in together] == [6, 5, 4, 3, 2, 1]
    for row, t in enumerate(times):
        alone = {f.t: f for f in backpropagate(read, times[row, None], d_logits[row, None], with_inputs=True)}
        for found in together:
            if found.t > t:
                assert not any(d[row].any() for arrays in found.layers for d in arrays.values())
                continue
            np.testing.assert_allclose(found.x[row], alone[found.t].x[0], **SAME)
            for arrays, single in zip(found.layers, alone[found.t].layers, strict=True):
                for key, d in arrays.items():
                    np.testing.assert_allclose(d[row], single[key][0], **SAME)


def test_one_step_of_a_cell_keeps_its_input_fixed(rng):
    config = CASES["lstm-residual-2"]
    params, (ids, _) = random_parameters(config, rng), text(rng)
    layer = unroll(config, params, ids).layers[1]
    wide = layer.h.shape[2]
    _, d_prev = state_back(config, layer, 2, {"h": np.eye(wide)[:1], "c": np.zeros((1, wide))})
    assert d_prev.keys() == {"h", "c"}
    own = cells.CELLS["lstm"].Params(**layer.cell)
    prev = cells.CELLS["lstm"].State(layer.h[1], layer.steps[2].c_prev)
    along = rng.normal(size=(1, wide))
    u = cells.CELLS["lstm"].project(own, layer.read)[2]

    def first_h(eps):
        now, _ = cells.CELLS["lstm"].step(own, u, prev._replace(c=prev.c + eps * along))
        return now.h[0, 0]

    slope = slope_at_zero(first_h)
    assert (d_prev["c"] * along).sum() == pytest.approx(slope, **CLOSE)
