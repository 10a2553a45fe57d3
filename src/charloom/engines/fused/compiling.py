"""How every loop of this engine is compiled: serial, without the interpreter's lock, kept on disk for the next process.

A loop is a module-level function that calls others by name, never one that it is handed: only so does Numba find the
compiled form again. It looks at the file of the function that was called alone: whoever edits a loop that another file's
loop calls deletes ``__pycache__/*.nb?`` (the tests do, see their ``conftest.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import extending, njit

intrinsic: Any = extending.intrinsic
"""Turns a function that returns a signature and an LLVM generator into one that loops can call."""

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Compile; a product and the sum it goes into may be rounded once."""
    return _compile(loop, {"contract"})


def compiled_sum(loop: Loop) -> Loop:
    """Compile; sums may also be taken in another order, the same each time. NaN, infinity and signs are kept."""
    return _compile(loop, {"contract", "reassoc"})


def _compile(loop: Loop, fastmath: set[str]) -> Loop:
    with warnings.catch_warnings():  # a read-only home: Numba warns that it compiles in memory only
        warnings.simplefilter("ignore")
        return cast("Loop", njit(cache=True, nogil=True, error_model="numpy", fastmath=fastmath)(loop))
