"""The state of the training loop between two ranges of steps: plain numbers, saved with every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class LoopState:
    """The loop's state; every field can be written as JSON.

    Attributes:
        knots: the plan, as (step, progress).
        elapsed_s: wall-clock time used.
        train_time_s: seconds in optimiser steps.
        chars_seen: characters trained on.
        best_step: the step of the best validation; −1 before the first.
        best_loss: its loss in nats.
        worse_since_best: validations since then.
        history: (step, loss in nats) of each validation.
        since_validation: summed nats and number of characters since the last validation.
        in_epoch: summed loss and number of updates of the epoch so far.
    """

    step: int = 0
    knots: tuple[tuple[int, float], ...] | None = None
    elapsed_s: float = 0.0
    train_time_s: float = 0.0
    chars_seen: int = 0
    best_step: int = -1
    best_loss: float = math.inf
    worse_since_best: int = 0
    history: tuple[tuple[int, float], ...] = ()
    since_validation: tuple[float, int] = (0.0, 0)
    in_epoch: tuple[float, int] = (0.0, 0)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LoopState:
        """Restore a state from `dataclasses.asdict` and JSON, which turns tuples into lists."""
        state = cls(**values)
        state.knots = None if state.knots is None else tuple((int(a), float(b)) for a, b in state.knots)
        state.history = tuple((int(a), float(b)) for a, b in state.history)
        (nats, chars), (losses, steps) = state.since_validation, state.in_epoch
        state.since_validation, state.in_epoch = (nats, chars), (losses, steps)
        return state
