"""Matrix products inside a compiled loop: torch's own BLAS, called without the interpreter.

A time step's product takes a tenth of a millisecond; called through Python, two threads wait for the interpreter's
lock. So `matmul` calls the BLAS in torch's library (MKL, OpenBLAS or Accelerate), or while factors are rounded to
bfloat16 oneDNN's kernel (`gemm_amx`). A matrix that is multiplied at every time step is `laid_out` once for the one
or the other. If the function is not available, the same loop runs in Python, and `matmul` calls `torch.mm`.

Source: the reference BLAS, ``xGEMM``; it is column-major, so out = a b is computed as outᵀ = bᵀ aᵀ.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from charloom.engines.torch import precision
from charloom.engines.torch.cpu import gemm_amx, libtorch
from charloom.kernels import jit
from charloom.kernels.library import library

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array
    from torch import Tensor

CACHE_LINE = 64
"""Bytes. Rows that are a power of two bytes apart compete for the same few places of a cache."""

_SYMBOLS = {"charloom_sgemm": "sgemm_", "charloom_dgemm": "dgemm_"}
_NOT_TRANSPOSED = ord("N")


def matmul(a: Any, b: Any, out: Any, adds: Any) -> None:
    """Write a b to `out`, or add it if `adds`: a (M, K), b (K, N) from `laid_out`, out (M, N) with contiguous rows."""
    left, right, result = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    if adds:
        result.addmm_(left, right)
    else:
        torch.mm(left, right, out=result)


def laid_out(w: Float[Tensor, "R C"], *, transposed: bool = False) -> Array:
    """A matrix in the layout that `matmul` needs now; `torch.mm` converts any layout itself, each time."""
    given: Array = w.detach().contiguous().numpy()
    if not are_compiled(w.dtype):
        return given.T if transposed else given
    return (gemm_amx.panels if precision.in_tiles() else spread)(given, transposed=transposed)


def spread(w: Float[Array, "R C"], *, transposed: bool = False) -> Float[Array, "..."]:
    """A copy with a gap of one cache line after each row, which a product with few rows reads fastest.

    MKL multiplies few rows by a matrix in place, and copies a transposed matrix first, each time: 32 × 512 by
    512 × 2048 takes 0.73 ms transposed, 0.67 in rows of 2048, 0.44 in rows of 2048 + 16.
    """
    rows, columns = w.shape[::-1] if transposed else w.shape
    copy = np.empty((rows, columns + CACHE_LINE // w.itemsize), w.dtype)[:, :columns]
    if transposed:
        _transpose(w, copy)
    else:
        copy[:] = w
    return copy


@jit.compiled
def _transpose(x: Any, out: Any) -> None:
    """Write the transpose of x (R, C) to `out`, in square blocks whose lines stay in the cache."""
    rows, columns, side = x.shape[0], x.shape[1], 16
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            for k in range(j, min(j + side, columns)):
                for n in range(i, min(i + side, rows)):
                    out[k, n] = x[n, k]


def are_compiled(dtype: torch.dtype) -> bool:
    """Whether `matmul` in a compiled loop computes the same product as `torch.mm` now."""
    if precision.in_tiles():
        return dtype == torch.float32 and gemm_amx.are_there()
    return _has_blas()


def is_native(dtype: torch.dtype) -> bool:
    """Whether a window's time steps run in C, with the BLAS of torch's library: unless factors are rounded."""
    if precision.in_tiles() or not are_compiled(dtype):
        return False
    return bool(address(np.dtype(str(dtype).removeprefix("torch."))))


@cache
def address(dtype: Any) -> int:
    """The address of the BLAS's product for a type of numbers; 0 if there is none or it does not multiply."""
    compiled, found = library(), libtorch.functions(_SYMBOLS)
    if compiled is None or found is None or not _has_blas():
        return 0
    name = "charloom_sgemm" if np.dtype(dtype) == np.float32 else "charloom_dgemm"
    return ctypes.cast(found[name], ctypes.c_void_p).value or 0


@cache
def _has_blas() -> bool:
    """Look up the functions, register them, and check that they multiply."""
    found = libtorch.functions(_SYMBOLS) if jit.HAS_NUMBA else None
    if found is None:
        return False
    libtorch.make_known(found)
    return all(_multiplies(dtype) for dtype in (np.float32, np.float64))


def _multiplies(dtype: Any) -> bool:
    """Whether the function multiplies a small example correctly."""
    a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.eye(3, 5, dtype=dtype) + 1
    out: Array = np.ones((2, 5), dtype)
    expected = out + a @ b
    _add_product(a, b, out)
    return np.array_equal(out, expected)


@jit.compiled
def _add_product(a: Any, b: Any, out: Any) -> None:
    matmul(a, b, out, True)


def _register_matmul() -> None:
    """Define `matmul` for compiled loops."""
    from numba import types
    from numba.extending import overload

    gemms: dict[Any, Any] = {
        number: types.ExternalFunction(name, types.void(*[types.voidptr] * 13))
        for name, number in zip(_SYMBOLS, (types.float32, types.float64), strict=True)
    }

    @overload(matmul)
    def _compiled_matmul(a: Any, b: Any, out: Any, adds: Any) -> Callable[..., None]:  # noqa: ARG001
        if b.ndim == gemm_amx.AXES:

            def multiply_in_tiles(a: Any, b: Any, out: Any, adds: Any) -> None:
                gemm_amx.multiply(a, b, out, adds)

            return multiply_in_tiles

        gemm = gemms[a.dtype]

        def multiply(a: Any, b: Any, out: Any, adds: Any) -> None:
            # integers of eight bytes: little-endian, so a BLAS with integers of four reads them correctly too
            sizes = np.array([b.shape[1], a.shape[0], a.shape[1]])
            lines = np.array([a.strides[0], b.strides[0], out.strides[0]]) // a.itemsize
            one, kept = np.ones(1, a.dtype), np.full(1, 1 if adds else 0, a.dtype)
            layout = np.full(1, _NOT_TRANSPOSED, np.uint8)
            gemm(
                layout.ctypes,
                layout.ctypes,
                sizes.ctypes,
                sizes[1:].ctypes,
                sizes[2:].ctypes,
                one.ctypes,
                b.ctypes,
                lines[1:].ctypes,
                a.ctypes,
                lines.ctypes,
                kept.ctypes,
                out.ctypes,
                lines[2:].ctypes,
            )

        return multiply


if jit.HAS_NUMBA:
    _register_matmul()
