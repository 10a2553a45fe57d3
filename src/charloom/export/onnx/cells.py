"""One time step of each cell as ONNX operators, in the letters and with the equations of `engines.scratch`.

Arguments are the cell's weights by their names, a_x = W_ih x + b of this time step (B, G·H), and the state (B, H).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from charloom.config import ModelConfig
from charloom.export.onnx.graph import State, Value

Weights = Mapping[str, Value]


def elman_step(weights: Weights, a_x: Value, prev: State, activation: str) -> State:
    """The equations of `engines.scratch.elman`."""
    a = a_x + prev["h"] @ weights["w_hh"].T  # (1)
    return {"h": {"tanh": a.tanh, "sigmoid": a.sigmoid, "relu": a.relu}[activation]()}  # (2)


def lstm_step(weights: Weights, a_x: Value, prev: State) -> State:
    """The equations of `engines.scratch.lstm`."""
    a_i, a_f, a_g, a_o = (a_x + prev["h"] @ weights["w_hh"].T).split(4)  # (1)
    i, f, o = a_i.sigmoid(), a_f.sigmoid(), a_o.sigmoid()  # (2)
    c = f * prev["c"] + i * a_g.tanh()  # (3), (4)
    return {"h": o * c.tanh(), "c": c}  # (5)


def gru_step(weights: Weights, a_x: Value, prev: State) -> State:
    """The equations of `engines.scratch.gru`."""
    a_r, a_z, a_n = a_x.split(3)
    u_r, u_z, u_n = (prev["h"] @ weights["w_hh"].T).split(3)  # (1)
    r, z = (a_r + u_r).sigmoid(), (a_z + u_z).sigmoid()  # (2)
    n = (a_n + r * (u_n + weights["bias_hn"])).tanh()  # (3), (4)
    return {"h": (1 - z) * n + z * prev["h"]}  # (5)


def mingru_step(a_x: Value, prev: State) -> State:
    """The equations of `engines.scratch.mingru`."""
    a_z, a_n = a_x.split(2)  # (1)
    z, positive = a_z.sigmoid(), a_n.relu()  # (2)
    n = positive + (a_n - positive).sigmoid()  # (3): a + σ(0) = a + 0.5 for a ≥ 0, else σ(a)
    return {"h": (1 - z) * prev["h"] + z * n}  # (4)


def step_of(config: ModelConfig, weights: Weights) -> Callable[[Value, State], State]:
    """The time step of the configuration's cell, with these weights."""
    steps: dict[str, Callable[[Value, State], State]] = {
        "elman": lambda a_x, prev: elman_step(weights, a_x, prev, config.activation),
        "lstm": lambda a_x, prev: lstm_step(weights, a_x, prev),
        "gru": lambda a_x, prev: gru_step(weights, a_x, prev),
        "mingru": mingru_step,
    }
    return steps[config.cell]
