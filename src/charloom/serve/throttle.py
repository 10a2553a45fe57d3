"""How fast requests are refused: the work that they cost has a share of the time, and who sends more of them waits.

A refused request costs about two milliseconds, one of a megabyte up to hundreds, and the next is sent as soon as the
answer is there. So the answer waits until the work for it is within the share; texts are written meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SAVED_FOR_S = 2.0
"""How long the share is saved up while nothing is refused: for some 200 small requests at once."""

LEAST_WORK_S = 0.002
"""What a refused request costs besides the reading of its body."""

MOST_WAIT_S = 10.0
"""No answer waits longer."""


class Throttle:
    """A token bucket of seconds of work.

    Args:
        share: seconds of work for refused requests per second.
        clock: returns seconds; tests pass their own.

    Example:
        >>> throttle = Throttle(0.2, clock=lambda: 0.0)
        >>> throttle.charge(0.398)
        >>> [round(throttle.wait_s(), 3) for _ in range(3)]
        [0.0, 0.01, 0.02]
    """

    def __init__(self, share: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._clock = share, clock
        self._saved_s, self._last = SAVED_FOR_S * share, clock()
        self._lock = threading.Lock()

    def charge(self, work_s: float) -> None:
        """Take work from what is saved; a debt is paid off within `MOST_WAIT_S`. Any thread may call this."""
        with self._lock:
            now = self._clock()
            earned = min(self._saved_s + self._share * (now - self._last), SAVED_FOR_S * self._share)
            self._saved_s = max(earned - work_s, -MOST_WAIT_S * self._share)
            self._last = now

    def wait_s(self) -> float:
        """Charge a refusal; return the seconds until all charges are paid."""
        self.charge(LEAST_WORK_S)
        return max(0.0, -self._saved_s / self._share)
