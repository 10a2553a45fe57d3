"""Functions of the library that torch brings along, made known to compiled loops under names of ours.

A loop calls them by their address, without the interpreter. They are not promised to anybody: whoever asks for one is told when it is
not there, and checks that it does what its name says.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def functions(symbols: Mapping[str, str]) -> dict[str, Any] | None:
    """Each by its key, looked up by its symbol; None where one is missing."""
    suffix = {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")
    name = ("" if suffix == ".dll" else "lib") + "torch_cpu" + suffix
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
        return {ours: getattr(library, theirs) for ours, theirs in symbols.items()}
    except (OSError, AttributeError):
        return None


def make_known(found: Mapping[str, Any]) -> None:
    """Let compiled loops call them by their keys."""
    from llvmlite import binding

    for ours, function in found.items():
        binding.add_symbol(ours, ctypes.cast(function, ctypes.c_void_p).value)
