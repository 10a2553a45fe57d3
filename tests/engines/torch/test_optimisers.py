"""Each optimiser against its published update, written out in NumPy; grouping; names of moments."""

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.torch.optimisers import Optimiser, is_hidden_matrix
from charloom.parameters import parameter_shapes

ROUNDING = {"rtol": 1e-12, "atol": 1e-14}  # float64, a few operations a step
MUON_BF16 = 2e-2  # torch's Muon orthogonalises in bfloat16: eight bits of mantissa
STEPS = 5
SHAPES = {"layers.0.cell.w_hh": (3, 4), "layers.0.cell.bias": (4,), "out.weight": (2, 3)}
MATRICES = ("layers.0.cell.w_hh", "out.weight")


def sgd(config, w, d, s, t, lr, decay):
    d = d + decay * w
    if config.momentum:
        s["v"] = d if t == 1 else config.momentum * s["v"] + d
        d = s["v"]
    return w - lr * d


def adam(config, w, d, s, t, lr, decay, *, decoupled=False):
    if decoupled:
        w = w * (1 - lr * decay)
    else:
        d = d + decay * w
    s["m"] = config.beta1 * s.get("m", 0) + (1 - config.beta1) * d
    s["v"] = config.beta2 * s.get("v", 0) + (1 - config.beta2) * d * d
    m_hat, v_hat = s["m"] / (1 - config.beta1**t), s["v"] / (1 - config.beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + config.epsilon)


def adamw(*args):
    return adam(*args, decoupled=True)


def adagrad(config, w, d, s, t, lr, decay):
    d = d + decay * w
    s["G"] = s.get("G", 0) + d * d
    if config.epsilon_inside_root:
        return w - lr * d / np.sqrt(s["G"] + config.epsilon)
    return w - lr * d / (np.sqrt(s["G"]) + config.epsilon)


def rmsprop(config, w, d, s, t, lr, decay):
    d = d + decay * w
    s["G"] = config.beta2 * s.get("G", 0) + (1 - config.beta2) * d * d
    d = d / (np.sqrt(s["G"]) + config.epsilon)
    if config.momentum:
        s["v"] = config.momentum * s.get("v", 0) + d
        d = s["v"]
    return w - lr * d


TWINS = {"sgd": sgd, "adam": adam, "adamw": adamw, "adagrad": adagrad, "rmsprop": rmsprop}
VARIANTS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.8}),
    ("adam", {"beta1": 0.8, "beta2": 0.95}),
    ("adam", {"beta1": 0.0}),
    ("adamw", {"epsilon": 0.1}),
    ("adagrad", {"epsilon": 0.01}),
    ("adagrad", {"epsilon": 0.01, "epsilon_inside_root": True}),
    ("rmsprop", {"beta2": 0.9, "epsilon": 0.01}),
    ("rmsprop", {"momentum": 0.7}),
]


def start(rng):
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def make(config, weights):
    params = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    return params, Optimiser(params, config)


def update(params, optimiser, gradients, lr):
    for name, p in params.items():
        p.grad = torch.tensor(gradients[name])
    optimiser.step(lr)


@pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_each_optimiser_takes_its_published_update(method, settings, weight_decay, rng):
    config = TrainConfig(optimizer=method, weight_decay=weight_decay, **settings)
    weights, states = start(rng), {name: {} for name in SHAPES}
    params, optimiser = make(config, weights)
    for t in range(1, STEPS + 1):
        gradients, lr = start(rng), 0.1 / t
        update(params, optimiser, gradients, lr)
        for name in SHAPES:
            decay = weight_decay if name in MATRICES else 0.0
            weights[name] = TWINS[method](config, weights[name], gradients[name], states[name], t, lr, decay)
            np.testing.assert_allclose(
                params[name].detach(), weights[name], **ROUNDING, err_msg=f"{name} {t}"
            )


def test_every_optimiser_of_the_configuration_has_a_twin_here():
    import typing

    hints = typing.get_type_hints(TrainConfig)
    assert set(typing.get_args(hints["optimizer"])) == {*TWINS, "muon"}


def muon_direction(m):
    """Newton and Schulz's five steps towards the nearest orthogonal matrix, with Jordan's coefficients."""
    x = m / (np.linalg.norm(m) + 1e-7)
    flip = x.shape[0] > x.shape[1]
    x = x.T if flip else x
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        g = x @ x.T
        x = a * x + (b * g + c * g @ g) @ x
    return x.T if flip else x


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_muon_moves_hidden_matrices_along_the_orthogonalised_momentum(weight_decay, rng):
    config = TrainConfig(optimizer="muon", weight_decay=weight_decay)
    weights, momentum, states = start(rng), np.zeros((3, 4)), {name: {} for name in SHAPES}
    params, optimiser = make(config, weights)
    for t in range(1, STEPS + 1):
        gradients, lr = start(rng), 0.05
        update(params, optimiser, gradients, lr)
        for name, w in weights.items():
            decay = weight_decay if name in MATRICES else 0.0
            if name != "layers.0.cell.w_hh":
                weights[name] = adamw(config, w, gradients[name], states[name], t, lr, decay)
                np.testing.assert_allclose(params[name].detach(), weights[name], **ROUNDING)
                continue
            momentum = 0.95 * momentum + 0.05 * gradients[name]
            nesterov = 0.95 * momentum + 0.05 * gradients[name]
            scale = 0.2 * np.sqrt(max(w.shape))  # as large a step as AdamW's (Moonlight's rule)
            weights[name] = w * (1 - lr * decay) - lr * scale * muon_direction(nesterov)
            np.testing.assert_allclose(params[name].detach(), weights[name], rtol=0, atol=MUON_BF16 * t * lr)


def test_muon_takes_the_matrices_between_hidden_layers_and_no_other():
    config = ModelConfig(hidden_size=4, block="residual", cell="lstm")
    shapes = parameter_shapes(config, 6)
    taken = {name for name, shape in shapes.items() if is_hidden_matrix(name, torch.zeros(shape))}
    assert taken == {
        f"layers.0.{part}" for part in ("cell.w_ih", "cell.w_hh", "proj", "mlp.gate", "mlp.up", "mlp.down")
    }


@pytest.mark.parametrize(("method", "settings"), [*VARIANTS, ("muon", {})], ids=str)
def test_a_new_optimiser_goes_on_from_named_moments(method, settings, rng):
    config = TrainConfig(optimizer=method, weight_decay=0.1, **settings)
    params, optimiser = make(config, start(rng))
    draws = [start(rng) for _ in range(2 * STEPS)]
    for gradients in draws[:STEPS]:
        update(params, optimiser, gradients, 0.1)
    moments = {name: x.clone() for name, x in optimiser.moments().items()}
    assert all(any(name.startswith(f"{p}.") for p in SHAPES) for name in moments)
    other, resumed = make(config, {name: p.detach().numpy() for name, p in params.items()})
    resumed.load_moments(moments)
    for gradients in draws[STEPS:]:
        update(params, optimiser, gradients, 0.1)
        update(other, resumed, gradients, 0.1)
    for name in SHAPES:
        np.testing.assert_array_equal(other[name].detach(), params[name].detach())
