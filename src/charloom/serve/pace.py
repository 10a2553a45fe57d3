"""How many steps a compiled call takes so that it lasts about as long as wanted."""

from __future__ import annotations


class Pace:
    """Learns the time of a step from the calls before.

    Example:
        >>> pace = Pace()
        >>> pace.note(rows=2, steps=10, seconds=0.01)  # 1 ms a step
        >>> pace.steps(rows=2, seconds=0.02), pace.steps(rows=4, seconds=0.02)
        (20, 10)
    """

    def __init__(self) -> None:
        self._rows, self._step_s = 1, 0.001

    def steps(self, *, rows: int, seconds: float) -> int:
        """How many steps of so many rows take about so many seconds, at least one.

        More rows are expected to take in proportion longer: at most they do.
        """
        return max(1, round(seconds / (self._step_s * max(1.0, rows / self._rows))))

    def note(self, *, rows: int, steps: int, seconds: float) -> None:
        """Note how long a call took."""
        self._rows, self._step_s = rows, max(seconds / steps, 1e-7)
