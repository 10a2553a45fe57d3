"""How many threads write one stream fastest: found by trying, as it is written.

Two threads that share every product meet a dozen times a character. On an idle machine that nearly doubles the speed; on a busy one
each waits for a thread that the system has put aside. The text is the same bit for bit, so both are tried, the faster goes on, and
the other gets another chance ever more rarely.
"""

from __future__ import annotations

_FIRST_WAIT = 8
"""Stretches until the slower number is tried again; each time it loses, twice as many."""


class Pace:
    """The choice between one thread and several.

    Args:
        most: how many there may be.

    Example:
        >>> pace = Pace(2)
        >>> for seconds in (0.4, 0.1, 0.1):  # two threads are slower here, one is faster
        ...     pace.note(pace.threads, seconds)
        >>> pace.threads
        1
    """

    def __init__(self, most: int) -> None:
        self._cost: dict[int, float] = {}
        self._numbers = (most, 1) if most > 1 else (1,)
        self._wait, self._until = _FIRST_WAIT, _FIRST_WAIT

    @property
    def threads(self) -> int:
        """How many for the next stretch."""
        untried = [number for number in self._numbers if number not in self._cost]
        return untried[0] if untried else min(self._cost, key=lambda number: self._cost[number])

    def note(self, threads: int, seconds_per_char: float) -> None:
        """Remember what a stretch cost."""
        self._cost[threads] = seconds_per_char
        if len(self._cost) < len(self._numbers) or len(self._numbers) == 1:
            return
        self._until -= 1
        if self._until == 0:  # forget the slower one, so that it is tried next
            del self._cost[max(self._cost, key=lambda number: self._cost[number])]
            self._wait *= 2
            self._until = self._wait
