"""The networks that the tests of every engine use: each cell, in each block, on each kind of input."""

import numpy as np

from charloom.config import ModelConfig
from charloom.parameters import parameter_shapes

V = 7
H = 5

CELLS = {
    "elman-tanh": {"cell": "elman", "activation": "tanh"},
    "elman-sigmoid": {"cell": "elman", "activation": "sigmoid"},
    "elman-relu": {"cell": "elman", "activation": "relu"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "mingru": {"cell": "mingru"},
}
BLOCKS = {
    "plain-one-hot": {"block": "plain"},
    "plain-embedding": {"block": "plain", "embedding_size": 3},
    "residual": {"block": "residual", "conv_width": 3},
}
CASES = {
    f"{cell}-{block}-{layers}": ModelConfig(hidden_size=H, num_layers=layers, **CELLS[cell], **BLOCKS[block])
    for cell in CELLS
    for block in BLOCKS
    for layers in (1, 2)
}
SHORT_CASES = {name: config for name, config in CASES.items() if name.endswith("-2")}
PLAIN_CASES = {name: config for name, config in CASES.items() if config.block == "plain"}
SHORT_PLAIN = {name: config for name, config in PLAIN_CASES.items() if name.endswith("-2")}


def random_parameters(config, rng, vocab_size=V, scale=0.6):
    """Random values for every parameter, including those with initial value zero."""
    params = {
        name: rng.normal(size=shape) * scale + name.endswith("norm")
        for name, shape in parameter_shapes(config, vocab_size).items()
    }
    if config.cell == "elman" and config.activation == "relu":
        for i in range(config.num_layers):
            params[f"layers.{i}.cell.bias"] += 1.0  # a unit that is off hides errors
            params[f"layers.{i}.cell.w_hh"] *= 0.4  # and one that explodes amplifies rounding
    return params


def random_state(shapes, batch_size, rng):
    """A random state with NumPy leaves."""
    return [
        {key: rng.normal(size=(batch_size, *shape)) * 0.5 for key, shape in layer.items()} for layer in shapes
    ]


def random_ids(rng, batch_size, length, vocab_size=V):
    return rng.integers(0, vocab_size, size=(batch_size, length))


def random_resets(rng, batch_size, length):
    """Random resets inside a window, with at least one in the middle."""
    resets = rng.random((batch_size, length)) < 0.25
    resets[0, length // 2] = True
    return np.asarray(resets)
