"""Which earlier characters a prediction depends on.

    lean[t, j] = ‖∂y_t[k] / ∂x_{t−j}‖₂,  k the next character, y_t the logits, x the first layer's input      (1)

x_t is the character's embedding row or one-hot vector. In both cases the norm measures how much the logit changes
under a small perturbation of the input, not the effect of replacing the character by another one.

Source: Madsen (2019), "Visualizing memorization in RNNs", *Distill*: his connectivity, for all lags at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.bptt import backpropagate, unroll
from charloom.insight.passages import resets_before
from charloom.summary import short_fields

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True, eq=False)
class Connectivity:
    """The sensitivities of every prediction of a passage.

    Attributes:
        ids: the passage; its first characters are only context, (N,).
        first: index of the first character predicted; row r is the prediction of character first + r.
        lean: (1), (R, J + 1); column j is the character j before the newest one read.
        mean_by_lag: over the rows, (J + 1,).
    """

    ids: Int[Array, "N"]
    first: int
    lean: Float[Array, "R J"]
    mean_by_lag: Float[Array, "J"]

    __repr__ = short_fields


def connectivity(
    config: ModelConfig,
    params: Mapping[str, Array],
    ids: Int[Array, "N"],
    num_lags: int,
    *,
    boundary_id: int | None = None,
) -> Connectivity:
    """Measure (1) for every prediction with at least `num_lags` + 1 characters before it.

    Args:
        config: the network; dropout is off.
        params: its arrays.
        ids: the passage, at least `num_lags` + 2 characters.
        num_lags: J, the farthest.
        boundary_id: the symbol before which the state is reset, or None; no prediction depends on characters before it.

    Source:
        Madsen (2019).
    """
    read = unroll(config, params, ids[:-1, None], resets_before(ids[:-1, None], boundary_id))
    times = np.arange(num_lags, len(ids) - 1)
    d_logits = np.eye(len(params["out.bias"]))[ids[times + 1]]
    lean = np.zeros((len(times), num_lags + 1))
    for found in backpropagate(read, times, d_logits, with_inputs=True):
        assert found.x is not None
        lag = times - found.t
        rows = np.flatnonzero((lag >= 0) & (lag <= num_lags))
        lean[rows, lag[rows]] = np.linalg.norm(found.x[rows], axis=1)
    return Connectivity(ids, num_lags + 1, lean, lean.mean(axis=0))
