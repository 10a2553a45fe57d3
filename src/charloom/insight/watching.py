"""A short look at a network while it trains: how its gates stand, and how far its gradients reach at that moment.

The same measurements as `gates` and `gradient_flow`, on one short passage that stays the same all through the run, so that what changes from
one look to the next is the network and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.gates import gates
from charloom.insight.gradient_flow import measure
from charloom.insight.passages import resets_before, spaced
from charloom.insight.unrolled import unroll

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

LAGS = 100
LOSSES = 8
GATE_CHARS = 256


def watcher(
    config: ModelConfig, ids: Int[Array, "N"], *, boundary_id: int | None = None
) -> Callable[[Mapping[str, Array]], dict[str, Any]]:
    """A function of a network's parameters: what a look at them finds.

    Args:
        config: the network.
        ids: a text, 12 characters or more; its beginning is read.
        boundary_id: the symbol before which the state is zero again, or None.

    Returns:
        Parameters → ``saturation`` (of each gate the share of its values below 0.1 or above 0.9), ``grad_norm_by_lag`` (of each
        state array, lags 0, 1, …, nats per unit) and ``memory_horizon_chars`` (None where it lies beyond the lags).
    """
    num_lags = min(LAGS, len(ids) // 2)
    num_losses = min(LOSSES, len(ids) - num_lags - 1)
    passage = spaced(ids, num_lags + num_losses + 1, 1).astype(np.int64)
    read_ids = spaced(ids, min(GATE_CHARS, len(ids)), 1).astype(np.int64).T

    def look(params: Mapping[str, Array]) -> dict[str, Any]:
        with np.errstate(over="ignore", invalid="ignore"):  # what explodes is what we are here to see
            seen = gates(unroll(config, params, read_ids, resets_before(read_ids, boundary_id)))
            flow = measure(config, params, passage, num_lags, boundary_id=boundary_id)
        return {
            "saturation": {
                f"layer {one.layer} {one.gate}": one.saturated_fraction for one in seen.saturation
            },
            "grad_norm_by_lag": {
                f"layer {one.layer} {one.array}": [
                    float(x) if np.isfinite(x) else None for x in one.grad_norm_by_lag
                ]
                for one in flow.arrays
            },
            "memory_horizon_chars": flow.memory_horizon_chars,
        }

    return look
