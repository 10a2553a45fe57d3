"""How a loop is compiled: serial, without the interpreter's lock, kept on disk for the next process.

A loop is a module-level function that calls others by name, never one that it is handed: only so does Numba find the
compiled form again. It looks at the file of the function that was called alone: whoever edits a loop that another file's
loop calls deletes ``__pycache__/*.nb?`` (the tests do, see their ``conftest.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

Loop = TypeVar("Loop", bound=Callable[..., Any])

try:
    from numba import njit
except ImportError:  # Numba lags a new Python
    njit = None  # type: ignore[assignment]


HAS_NUMBA = njit is not None
"""Whether loops are compiled at all; asked when a loop is about to be called."""


def compiled_exactly(loop: Loop, fastmath: set[str] | bool = False) -> Loop:
    """Compile a loop, kept on disk for the next process; in memory alone where there is no right to write to any folder.

    Every operation is rounded as it is written. Without Numba the loop is as it was, and nobody calls it.
    """
    if not HAS_NUMBA:
        return loop
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    with warnings.catch_warnings():  # a read-only home: Numba warns that it compiles in memory only
        warnings.simplefilter("ignore")
        try:
            return cast("Loop", njit(cache=True, **options)(loop))
        except RuntimeError:  # no folder at all: Numba refuses
            return cast("Loop", njit(**options)(loop))


def compiled(loop: Loop) -> Loop:
    """Compile; a product and the sum it goes into may be rounded once."""
    return compiled_exactly(loop, {"contract"})


def compiled_sum(loop: Loop) -> Loop:
    """Compile; sums may also be taken in another order, the same each time. NaN, infinity and signs are kept."""
    return compiled_exactly(loop, {"contract", "reassoc"})
