"""The lanes of a batch divided among threads: each computes its own lanes from start to end, on one core.

Rows of a batch are independent until their gradients are added, so one division at the top replaces one inside every
operation: no thread waits for another between two products, and each core's results stay in its cache. Parts are added
in the order of their lanes, so the bits depend on the number of threads only.

torch runs the caller's own operations on one thread meanwhile (`RowThreads.leading`), also if the rows are too few to
divide: after each shared operation, the threads of torch's pool spin, on cores that these threads or another process
need. A batch of one row then took up to ten times as long on a busy machine, and gained at most a tenth on an idle one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from charloom.threads import pool_is_lost

Part = TypeVar("Part")
Result = TypeVar("Result")

LEAST_ROWS = 4
"""The fewest rows per thread: with fewer, reading the weights once per thread costs more than sharing each product."""


class RowThreads:
    """As many threads as torch has, each of which runs torch's operations on one thread."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._size = 0
        self._led: int | None = None

    @property
    def number(self) -> int:
        """The number of threads."""
        return 1 if pool_is_lost() else self._led or torch.get_num_threads()

    @property
    def is_led(self) -> bool:
        """Whether a `leading` block is active."""
        return self._led is not None

    @contextmanager
    def leading(self, device: torch.device) -> Iterator[None]:
        """Limit the caller to one thread of torch's pool inside this block, on a CPU."""
        if device.type != "cpu" or self._led is not None:
            yield
            return
        before, self._led = torch.get_num_threads(), self.number
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            self._led = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Give the leading caller all threads inside this block, for work that cannot be divided."""
        if self._led is None:
            yield
            return
        torch.set_num_threads(self._led)
        try:
            yield
        finally:
            torch.set_num_threads(1)

    def split(self, num_rows: int, device: torch.device) -> list[slice]:
        """Divide the rows into a contiguous part per thread, as evenly as possible; one part if dividing does not pay.

        Example:
            >>> from charloom import threads
            >>> with threads.limit(2):
            ...     RowThreads().split(9, torch.device("cpu"))
            [slice(0, 5, None), slice(5, 9, None)]
        """
        parts = max(1, min(self.number, num_rows // LEAST_ROWS)) if device.type == "cpu" else 1
        cuts = [-(-num_rows * i // parts) for i in range(parts + 1)]
        return [slice(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]

    def run(self, compute: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Compute every part and return the results in order; a single part, or a single thread, runs here."""
        if len(parts) <= 1 or self.number == 1:
            return list(map(compute, parts))
        size = min(len(parts), self.number)
        if self._threads is None or self._size < size:
            # torch sets its number of threads per thread: each of the pool gets one, the caller's number stays
            self._threads = ThreadPoolExecutor(size, initializer=torch.set_num_threads, initargs=(1,))
            self._size = size
        return list(self._threads.map(compute, parts))
