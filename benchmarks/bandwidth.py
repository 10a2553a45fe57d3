"""How fast this machine reads memory of one size, by one thread or several: the ceiling of a loop that reads every weight once."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from charloom.engines.fused.packing import aligned

SECONDS = 0.05
ROUNDS = 5


@njit(nogil=True, fastmath={"reassoc"})
def _sum(x, times):
    """The sum of x (n,), so many times; each time all of it is read again, for x[0] has changed."""
    total = np.float32(0)
    for _ in range(times):
        s = np.float32(0)
        for i in range(x.shape[0]):
            s += x[i]
        x[0] = s
        total += s
    return total


def read_bandwidth(num_bytes: int, threads: int) -> float:
    """Bytes a second that `threads` read together from `num_bytes`, each from its own share: the median of some rounds."""
    shares = [aligned(max(16, num_bytes // 4 // threads), np.float32) for _ in range(threads)]
    whole = sum(share.nbytes for share in shares)
    with ThreadPoolExecutor(threads) as pool:

        def read(times: int) -> float:
            began = time.perf_counter()
            list(pool.map(_sum, shares, [times] * threads))
            return time.perf_counter() - began

        read(1)
        times = max(1, round(SECONDS / max(read(1), 1e-6)))
        times = max(1, round(times * SECONDS / max(read(times), 1e-6)))
        return statistics.median(whole * times / read(times) for _ in range(ROUNDS))
