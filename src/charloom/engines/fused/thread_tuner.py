"""The fastest number of threads for one stream, measured during generation.

Two threads that share every product synchronise a dozen times per character. That nearly doubles the speed on
an idle machine, but on a busy one each waits for a thread that the system has suspended. The text is the same
bit for bit, so both are tried, the faster is used, and the slower is tried again less and less often.
"""

from __future__ import annotations

_FIRST_WAIT = 8
"""Calls until the slower number is tried again; doubles each time it loses."""


class ThreadTuner:
    """The choice between one thread and `most` threads.

    Example:
        >>> tuner = ThreadTuner(2)
        >>> for seconds in (0.4, 0.1, 0.1):  # two threads are slower than one
        ...     tuner.note(tuner.threads, seconds)
        >>> tuner.threads
        1
    """

    def __init__(self, most: int) -> None:
        self._cost: dict[int, float] = {}
        self._numbers = (most, 1) if most > 1 else (1,)
        self._wait, self._until = _FIRST_WAIT, _FIRST_WAIT

    @property
    def threads(self) -> int:
        """The number of threads for the next call."""
        untried = [number for number in self._numbers if number not in self._cost]
        return untried[0] if untried else min(self._cost, key=lambda number: self._cost[number])

    def note(self, threads: int, seconds_per_char: float) -> None:
        """Record the time of a call."""
        self._cost[threads] = seconds_per_char
        if len(self._cost) < len(self._numbers) or len(self._numbers) == 1:
            return
        self._until -= 1
        if self._until == 0:  # forget the slower number, so that it is tried next
            del self._cost[max(self._cost, key=lambda number: self._cost[number])]
            self._wait *= 2
            self._until = self._wait
