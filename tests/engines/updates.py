"""The published update of each optimiser on one array in NumPy, and the variants that every engine is tested with."""

import typing

import numpy as np

from charloom.config import TrainConfig

ROUNDING = {"rtol": 1e-12, "atol": 1e-14}  # float64, a few operations per step
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
    """Random weights or gradients."""
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def take(config, weights, gradients, states, t, learning_rate):
    """Every array after update number `t` of the reference; matrices decay."""
    twin = TWINS[config.optimizer]
    return {
        name: twin(
            config,
            w,
            gradients[name],
            states[name],
            t,
            learning_rate,
            config.weight_decay * (name in MATRICES),
        )
        for name, w in weights.items()
    }


def configured_methods():
    """Every optimiser in the configuration."""
    return set(typing.get_args(typing.get_type_hints(TrainConfig)["optimizer"]))
