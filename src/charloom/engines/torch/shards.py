"""Lanes of a batch shared among threads: each computes its own lanes from end to end, alone on its core.

Rows of a batch know nothing of each other until their gradients are added, so one division at the top replaces one inside every
operation: no thread waits for another between two products, and what a core has just written it still has at hand. Parts are
added in the order of their lanes: the bits depend on the number of threads and on nothing else.

Whoever calls keeps to one thread meanwhile (`Shards.leading`): the threads of torch's own pool spin for milliseconds after each operation that
they shared, each on a core that a part of ours is waiting for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

LEAST_ROWS = 4
"""Rows that a thread gets at least: with fewer, reading the weights once a thread costs more than sharing the products."""


class Shards:
    """As many threads as torch has, each with a pool of one."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._size = 0
        self._led: int | None = None

    @property
    def number(self) -> int:
        """How many threads there are."""
        return self._led or torch.get_num_threads()

    @property
    def is_led(self) -> bool:
        """Whether somebody is `leading` now."""
        return self._led is not None

    @contextmanager
    def leading(self, num_rows: int, device: torch.device) -> Iterator[None]:
        """Keep the caller to one thread inside this block, if so many rows are shared at all."""
        if len(self.split(num_rows, device)) == 1:
            yield
            return
        self._led = self.number
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self._led)
            self._led = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Give the leading caller all threads inside this block: for what cannot be shared out."""
        if self._led is None:
            yield
            return
        torch.set_num_threads(self._led)
        try:
            yield
        finally:
            torch.set_num_threads(1)

    def split(self, num_rows: int, device: torch.device) -> list[slice]:
        """Neighbouring rows, one part a thread, as even as can be; all in one part where sharing does not pay.

        Example:
            >>> from charloom import threads
            >>> with threads.limit(2):
            ...     Shards().split(9, torch.device("cpu"))
            [slice(0, 5, None), slice(5, 9, None)]
        """
        parts = min(self.number, num_rows // LEAST_ROWS) if device.type == "cpu" else 1
        parts = max(1, parts)
        cuts = [-(-num_rows * i // parts) for i in range(parts + 1)]
        return [slice(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]

    def run(self, compute: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """`compute` of every part, in their order; one part alone is computed here, by all of torch's threads."""
        if len(parts) == 1:
            return [compute(parts[0])]
        if self._threads is None or self._size < len(parts):
            # torch counts threads by the thread: those of the pool get one each, the caller keeps its own
            self._threads = ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(1,))
            self._size = len(parts)
        return list(self._threads.map(compute, parts))
