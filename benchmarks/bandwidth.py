"""Read bandwidth for a block of memory, by one or more threads: the limit of a loop that reads every weight."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from charloom.engines.fused.packing import aligned

SECONDS = 0.1


def _read(x, times):
    """Read x (n,) `times` times, as a scalar product of its halves."""
    half = x.shape[0] // 2
    for _ in range(times):
        np.dot(x[:half], x[half : 2 * half])


def reader(num_bytes: int, threads: int) -> tuple[Callable[[], object], int]:
    """A function that reads `num_bytes`, split between threads, for about `SECONDS`; and its bytes per call."""
    shares = [aligned(max(64, num_bytes // 4 // threads), np.float32) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def read(times: int) -> float:
        began = time.perf_counter()
        with threadpool_limits(1):
            list(pool.map(_read, shares, [times] * threads))
        return time.perf_counter() - began

    read(1)
    times = max(1, round(SECONDS / max(read(1), 1e-6)))
    times = max(1, round(times * SECONDS / max(read(times), 1e-6)))
    return lambda: read(times), times * sum(share.nbytes for share in shares)
