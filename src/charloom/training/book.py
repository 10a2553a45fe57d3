"""What the training loop remembers from stretch to stretch: plain numbers, saved whole with every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Book:
    """What the loop remembers from stretch to stretch; plain JSON, saved with every checkpoint."""

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
    def from_json(cls, values: Mapping[str, Any]) -> Book:
        """Read back what `dataclasses.asdict` and JSON made of a book."""
        book = cls(**values)
        book.knots = None if book.knots is None else tuple((int(a), float(b)) for a, b in book.knots)
        book.history = tuple((int(a), float(b)) for a, b in book.history)
        (nats, chars), (losses, steps) = book.since_validation, book.in_epoch
        book.since_validation, book.in_epoch = (nats, chars), (losses, steps)
        return book
