"""Numba's `intrinsic` without its declared type, which does not describe calls from compiled code."""

from typing import Any

from numba import extending

intrinsic: Any = extending.intrinsic
"""Make a function that returns a signature and an LLVM generator callable from loops."""
