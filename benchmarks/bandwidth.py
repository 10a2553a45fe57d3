"""Read bandwidth for a block of memory, by one or more threads: the limit of a loop that reads every weight."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from charloom.engines.fused.packing import aligned

SECONDS = 0.1


@njit(nogil=True, fastmath={"reassoc"})
def _sum(x, times):
    """Sum x (n,) `times` times in four streams; changing x[0] makes every pass read all of it again."""
    total, q = np.float32(0), x.shape[0] // 4
    for _ in range(times):
        a = b = c = d = np.float32(0)
        for i in range(q):
            a += x[i]
            b += x[q + i]
            c += x[2 * q + i]
            d += x[3 * q + i]
        x[0] = a + b + c + d
        total += x[0]
    return total


def reader(num_bytes: int, threads: int) -> tuple[Callable[[], object], int]:
    """A function that reads `num_bytes`, split between threads, for about `SECONDS`; and its bytes per call."""
    shares = [aligned(max(64, num_bytes // 4 // threads), np.float32) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def read(times: int) -> float:
        began = time.perf_counter()
        list(pool.map(_sum, shares, [times] * threads))
        return time.perf_counter() - began

    read(1)
    times = max(1, round(SECONDS / max(read(1), 1e-6)))
    times = max(1, round(times * SECONDS / max(read(times), 1e-6)))
    return lambda: read(times), times * sum(share.nbytes for share in shares)
