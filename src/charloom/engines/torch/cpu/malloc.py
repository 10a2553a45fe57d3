"""Keep freed memory in the process: an update requests again what the one before it freed.

glibc returns a large block to the system when it is freed, and the system provides it again page by page, each cleared
first: 8,000 pages per update of a residual LSTM 2×256 on two threads, a twentieth of its time
(docs/lab-log/2026-11.md, 36).

This changes settings of the whole process, and they stay until it ends: of glibc's malloc, M_MMAP_THRESHOLD (to 32
MiB), M_TRIM_THRESHOLD (1 GiB) and M_TOP_PAD (64 MiB). `TorchEngine.learner` sets them when the process first trains
on torch; importing, evaluating and generating set nothing. To switch this off, set one of the environment variables
MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_, MALLOC_TOP_PAD_ or GLIBC_TUNABLES before training, for example glibc's
default: ``MALLOC_TRIM_THRESHOLD_=131072 charloom train ...``.

Source: the GNU C Library's manual, "Malloc Tunable Parameters"; ``mallopt(3)``.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2  # their numbers in malloc.h
_PARAMETERS = {
    _MMAP_THRESHOLD: 32 << 20,  # larger blocks come from the system one by one; the maximum before glibc 2.35
    _TRIM_THRESHOLD: 1 << 30,  # free memory kept at the top of the heap before any is returned
    _TOP_PAD: 64 << 20,  # the least that is requested at a time: the whole heap of another thread
}
_USER_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@cache
def keep_freed() -> bool:
    """Make this process keep up to a gigabyte of freed memory; False without glibc or if the user has set a limit."""
    if sys.platform != "linux" or any(name in os.environ for name in _USER_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(key, value) == 1 for key, value in _PARAMETERS.items())
