"""One number of threads for every pool, and the number this process may use."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def available() -> int:
    """Cores this process may use: its affinity, limited by a container's quota if there is one."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(affinity, math.ceil(quota)) if quota is not None else affinity)


SPINS = 30_000
"""How often a waiting OpenMP thread polls before it sleeps: some tens of microseconds."""


def wait_briefly() -> None:
    """Make OpenMP pools that start later spin only briefly at their barriers, unless the user has set otherwise.

    By default they spin for milliseconds. On a busy machine they then wait for descheduled threads: a small GRU
    trained up to 40 times slower. Not spinning at all costs a quarter on an idle machine
    (docs/lab-log/2026-11.md, 1).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def _cgroup_quota() -> float | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def limit(threads: int | None, *, blas: int | None = None) -> Iterator[int]:
    """Limit every pool to `threads` inside the block (None = `available`), and restore them afterwards.

    Args:
        threads: for torch's pool, and for BLAS unless `blas` is given.
        blas: for NumPy's BLAS; 1 while torch runs in parallel, because two pools at once cost 3-19 x.

    Yields:
        The number in use.
    """
    from threadpoolctl import threadpool_limits

    number = threads if threads is not None else available()
    torch = sys.modules.get("torch")  # a process that has not imported torch has no such pool
    before = torch.get_num_threads() if torch else None
    with threadpool_limits(limits=blas if blas is not None else number, user_api="blas"):
        if torch:
            torch.set_num_threads(number)
        try:
            yield number
        finally:
            if torch and before is not None:
                torch.set_num_threads(before)
