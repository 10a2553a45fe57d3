"""Threads that help a compiled loop and wait between its calls.

Starting a thread costs as much as decoding some characters, so a model keeps those that it has started. They sleep
while they wait. A process forked from this one has none of them and starts its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Calls = Sequence[tuple[Any, ...]]


class HelperThreads:
    """Runs several calls of one compiled loop at the same time, the first of them on the caller's thread.

    Any thread may call `run`. While one call uses the helpers, another starts threads of its own: the parts of a call may
    wait for each other, so none of them may queue behind those of another call.

    Example:
        >>> HelperThreads().run(lambda a, b: a + b, [(1, 2), (3, 4), (0, 1)])
        1
    """

    def __init__(self) -> None:
        self._in_use = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._size, self._process = 0, os.getpid()

    def run(self, loop: Callable[..., int], calls: Calls) -> int:
        """Make every call and return the smallest result.

        Raises:
            Exception: whatever a call raised.
        """
        if len(calls) == 1:
            return int(loop(*calls[0]))
        if self._process != os.getpid():  # in a fork, the lock may have been copied while it was held
            self._in_use, self._pool, self._process = threading.Lock(), None, os.getpid()
        if not self._in_use.acquire(blocking=False):
            with ThreadPoolExecutor(len(calls) - 1) as pool:
                return _run(pool, loop, calls)
        try:
            return _run(self._at_least(len(calls) - 1), loop, calls)
        finally:
            self._in_use.release()

    def _at_least(self, number: int) -> ThreadPoolExecutor:
        """The waiting threads, of which there are `number` or more."""
        if self._pool is None or self._size < number:
            if self._pool is not None:
                self._pool.shutdown()
            self._pool, self._size = ThreadPoolExecutor(number, thread_name_prefix="kernel"), number
        return self._pool


def _run(pool: ThreadPoolExecutor, loop: Callable[..., int], calls: Calls) -> int:
    others = [pool.submit(loop, *call) for call in calls[1:]]
    return min(int(loop(*calls[0])), *(int(other.result()) for other in others))


def shares(count: int, parts: int) -> list[slice]:
    """Divide `count` rows into contiguous parts, as evenly as possible; at least one.

    Example:
        >>> shares(5, 2), shares(3, 0)
        ([slice(0, 2, None), slice(2, 5, None)], [slice(0, 3, None)])
    """
    parts = max(1, parts)
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in zip(edges, edges[1:])]
