"""Monitor a network during training: gate saturation and how far its gradients reach.

The measurements are those of `gates` and `gradient_flow`, on one short passage that stays the same throughout the
run, so any change between two measurements is due to the network alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.bptt import unroll
from charloom.insight.gates import gates
from charloom.insight.gradient_flow import measure
from charloom.insight.passages import resets_before, spaced

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

LAGS = 100
LOSSES = 8
GATE_CHARS = 256


def monitor(
    config: ModelConfig, ids: Int[Array, "N"], *, boundary_id: int | None = None
) -> Callable[[Mapping[str, Array]], dict[str, Any]]:
    """Return a function that measures a network's parameters on the beginning of a text of at least 12 characters.

    Args:
        config: the network.
        ids: the text.
        boundary_id: the symbol before which the state is reset, or None.

    Returns:
        Parameters → ``saturation`` (per gate, the share of its values below 0.1 or above 0.9), ``grad_norm_by_lag``
        (per state array, lags 0, 1, …, nats per unit) and ``memory_horizon_chars`` (None if beyond the last lag).
    """
    num_lags = min(LAGS, len(ids) // 2)
    num_losses = min(LOSSES, len(ids) - num_lags - 1)
    passage = spaced(ids, num_lags + num_losses + 1, 1).astype(np.int64)
    read_ids = spaced(ids, min(GATE_CHARS, len(ids)), 1).astype(np.int64).T

    def measure_now(params: Mapping[str, Array]) -> dict[str, Any]:
        with np.errstate(over="ignore", invalid="ignore"):  # exploding values are a finding
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

    return measure_now
