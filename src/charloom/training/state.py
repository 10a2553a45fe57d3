"""The state of the training loop between two ranges of steps: plain numbers, saved with every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

FEWEST_VALIDATION_CHARS, MOST_VALIDATION_CHARS = 3_072, 30_000
"""Bounds of the number of characters scored per validation."""

VALIDATION_SHARE = 0.04
"""Characters scored per validation, as a share of those trained on between two: about 3 % of the time."""

FEWEST_REPORT_CHARS, MOST_REPORT_CHARS = 10_000, 1_000_000
"""Bounds of the number of held-out characters that the final report measures."""

REPORT_SHARE = 0.1
"""Held-out characters in the final report, as a share of those that the whole run trains on: about 3 % of the time."""


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
        validation_chars: characters scored per validation; 0 = not decided yet.
        report_chars: most held-out characters that the final report measures; 0 = not decided yet.
        others: what a newer version has recorded in the checkpoint; it is kept.
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
    validation_chars: int = 30_000  # the defaults are for checkpoints from before these were recorded
    report_chars: int = 1_000_000
    others: dict[str, Any] = field(default_factory=dict)

    def size_measurements(self, all_chars: float, between: float) -> None:
        """Decide once how much text validations and the final report read.

        Args:
            all_chars: characters that the run will train on, by the speed so far.
            between: characters trained on between two validations.
        """
        if self.validation_chars == 0:
            self.validation_chars = _clamped(
                VALIDATION_SHARE * between, FEWEST_VALIDATION_CHARS, MOST_VALIDATION_CHARS
            )
            self.report_chars = _clamped(REPORT_SHARE * all_chars, FEWEST_REPORT_CHARS, MOST_REPORT_CHARS)

    def to_json(self) -> dict[str, Any]:
        """The fields as one object, with what a newer version has recorded."""
        values = asdict(self)
        others: dict[str, Any] = values.pop("others")
        return others | values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LoopState:
        """Restore a state from `to_json` and JSON, which turns tuples into lists."""
        known = {spec.name for spec in fields(cls)} - {"others"}
        state = cls(**{name: value for name, value in values.items() if name in known})
        state.others = {name: value for name, value in values.items() if name not in known}
        state.knots = None if state.knots is None else tuple((int(a), float(b)) for a, b in state.knots)
        state.history = tuple((int(a), float(b)) for a, b in state.history)
        (nats, chars), (losses, steps) = state.since_validation, state.in_epoch
        state.since_validation, state.in_epoch = (nats, chars), (losses, steps)
        return state


def added(total: float, numbers: Float[Array, " n"]) -> float:
    """The total and the numbers, added one after the other, so that their division into ranges of steps changes no digit."""
    for number in numbers.tolist():
        total += number
    return total


def _clamped(number: float, least: int, most: int) -> int:
    return max(least, min(most, int(number)))
