"""One number of threads for every pool, and the number this process may use."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

from charloom.errors import ConfigError

Args = ParamSpec("Args")
Result = TypeVar("Result")


_most: ContextVar[int | None] = ContextVar("most threads", default=None)


def available() -> int:
    """Threads this process may use: its cores (affinity, a container's quota), and no more than `at_most` allows.

    One in a process that was forked from one that had loaded torch (`pool_is_lost`).
    """
    if pool_is_lost():
        return 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, most = _cgroup_quota(), _most.get()
    cores = affinity if quota is None else min(affinity, math.ceil(quota))
    return max(1, cores if most is None else most)


@contextlib.contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Inside the block, `available` returns this number; None = the cores."""
    if threads is not None and threads < 1:
        fix = "give 1 or more, or leave it out to use the cores this process may use"
        raise ConfigError(f"threads is {threads}", why="at least one thread has to compute", fix=fix)
    token = _most.set(threads)
    try:
        yield
    finally:
        _most.reset(token)


_forked_after_torch = False


def _note_fork() -> None:
    global _forked_after_torch
    _forked_after_torch = _forked_after_torch or "torch" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def pool_is_lost() -> bool:
    """Whether this process was forked from one that had loaded torch.

    A fork copies one thread only. OpenMP's pool then waits for ever for threads that the parent had, and CUDA cannot be
    used at all; with one thread no pool is needed.
    """
    return _forked_after_torch


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


def calm_blas() -> None:
    """Give NumPy's BLAS one thread in a process that has not loaded NumPy yet, unless the user has set a number.

    `limit` does the same where a network is computed; this also covers what NumPy does elsewhere.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _cgroup_quota() -> float | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def limit(threads: int | None = None, *, blas: int | None = 1) -> Iterator[int]:
    """Limit every pool inside the block, and restore them afterwards.

    NumPy's BLAS gets one thread by default: its pool spins between products, which costs up to a factor of twenty if
    another process uses a core, and it gains little on the matrices of small networks.

    Args:
        threads: for torch; None = `available`; always one where `pool_is_lost`.
        blas: for NumPy's BLAS; None = as many as for torch.

    Yields:
        The number in use.
    """
    from threadpoolctl import threadpool_limits

    number = threads if threads is not None and not pool_is_lost() else available()
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


def limited(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Run every call of a function inside `limit`."""

    @functools.wraps(function)
    def inside(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        with limit():
            return function(*args, **kwargs)

    return inside
