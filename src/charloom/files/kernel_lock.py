"""Locks of the kernel on open files: they end with the process that holds them, whatever ends it.

Windows has none of this kind, and some network file systems have none at all: there, they are as if nobody held them.
"""

from __future__ import annotations

import contextlib
import sys

if sys.platform != "win32":
    import fcntl


def is_free(descriptor: int, *, without: bool = False) -> bool:
    """Take the lock of an open file if nobody holds it; whether it was free.

    Args:
        descriptor: of the file or folder.
        without: the answer where there are no locks.
    """
    if sys.platform == "win32":
        return without
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without
    return True


def wait_for(descriptor: int) -> None:
    """Take the lock of an open file, and wait for it if need be."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
