"""Read bandwidth for a block of memory, by one or more threads: the limit of a loop that reads every weight."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from charloom.engines.fused.packing import aligned
from charloom.kernels.library import library, pointer

SECONDS = 0.1


def _sum(x: np.ndarray, times: int) -> None:
    """Read x (n,) `times` times; n is a multiple of 64."""
    compiled = library()
    assert compiled is not None
    compiled.function("sum_repeatedly", "float32")(pointer(x), len(x), times)


def reader(num_bytes: int, threads: int) -> tuple[Callable[[], object], int]:
    """A function that reads `num_bytes`, split between threads, for about `SECONDS`; and its bytes per call."""
    shares = [aligned(max(64, num_bytes // 256 // threads * 64), np.float32) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def read(times: int) -> float:
        began = time.perf_counter()
        list(pool.map(_sum, shares, [times] * threads))
        return time.perf_counter() - began

    read(1)
    times = max(1, round(SECONDS / max(read(1), 1e-6)))
    times = max(1, round(times * SECONDS / max(read(times), 1e-6)))
    return lambda: read(times), times * sum(share.nbytes for share in shares)
