"""The Jacobian of one state update, and products over lags: how a layer expands and contracts its state.

    J_t = ∂s_t/∂s_{t−1}                                (1)  s = h, for an LSTM h and c together; one layer, fixed input
    M_k = J_t J_{t−1} … J_{t−k+1} = ∂s_t/∂s_{t−k}      (2)
    ln σ_max(M_k)                                      (3)  of M_k / ‖M_k‖, with ln ‖M_k‖ summed separately
    Q_k R_k = J_{t−k+1}ᵀ Q_{k−1},  λ_i = mean_k ln |R_k[i, i]|     (4)  growth per character, from the largest

The scaling in (3) avoids under- and overflow.

Σ λ_i is exactly the mean of ln |det J_t|, whatever the order of the product. A convolution's inputs are state too,
but they do not feed back: their Jacobian shifts them and drops them after K − 1 steps, so they are left out.

Source: Pascanu, Mikolov & Bengio (2013) for (2); (4): Benettin et al. (1980), the QR method for Lyapunov exponents.
Shapes: N size of the state, H or 2 H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.bptt import Layer, Unrolled, state_back
from charloom.summary import short_fields

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True, eq=False)
class StepJacobian:
    """The effect of one layer on its state.

    Attributes:
        layer: from 0, the lowest.
        singular_values: of J_t, descending, averaged over the steps measured, (N,).
        largest: the largest singular value of each step measured, (S,).
        log_gain_by_lag: (3), natural, element k − 1 for M_k, (K,).
        growth_per_char: (4), natural, descending, (N,); −∞ along a direction that one step forgets completely.
    """

    layer: int
    singular_values: Float[Array, "N"]
    largest: Float[Array, "S"]
    log_gain_by_lag: Float[Array, "K"]
    growth_per_char: Float[Array, "N"]

    __repr__ = short_fields


def step_jacobian(config: ModelConfig, layer: Layer, t: int) -> Float[Array, "N N"]:
    """J_t of (1): element (i, j) is ∂s_t[i]/∂s_{t−1}[j], s in the order h, c."""
    H = layer.h.shape[2]
    return rows_back(config, layer, t, np.eye(2 * H if config.cell == "lstm" else H))


def rows_back(config: ModelConfig, layer: Layer, t: int, rows: Float[Array, "R N"]) -> Float[Array, "R N"]:
    """The product rows · J_t, without forming J_t."""
    keys = ("h", "c") if config.cell == "lstm" else ("h",)
    _, d_prev = state_back(config, layer, t, dict(zip(keys, np.split(rows, len(keys), axis=1), strict=True)))
    return np.concatenate([d_prev[key] for key in keys], axis=1)


def jacobians(read: Unrolled, *, num_steps: int, num_lags: int) -> tuple[StepJacobian, ...]:
    """Measure every layer's Jacobians.

    Args:
        read: one row of text, without resets.
        num_steps: steps whose singular values are averaged, evenly spaced over the second half.
        num_lags: K, factors of the longest product, which ends with the text's last step.
    """
    T = len(read.ids)
    steps = np.linspace(T // 2, T - 1, num_steps).astype(int)
    found = []
    for i, layer in enumerate(read.layers):
        values = np.linalg.svd(
            np.stack([step_jacobian(read.config, layer, t) for t in steps]), compute_uv=False
        )
        gains, growth = products(read.config, layer, range(T - 1, T - 1 - num_lags, -1))
        found.append(StepJacobian(i, values.mean(axis=0), values[:, 0], gains, growth))
    return tuple(found)


def products(config: ModelConfig, layer: Layer, steps: range) -> tuple[Float[Array, "K"], Float[Array, "N"]]:
    """Evaluate (3) after each factor, and (4), along descending steps."""
    H = layer.h.shape[2]
    size = 2 * H if config.cell == "lstm" else H
    product, log_scale = np.eye(size), 0.0
    q, log_growth, gains = np.eye(size), np.zeros(size), []
    for t in steps:
        jacobian = step_jacobian(config, layer, t)
        product = product @ jacobian  # (2)
        scale = np.linalg.norm(product)
        if scale > 0:
            product /= scale
        with np.errstate(divide="ignore"):
            log_scale += float(np.log(scale))
            gains.append(log_scale + float(np.log(_largest(product))))  # (3)
            q, r = np.linalg.qr(jacobian.T @ q)
            log_growth += np.log(np.abs(np.diagonal(r)))  # (4)
    return np.array(gains), np.sort(log_growth / len(steps))[::-1]


def _largest(matrix: Float[Array, "N N"]) -> float:
    """The largest singular value, from the symmetric square: a fraction of the cost of a full decomposition."""
    return float(np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1]))
