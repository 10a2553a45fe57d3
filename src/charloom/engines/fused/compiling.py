"""How every loop of this engine is compiled: serial, without the interpreter's lock, kept on disk for the next process.

A loop is a module-level function that calls others by name, never one that it is handed: only so does Numba find the
compiled form again. It looks at the file of the function that was called alone: whoever edits a loop that another file's
loop calls deletes ``__pycache__/*.nb?`` (the tests do, see their ``conftest.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import extending

from charloom.engines import kernels

intrinsic: Any = extending.intrinsic
"""Turns a function that returns a signature and an LLVM generator into one that loops can call."""

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Compile; a product and the sum it goes into may be rounded once."""
    return kernels.compiled(loop, {"contract"})


def compiled_sum(loop: Loop) -> Loop:
    """Compile; sums may also be taken in another order, the same each time. NaN, infinity and signs are kept."""
    return kernels.compiled(loop, {"contract", "reassoc"})
