"""Matrix products inside a compiled loop: torch's own BLAS, called without the interpreter.

A time step's product takes a tenth of a millisecond, and on the way to it through Python two threads wait for one interpreter's lock. The
BLAS that torch brings along (MKL, OpenBLAS or Accelerate) is in reach, and so is, while factors are rounded to bfloat16, oneDNN's
kernel (`tiles`): a matrix that rows are multiplied by at every time step is `laid_out` for the one or the other. Where the one that is
wanted is not in reach, the same loop runs in Python and multiplies by `torch.mm`.

Source: the reference BLAS, ``xGEMM``; it counts columns first, so out = a b is asked for as outᵀ = bᵀ aᵀ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from charloom.engines.kernels import compiling
from charloom.engines.torch import library, precision, tiles

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array
    from torch import Tensor

CACHE_LINE = 64
"""Bytes. Rows a power of two apart fall into the same few places of a cache."""

_SYMBOLS = {"charloom_sgemm": "sgemm_", "charloom_dgemm": "dgemm_"}
_AS_IT_LIES = ord("N")


def product(a: Any, b: Any, out: Any, adds: Any) -> None:
    """Out = a b, or where `adds` out += a b: a (M, K), b (K, N) as it was `laid_out`, out (M, N), the elements of each row side by side."""
    left, right, result = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    if adds:
        result.addmm_(left, right)
    else:
        torch.mm(left, right, out=result)


def laid_out(w: Float[Tensor, "R C"], *, transposed: bool = False) -> Array:
    """A matrix as `product` wants it now; torch's own lays it out anew each time, however it lies."""
    given: Array = w.detach().contiguous().numpy()
    if not are_compiled(w.dtype):
        return given.T if transposed else given
    return (tiles.panels if precision.in_tiles() else spread)(given, transposed=transposed)


def spread(w: Float[Array, "R C"], *, transposed: bool = False) -> Float[Array, "..."]:
    """A copy whose rows lie one cache line further apart than they are long, as a product with few rows reads it fastest.

    MKL multiplies few rows by a matrix as it lies, and by a transposed one after it has copied it, each time: 32 × 512 by 512 × 2048
    takes 0.73 ms transposed, 0.67 in rows of 2048, 0.44 in rows of 2048 + 16.
    """
    rows, columns = w.shape[::-1] if transposed else w.shape
    copy = np.empty((rows, columns + CACHE_LINE // w.itemsize), w.dtype)[:, :columns]
    if transposed:
        _transpose(w, copy)
    else:
        copy[:] = w
    return copy


@compiling.compiled
def _transpose(x: Any, out: Any) -> None:
    """Write the transpose of x (R, C): in squares, whose lines stay at hand."""
    rows, columns, side = x.shape[0], x.shape[1], 16
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            for k in range(j, min(j + side, columns)):
                for n in range(i, min(i + side, rows)):
                    out[k, n] = x[n, k]


def are_compiled(dtype: torch.dtype) -> bool:
    """Whether `product` inside a compiled loop gives what `torch.mm` gives now."""
    if precision.in_tiles():
        return dtype == torch.float32 and tiles.are_there()
    return _has_blas()


@cache
def _has_blas() -> bool:
    """Look the functions up, make them known, and see that they multiply."""
    found = library.functions(_SYMBOLS) if compiling.HAS_NUMBA else None
    if found is None:
        return False
    library.make_known(found)
    return all(_multiplies(dtype) for dtype in (np.float32, np.float64))


def _multiplies(dtype: Any) -> bool:
    """Whether it is the function that it is called."""
    a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.eye(3, 5, dtype=dtype) + 1
    out: Array = np.ones((2, 5), dtype)
    expected = out + a @ b
    _add_product(a, b, out)
    return np.array_equal(out, expected)


@compiling.compiled
def _add_product(a: Any, b: Any, out: Any) -> None:
    product(a, b, out, True)


def _teach() -> None:
    """Tell Numba what `product` is in a compiled loop."""
    from numba import types
    from numba.extending import overload

    gemms: dict[Any, Any] = {
        number: types.ExternalFunction(name, types.void(*[types.voidptr] * 13))
        for name, number in zip(_SYMBOLS, (types.float32, types.float64), strict=True)
    }

    @overload(product)
    def _compiled_product(a: Any, b: Any, out: Any, adds: Any) -> Callable[..., None]:  # noqa: ARG001
        if b.ndim == tiles.AXES:

            def multiply_in_tiles(a: Any, b: Any, out: Any, adds: Any) -> None:
                tiles.multiply(a, b, out, adds)

            return multiply_in_tiles

        gemm = gemms[a.dtype]

        def multiply(a: Any, b: Any, out: Any, adds: Any) -> None:
            # integers of eight bytes: little-endian, that is right for a BLAS of four too
            sizes = np.array([b.shape[1], a.shape[0], a.shape[1]])
            lines = np.array([a.strides[0], b.strides[0], out.strides[0]]) // a.itemsize
            one, kept = np.ones(1, a.dtype), np.full(1, 1 if adds else 0, a.dtype)
            as_it_lies = np.full(1, _AS_IT_LIES, np.uint8)
            gemm(
                as_it_lies.ctypes,
                as_it_lies.ctypes,
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


if compiling.HAS_NUMBA:
    _teach()
