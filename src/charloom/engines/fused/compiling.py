"""Numba's door to LLVM: what a loop of this engine is made of where no line of Python says it."""

from __future__ import annotations

from typing import Any

from numba import extending

intrinsic: Any = extending.intrinsic
"""Turns a function that returns a signature and an LLVM generator into one that loops can call."""
