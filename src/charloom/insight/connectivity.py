"""Which earlier characters a prediction leans on.

    lean[t, j] = ‖∂y_t[k] / ∂x_{t−j}‖₂,  k the character that follows, y_t the logits, x the first layer's input      (1)

x_t is the character's embedding row, or its one-hot vector: in both cases the norm says how much the logit would move if the
character were moved a little in any direction, not what would happen if it were another one.

Source: Madsen (2019), "Visualizing memorization in RNNs", *Distill*: his connectivity, for all lags at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.passages import resets_before
from charloom.insight.unrolled import pull_back, unroll

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True, eq=False)
class Connectivity:
    """The leanings of every prediction of a passage.

    Attributes:
        ids: the passage; its first characters are context alone, (N,).
        first: the place of the first character predicted; row r is about the prediction of character first + r.
        lean: (1), row r and column j: how far that prediction leans on the character j before the newest one it read, (R, J + 1).
        mean_by_lag: over the rows, (J + 1,).
    """

    ids: Int[Array, "N"]
    first: int
    lean: Float[Array, "R J"]
    mean_by_lag: Float[Array, "J"]


def connectivity(
    config: ModelConfig,
    params: Mapping[str, Array],
    ids: Int[Array, "N"],
    num_lags: int,
    *,
    boundary_id: int | None = None,
) -> Connectivity:
    """Measure (1) for every prediction that has `num_lags` characters and one before it.

    Args:
        config: the network; its dropout is off.
        params: its arrays.
        ids: the passage, `num_lags` + 2 characters or more.
        num_lags: J, the farthest.
        boundary_id: the symbol before which the state is zero again, or None; nothing leans across it.

    Source:
        Madsen (2019).
    """
    read = unroll(config, params, ids[:-1, None], resets_before(ids[:-1, None], boundary_id))
    times = np.arange(num_lags, len(ids) - 1)
    d_logits = np.eye(len(params["out.bias"]))[ids[times + 1]]
    lean = np.zeros((len(times), num_lags + 1))
    for found in pull_back(read, times, d_logits, with_inputs=True):
        assert found.x is not None
        lag = times - found.t
        rows = np.flatnonzero((lag >= 0) & (lag <= num_lags))
        lean[rows, lag[rows]] = np.linalg.norm(found.x[rows], axis=1)
    return Connectivity(ids, num_lags + 1, lean, lean.mean(axis=0))
