"""What the updates do to each parameter, told some hundred times a run for next to nothing.

The last update of a stretch is taken on its own and observed: the same arithmetic, to the bit, with the norms of what it moved. What a
gradient does in between is in the norm over all parameters, which every update reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charloom.engines import Learner, Metrics, Signal, State
from charloom.text.windows import Plan
from charloom.training.events import ParameterSignal, Signals

SIGNALS = 400
"""Observations a run, at most."""


def observed(
    learner: Learner, plan: Plan, first: int, stop: int, state: State, *, clip_norm: float | None
) -> tuple[State, Metrics, Signals]:
    """Take the updates from `first` to `stop` and observe the last of them."""
    parts = []
    if stop - 1 > first:
        state, metrics = learner.advance(plan, first, stop - 1 - first, state)
        parts.append(metrics)
    state, metrics, found = learner.observe(plan, stop - 1, state)
    parts.append(metrics)
    joined = Metrics(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("loss", "grad_norm", "chars"))
    )
    clipped = None if clip_norm is None else float((joined.grad_norm > clip_norm).mean())
    return state, joined, Signals(stop, clipped, _told(found))


def _told(found: Mapping[str, Signal]) -> dict[str, ParameterSignal]:
    return {
        name: ParameterSignal(
            one.grad_norm, one.weight_norm, one.update_norm / one.weight_norm if one.weight_norm > 0 else None
        )
        for name, one in found.items()
    }
