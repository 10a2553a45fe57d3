"""The compiled kernels: one library in C, called through ctypes by what its header declares.

`native/charloom.h` is the single list of structs and functions: this module makes a ctypes class of each struct and
declares each function. The library holds the hash of the header that it was built from, and one variant of every
function for each processor level (`base`, `v3`, `v4`, `vnni` on x86-64); the best that this processor has is used.

``CHARLOOM_CPU`` chooses a level instead, or ``none``: then nothing is compiled, and NumPy computes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charloom.errors import ConfigError

if TYPE_CHECKING:
    from numpy import ndarray as Array

FOLDER = Path(__file__).parent
HEADER = FOLDER / "native" / "charloom.h"
NAMES = {"win32": "charloom.dll", "darwin": "libcharloom.dylib"}

_SCALARS: dict[str, type[ctypes._SimpleCData[Any]]] = {
    "int64_t": ctypes.c_int64,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint16_t": ctypes.c_uint16,
    "double": ctypes.c_double,
    "float": ctypes.c_float,
}
FLAVOURS = {"float32": "f32", "float64": "f64", "portable": "f32p"}
"""The variant of a function for a type of numbers; portable is float32 with the same bits on every processor."""

CELLS = {"elman": 0, "lstm": 1, "gru": 2, "mingru": 3}
"""The code of each cell in compiled functions."""

ACTIVATIONS = {"tanh": 0, "sigmoid": 1, "relu": 2}
"""The code of each activation in compiled functions."""


class Declarations(NamedTuple):
    """What the header declares: a class for each struct, and for each function its result and argument types."""

    structs: dict[str, type[ctypes.Structure]]
    functions: dict[str, tuple[Any, list[Any]]]


class Library(NamedTuple):
    """The loaded library and the processor level that it is used at."""

    handle: ctypes.CDLL
    level: str
    levels: tuple[str, ...]
    functions: dict[str, tuple[Any, list[Any]]]

    def function(self, name: str, flavour: str) -> Callable[..., Any]:
        """A function of the header for float32, float64 or portable; it runs without the interpreter's lock."""
        full_name = f"{name}_{FLAVOURS[flavour]}_{self.level}"
        found: Any = vars(self.handle).get(full_name)  # ctypes keeps there what it has looked up
        if found is None:
            found = getattr(self.handle, full_name)
            found.restype, found.argtypes = self.functions[name]
        return found  # type: ignore[no-any-return]

    def tiles(self) -> int:
        """How it multiplies bfloat16 fast here, as in `Window.tiles`; 0 if it does not. Asks the system for AMX's registers."""
        return int(self.handle.charloom_tiles()) if self.level in ("v4", "vnni") else 0


def parse_header(text: str) -> Declarations:
    r"""Read the restricted C of the header: structs of scalars, pointers and structs, and functions on one line each.

    Example:
        >>> found = parse_header("typedef struct { int64_t n; float *x; } Row;\nint64_t count(const Row *row, int64_t k);")
        >>> [name for name, _ in found.structs["Row"]._fields_], len(found.functions["count"][1])
        (['n', 'x'], 2)
    """
    code = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    structs: dict[str, type[ctypes.Structure]] = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\}\s*(\w+);", code, re.DOTALL):
        fields = [_field(one, structs) for one in body.split(";") if one.strip()]
        structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    functions = {}
    for result, name, arguments in re.findall(r"^(\w+) (\w+)\((.*?)\);", code, re.MULTILINE):
        types = [_field(one, structs)[1] for one in arguments.split(",")]
        functions[name] = (None if result == "void" else _SCALARS[result], types)
    return Declarations(structs, functions)


def _field(declaration: str, structs: dict[str, type[ctypes.Structure]]) -> tuple[str, Any]:
    words = declaration.replace("const ", "").replace("*", " * ").split()
    if "*" in words:
        return words[-1], ctypes.c_void_p
    return words[-1], _SCALARS[words[0]] if words[0] in _SCALARS else structs[words[0]]


@cache
def declarations() -> Declarations:
    """What the installed header declares."""
    return parse_header(HEADER.read_text("utf-8"))


@cache
def library() -> Library | None:
    """The library for this processor; None if there is none here, or if ``CHARLOOM_CPU=none``.

    Raises:
        ConfigError: it was built from another header, or ``CHARLOOM_CPU`` names a level that this processor or this
            library does not have.
    """
    asked = os.environ.get("CHARLOOM_CPU", "")
    path = FOLDER / NAMES.get(sys.platform, "libcharloom.so")
    if asked == "none" or not path.is_file():
        return None
    try:
        handle = ctypes.CDLL(str(path))
    except OSError:  # for another platform
        return None
    for name in ("charloom_header", "charloom_levels"):
        getattr(handle, name).restype = ctypes.c_char_p
    for name in ("charloom_level", "charloom_tiles"):
        getattr(handle, name).restype = ctypes.c_int64
    built_from = handle.charloom_header().decode()
    if built_from != hashlib.sha256(HEADER.read_bytes().replace(b"\r\n", b"\n")).hexdigest():
        raise ConfigError(
            f"{path} was built from another charloom.h",
            why="its functions may take other arguments",
            fix="build it again: python tools/build_kernels.py in a checkout, else reinstall charloom",
        )
    levels = tuple(handle.charloom_levels().decode().split())
    here = levels[: handle.charloom_level() + 1]
    if asked and asked not in here:
        raise ConfigError(
            f"CHARLOOM_CPU is {asked!r}",
            why=f"this processor and this library have the levels {', '.join(here)}, and none for NumPy",
            fix="name one of them, or unset CHARLOOM_CPU",
        )
    return Library(handle, asked or here[-1], here, declarations().functions)


def level_in_use() -> str:
    """The processor level that the kernels are used at; none without them."""
    found = library()
    return "none" if found is None else found.level


def pointer(array: Array) -> int:
    """The address of a C-contiguous array; its owner must outlive the call."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)


def struct(name: str, **fields: Any) -> ctypes.Structure:
    """A struct of the header; arrays become their addresses, and the struct keeps them alive."""
    made = declarations().structs[name]()
    for field, value in fields.items():
        setattr(made, field, pointer(value) if hasattr(value, "ctypes") else value)
    made._arrays = [value for value in fields.values() if hasattr(value, "ctypes")]
    return made
