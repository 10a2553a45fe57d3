"""Matrix products of factors rounded to bfloat16, inside a compiled loop, in the tiles of Intel's AMX.

    out[m, 64 p + n] (+)= Σ_k a[m, k] panels[p, k // 2, n, k % 2]   both factors rounded to bfloat16, the sum in float32

The right factor is laid out once, in panels. oneDNN's kernel for one block is called in torch's library, with the
signature of ``at::native::cpublas::brgemm``. A product through torch lays its matrix out at every time step: 32 × 256
by 256 × 1024 takes 57 µs, against 35 from panels.

Source: oneDNN's developer guide, "BRGeMM ukernel" and "Data transformation" (pairs of rows interleaved, 64 columns per
panel).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.engines.torch import precision
from charloom.engines.torch.cpu import libtorch
from charloom.kernels import jit

if TYPE_CHECKING:
    from jaxtyping import Float, UInt16
    from numpy import ndarray as Array

AXES = 4
"""The number of axes of `panels`; a matrix has two."""

COLUMNS = 64
"""The columns of a panel: the most that the kernel multiplies at once."""

_SYMBOLS = {
    "charloom_could_pack": "_ZN2at6native7cpublas10could_packEN3c1010ScalarTypeE",
    "charloom_brgemm": "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb",
    "charloom_brgemm_release": "_ZN2at6native7cpublas14brgemm_releaseEb",
}
_BFLOAT16 = 15
"""Its number in c10::ScalarType."""

if jit.HAS_NUMBA:
    from numba import types

    _number, _pointer = types.int64, types.voidptr  # int64 also for C++'s bool, which is its lowest byte
    _brgemm: Any = types.ExternalFunction(
        "charloom_brgemm", types.void(*[_number] * 7, *[_pointer] * 3, _number)
    )
    _release: Any = types.ExternalFunction("charloom_brgemm_release", types.void(_number))


def panels(w: Float[Array, "R C"], *, transposed: bool = False) -> UInt16[Array, "P K/2 64 2"]:
    """Round and lay out the right factor w (K, N), or its transpose, padded with zeros."""
    K, N = w.shape[::-1] if transposed else w.shape
    out = np.zeros((-(-N // COLUMNS), -(-K // 2), COLUMNS, 2), np.uint16)
    _lay_out(w.view(np.uint32) if transposed else w.T.view(np.uint32), out)
    return out


@jit.compiled
def rounded(bits: Any) -> Any:
    """The upper half of a float32, rounded to nearest, ties to even; NaN stays NaN."""
    if (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
        return np.uint16(0x7FC0)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@jit.compiled
def _lay_out(columns: Any, out: Any) -> None:
    """Round columns (N, K) and write them to the panels `out`."""
    for n in range(columns.shape[0]):
        mine, panel = columns[n], out[n // COLUMNS]
        for k in range(columns.shape[1]):
            panel[k // 2, n % COLUMNS, k % 2] = rounded(mine[k])


@jit.compiled
def multiply(a: Any, b: Any, out: Any, adds: Any) -> None:
    """Write a b to `out`, or add it if `adds`: a (M, K) is rounded, b are `panels`, out (M, N) has contiguous rows."""
    M, K, N, padded = a.shape[0], a.shape[1], out.shape[1], 2 * b.shape[1]
    left = np.empty((M, padded), np.uint16)
    for m in range(M):
        bits, mine = a[m].view(np.uint32), left[m]
        for k in range(K):
            mine[k] = rounded(bits[k])
        if padded > K:
            mine[K] = 0
    line = out.strides[0] // out.itemsize
    for p in range(b.shape[0]):
        columns = min(COLUMNS, N - p * COLUMNS)
        place = out[:, p * COLUMNS :]
        _brgemm(M, columns, padded, padded, COLUMNS, line, adds, left.ctypes, b[p].ctypes, place.ctypes, 1)
    _release(1)  # this thread's tile configuration, before another oneDNN kernel sets its own


@cache
def are_there() -> bool:
    """Look up the functions, register them, and check that they multiply."""
    if not (jit.HAS_NUMBA and precision.has_tiles()):
        return False
    found = libtorch.functions(_SYMBOLS)
    if found is None:
        return False
    could_pack = found["charloom_could_pack"]
    could_pack.argtypes, could_pack.restype = [ctypes.c_int8], ctypes.c_bool
    if not could_pack(_BFLOAT16):  # oneDNN is set not to use tiles, and a call would end the process
        return False
    libtorch.make_known(found)
    return _multiplies()


def _multiplies() -> bool:
    """Whether they multiply correctly: an odd number of rows, a last panel of six columns, exact bfloat16 factors."""
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    b = np.arange(3 * 70, dtype=np.float32).reshape(3, 70)
    out = np.ones((2, 70), np.float32)
    expected = out + a @ b
    multiply(a, panels(b), out, True)
    return np.array_equal(out, expected)
