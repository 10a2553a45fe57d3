"""Parsing and encoding away from the event loop, where what is large would hold up the other requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from charloom.serve.refusal import Refusal
from charloom.serve.throttle import Throttle

P = ParamSpec("P")
R = TypeVar("R")

SMALL_BYTES = 16 << 10
"""What is not larger is read at once: it takes less than a millisecond."""


class SideThread:
    """One thread, so that only one large request at a time takes several times its size in memory.

    Args:
        throttle: is charged with the work that ends in a refusal.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="side")
        self._throttle = throttle

    async def run(self, num_bytes: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function of so many bytes of input or output: here if that is little, in the thread otherwise."""
        if num_bytes <= SMALL_BYTES:
            return function(*args, **kwargs)
        loop, began = asyncio.get_running_loop(), time.monotonic()

        def timed() -> R:
            nonlocal began
            began = time.monotonic()
            return function(*args, **kwargs)

        try:
            return await loop.run_in_executor(self._thread, timed)
        except Refusal:
            self._throttle.charge(time.monotonic() - began)
            raise

    def close(self) -> None:
        """End the thread after what it does now."""
        self._thread.shutdown(cancel_futures=True)
