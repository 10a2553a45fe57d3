"""Calls of compiled functions that run in this process at any level, or in the driver on another processor.

An argument is an integer, a float, an array, or a `Struct` of integers and arrays. Every run works on copies of the
arrays and returns them all, so two runs are compared by all that they wrote.
"""

import ctypes
import struct as binary
import subprocess
from typing import NamedTuple

import numpy as np

from charloom.kernels.library import declarations, library, pointer, struct


class Struct(NamedTuple):
    """A struct of the header; `gemm=True` among its fields stands for the plain matrix product."""

    name: str
    fields: dict


class Call(NamedTuple):
    """A function's name and its arguments in order."""

    name: str
    arguments: tuple


def arrays_of(calls):
    """Every array once, in the order of its first use."""
    found = {}
    for call in calls:
        for argument in call.arguments:
            parts = argument.fields.values() if isinstance(argument, Struct) else [argument]
            found |= {id(part): part for part in parts if isinstance(part, np.ndarray)}
    return list(found.values())


def run_here(calls, level):
    """Run portable functions at a level of this processor; return the arrays afterwards."""
    arrays = arrays_of(calls)
    copies = {id(array): array.copy() for array in arrays}
    for call in calls:
        passed = [_in_process(argument, copies) for argument in call.arguments]
        plain = [ctypes.byref(x) if isinstance(x, ctypes.Structure) else x for x in passed]
        library()._replace(level=level).function(call.name, "portable")(*plain)
    return [copies[id(array)] for array in arrays]


def _in_process(argument, copies):
    if isinstance(argument, Struct):
        fields = {name: _in_process(value, copies) for name, value in argument.fields.items()}
        if fields.pop("gemm", False):
            fields["gemm"] = ctypes.cast(_plain_gemm, ctypes.c_void_p).value
        return struct(argument.name, **fields)
    return pointer(copies[id(argument)]) if isinstance(argument, np.ndarray) else argument


@ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)
def _plain_gemm(_ta, _tb, m, n, k, _one, a, lda, b, ldb, kept, c, ldc):
    """out = b a by rows: each product and each sum is rounded once, in the order of k, as in `calls.c`."""
    M, N, K, row_a, row_b, row_c = (ctypes.c_int64.from_address(x).value for x in (m, n, k, lda, ldb, ldc))
    out = _rows(c, N, row_c)[:, :M]
    left, right = _rows(b, N, row_b)[:, :K], _rows(a, K, row_a)[:, :M]
    if ctypes.c_float.from_address(kept).value == 0:
        out[:] = 0
    for q in range(K):
        out += left[:, q : q + 1] * right[q]


def _rows(address, rows, stride):
    flat = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (rows * stride,))
    return flat.reshape(rows, stride)


def run_in(program, calls, folder):
    """Run the same in the driver, a command line; return the arrays afterwards."""
    source, result = folder / "calls", folder / "result"
    source.write_bytes(_file(calls))
    done = subprocess.run([*program, "call", source, result], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, found, begin = result.read_bytes(), [], 0
    for array in arrays_of(calls):
        found.append(np.frombuffer(whole, array.dtype, array.size, begin).reshape(array.shape))
        begin += array.nbytes
    return found


def _file(calls):
    """The bytes that `calls.c` describes; structs follow the arrays."""
    arrays = arrays_of(calls)
    number_of = {id(array): i for i, array in enumerate(arrays)}
    blocks = [array.tobytes() for array in arrays]
    addresses, called = [], []
    for call in calls:
        factor, words = 0.0, []
        for argument in call.arguments:
            if isinstance(argument, float):
                factor = argument
            elif isinstance(argument, np.ndarray):
                words += [1, number_of[id(argument)]]
            elif isinstance(argument, Struct):
                words += [1, len(blocks)]
                addresses += _addresses(argument, len(blocks), number_of)
                blocks.append(_struct_bytes(argument))
            else:
                words += [0, argument]
        count = len(words) // 2
        called.append(binary.pack(f"<32sd{1 + len(words)}q", call.name.encode(), factor, count, *words))
    parts = [binary.pack("<q", len(blocks))]
    for block in blocks:
        parts += [binary.pack("<q", len(block)), block + bytes(-len(block) % 8)]
    parts += [binary.pack("<q", len(addresses)), *(binary.pack("<3q", *address) for address in addresses)]
    return b"".join([*parts, binary.pack("<q", len(called)), *called])


def _addresses(argument, number, number_of):
    layout = declarations().structs[argument.name]
    for name, value in argument.fields.items():
        if isinstance(value, np.ndarray) or name == "gemm":
            yield number, getattr(layout, name).offset, -1 if name == "gemm" else number_of[id(value)]


def _struct_bytes(argument):
    made = declarations().structs[argument.name]()
    for name, value in argument.fields.items():
        if not isinstance(value, np.ndarray) and name != "gemm":
            setattr(made, name, value)
    return bytes(made)
