"""How far the gradient of one loss reaches back: its norm in the state after every earlier step.

    d_s_k = ∂L_t/∂s_k                          (1)  s_k is read by step k + 1: h_k, in an LSTM h_k and c_k; k ≤ t
    d_s_t = W_outᵀ d_y_t                       (2)  in h_t alone, at the step of the loss
    d_s_k = (∂s_{k+1}/∂s_k)ᵀ d_s_{k+1}         (3)  one Jacobian per step, so a product of them from t down to k
    d_s_k = 0                                  (4)  if a window ends between k and t

All losses share one backward pass: every row of the batch reads the same text, and row t has a loss at step t alone.
Everything is float64, because in float32 a vanishing gradient soon underflows to zero.

Source: Pascanu et al. (2013), equation 5; the cut of (4): Williams & Peng (1990).
Shapes: T time, which is also the number of losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.contract import zero_state
from charloom.engines.scratch import loss, network
from charloom.errors import ConfigError
from charloom.insight.bptt import FLOAT64
from charloom.parameters import state_shapes

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array


def gradient_grid(
    config: ModelConfig, params: Mapping[str, Array], ids: Int[Array, "N"], bptt_length: int
) -> dict[str, Float[Array, "T T"]]:
    """Measure ‖∂L_t/∂h_k‖, and in an LSTM ‖∂L_t/∂c_k‖, for every pair of steps.

    Args:
        config: the network, one plain layer; dropout is off.
        params: its arrays under their full names.
        ids: T + 1 characters; step t reads ids[t] and predicts ids[t + 1], and the state before step 0 is zero.
        bptt_length: steps of a window, at least 1; the state is carried into the next window, no gradient comes back.

    Returns:
        For each state array, L2 norms in nats: row t is the loss, column k the step whose state it reaches; 0 if
        k > t or a window ends between them. h_k and c_k are both inputs of step k + 1; at k = t no step has read
        them yet, so c has no gradient.

    Raises:
        ConfigError: the network has several layers or residual blocks.

    Source:
        Pascanu et al. (2013), equation 5.
    """
    if config.num_layers > 1 or config.block == "residual":
        raise ConfigError(
            f"num_layers is {config.num_layers} and block is {config.block}",
            why="the gradient grid is defined for the states of one plain layer",
            fix="use --num-layers 1 --block plain",
        )
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    out_weight = params["embedding" if config.tie_embeddings else "out.weight"]
    T = len(ids) - 1
    tapes, d_y = _read(config, params, ids)
    grid = {key: np.zeros((T, T)) for key in state_shapes(config)[0]}
    d_s = zero_state(config, T, FLOAT64)
    for k in range(T - 1, -1, -1):
        if (k + 1) % bptt_length == 0:
            d_s = zero_state(config, T, FLOAT64)  # (4)
        d_loss = {"h": d_y[k][0] @ out_weight}  # (2)
        for key, norms in grid.items():
            norms[:, k] = np.linalg.norm(d_s[0][key] + d_loss.get(key, 0), axis=1)  # (1)
        _, d_s = network.backward(config, params, tapes[k], d_y[k], d_s)  # (3)
    return grid


def grad_norm_by_lag(norms: Float[Array, "T T"]) -> Float[Array, "T"]:
    """Average a grid over its losses: element k is the mean over t of ‖∂L_t/∂h_{t−k}‖.

    Example:
        >>> grad_norm_by_lag(np.array([[4.0, 0.0, 0.0], [2.0, 4.0, 0.0], [1.0, 4.0, 4.0]])).tolist()
        [4.0, 3.0, 1.0]
    """
    return np.array([np.diagonal(norms, -lag).mean() for lag in range(len(norms))])


def _read(
    config: ModelConfig, params: Mapping[str, Array], ids: Int[Array, "N"]
) -> tuple[list[network.Tape], list[Float[Array, "1 T V"]]]:
    """Read the text in T rows at once: the tape and d_y of each step, nonzero only in the row with its loss."""
    T = len(ids) - 1
    state, tapes, d_y = zero_state(config, T, FLOAT64), [], []
    for t in range(T):
        y, state, tape = network.forward(config, params, np.full((1, T), ids[t]), state, record=True)
        assert tape is not None
        own = np.zeros_like(y)
        own[:, t] = loss.backward(loss.log_softmax(y), np.full((1, T), ids[t + 1]))[:, t]
        tapes.append(tape)
        d_y.append(own)
    return tapes, d_y
