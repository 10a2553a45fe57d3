"""What an update frees the next one asks for again: it shall not go back to the system in between.

The C library returns a large block when it is freed, and the system hands it out anew page by page, each emptied first: of an update of a
residual LSTM 2×256 on two threads 8,000 pages, a twentieth of its time (docs/lab-log.md, 36).

Source: the GNU C Library's manual, "Malloc Tunable Parameters"; ``mallopt(3)``.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2  # their numbers in malloc.h
_PARAMETERS = {
    _MMAP_THRESHOLD: 32 << 20,  # larger blocks come one by one from the system; before glibc 2.35 the most
    _TRIM_THRESHOLD: 1 << 30,  # so much may lie free before any of it is returned
    _TOP_PAD: 64 << 20,  # at least so much is asked for at once: all of the heap of another thread
}
_WISHES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@cache
def keep_freed() -> bool:
    """Have the process keep up to a gigabyte of what it frees from now on.

    Returns:
        Whether it will: not where the C library is another, nor where the user's environment sets a limit of its own.
    """
    if sys.platform != "linux" or any(wish in os.environ for wish in _WISHES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(key, value) == 1 for key, value in _PARAMETERS.items())
