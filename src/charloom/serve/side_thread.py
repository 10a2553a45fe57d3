"""Parsing and encoding away from the event loop, where what is large would hold up the other requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from charloom.serve.refusal import Refusal
from charloom.serve.throttle import Throttle

P = ParamSpec("P")
R = TypeVar("R")

SMALL_BYTES = 16 << 10
"""What is not larger is read at once: it takes less than a millisecond."""

MOST_REST_S = 0.25
"""Longest rest after one of them."""


class SideThread:
    """One thread, so that only one large request at a time takes several times its size in memory.

    It rests after each as long as that took, so it has at most half the time of a core.

    Args:
        throttle: is charged with the work that ends in a refusal.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="side")
        self._throttle, self._rests_until = throttle, 0.0

    async def run(self, num_bytes: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function of so many bytes of input or output: here if that is little, in the thread otherwise."""
        if num_bytes <= SMALL_BYTES:
            return function(*args, **kwargs)
        loop = asyncio.get_running_loop()
        work = partial(function, *args, **kwargs)
        return await loop.run_in_executor(self._thread, self._timed, work)

    def _timed(self, work: Callable[[], R]) -> R:
        """In the thread: do work, and note how long it took."""
        time.sleep(max(0.0, self._rests_until - time.monotonic()))
        began, is_refused = time.monotonic(), False
        try:
            return work()
        except Refusal:
            is_refused = True
            raise
        finally:
            took_s = time.monotonic() - began
            self._rests_until = began + took_s + min(took_s, MOST_REST_S)
            if is_refused:
                self._throttle.charge(took_s)

    def close(self) -> None:
        """End the thread after what it does now."""
        self._thread.shutdown(cancel_futures=True)
