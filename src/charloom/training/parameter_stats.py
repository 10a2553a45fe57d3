"""Statistics of single updates per parameter, recorded a few hundred times per run at almost no cost.

The last update of a range of steps is observed: the same arithmetic, bit for bit, plus the norms of the change. The
gradient norm over all parameters is reported for every update.
"""

from __future__ import annotations

from charloom.engines import Metrics
from charloom.training.events import ParameterStats, UpdateStats

OBSERVATIONS = 400
"""Maximum number of observed updates per run."""


def update_stats(step: int, metrics: Metrics, *, clip_norm: float | None) -> UpdateStats:
    """Describe the last update of a range of steps, which ends at `step` and whose `metrics` observed it."""
    assert metrics.last_update is not None
    clip_rate = None if clip_norm is None else float((metrics.grad_norm > clip_norm).mean())
    parameters = {
        name: ParameterStats(
            one.grad_norm, one.weight_norm, one.update_norm / one.weight_norm if one.weight_norm > 0 else None
        )
        for name, one in metrics.last_update.items()
    }
    return UpdateStats(step, clip_rate, parameters)
