"""Private functions of torch's C++ library, registered for compiled loops under names of our own.

A loop calls them by address, without the interpreter. They are not a public interface: a caller must handle a missing
function, and must check that a function does what its name says.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def functions(symbols: Mapping[str, str]) -> dict[str, Any] | None:
    """Look functions up by their symbols, {our name: symbol}; None if one is missing."""
    suffix = {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")
    file = ("" if suffix == ".dll" else "lib") + "torch_cpu" + suffix
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / file))
        return {name: getattr(library, symbol) for name, symbol in symbols.items()}
    except (OSError, AttributeError):
        return None


def make_known(found: Mapping[str, Any]) -> None:
    """Let compiled loops call functions by our names for them."""
    from llvmlite import binding

    for name, function in found.items():
        binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
