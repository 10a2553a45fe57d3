"""Compilation of loops: serial, without the interpreter's lock, cached on disk for the next process.

A loop is a module-level function that calls others by name, never through an argument; otherwise Numba does
not find the compiled form again. Numba checks only the file of the called function: after editing a loop that
a loop in another file calls, delete ``__pycache__/*.nb?`` (the tests do, see their ``conftest.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

Loop = TypeVar("Loop", bound=Callable[..., Any])

try:
    from numba import njit
except ImportError:  # Numba may not support a new Python yet
    njit = None  # type: ignore[assignment]

HAS_NUMBA = njit is not None
"""Whether loops are compiled; read at each call."""


def compiled_exactly(loop: Loop, fastmath: set[str] | bool = False) -> Loop:
    """Compile a loop and cache it on disk, or only in memory if no folder is writable.

    Every operation is rounded as written. Without Numba the loop stays plain Python, and nothing calls it.
    """
    if not HAS_NUMBA:
        return loop
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    with warnings.catch_warnings():  # with a read-only home, Numba warns that it does not cache
        warnings.simplefilter("ignore")
        try:
            return cast("Loop", njit(cache=True, **options)(loop))
        except RuntimeError:  # without any folder, Numba refuses to cache
            return cast("Loop", njit(**options)(loop))


def compiled(loop: Loop) -> Loop:
    """Compile; a multiply and the add that follows may be rounded once."""
    return compiled_exactly(loop, {"contract"})


def compiled_sum(loop: Loop) -> Loop:
    """Like `compiled`, but sums may be reordered, the same way each time; NaN, infinity and signs are kept."""
    return compiled_exactly(loop, {"contract", "reassoc"})
