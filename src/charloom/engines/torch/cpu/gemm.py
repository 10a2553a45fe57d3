"""Matrix products on a CPU: how their right factor is laid out, and what multiplies.

A time step's product takes a tenth of a millisecond; called through Python, two threads wait for the interpreter's
lock. So the compiled loop over time (`kernels/native/rnn_window.c`) calls the BLAS in torch's library (MKL, OpenBLAS or
Accelerate) by its address; without one it multiplies by itself. While factors are rounded to bfloat16, it multiplies by
`kernels/native/tiles.h`. A matrix that is multiplied at every time step is laid out once for the one or the other.

The products of a whole window (`linear`, `product`) are torch's, unless factors are rounded on a processor for which
torch has no such product: there, `kernels/native/tiles.h` computes these too.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from charloom.engines.torch import precision
from charloom.kernels.library import library, pointer

if TYPE_CHECKING:
    from jaxtyping import Float, UInt16
    from numpy import ndarray as Array
    from torch import Tensor

CACHE_LINE = 64
"""Bytes. Rows that are a power of two bytes apart compete for the same few places of a cache."""

_SYMBOLS = {np.dtype(np.float32): "sgemm_", np.dtype(np.float64): "dgemm_"}
_TILE, _DEPTH = 16, 32


def linear(
    x: Float[Tensor, "... K"], w: Float[Tensor, "N K"], bias: Float[Tensor, "N"] | None = None
) -> Float[Tensor, "... N"]:
    """Compute x Wᵀ + b, differentiable; its factors and those of its gradients are rounded if products are."""
    if not _is_ours(x):
        return F.linear(x, w, bias)
    y: Tensor = _Linear.apply(x, w, bias)  # type: ignore[no-untyped-call]
    return y


def product(
    a: Float[Tensor, "..."],
    b: Float[Tensor, "..."],
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    out: Float[Tensor, "M N"] | None = None,
) -> Float[Tensor, "M N"]:
    """The product of two matrices or their transposes, rounded if products are; to `out` if it is given."""
    if not _is_ours(a):
        return torch.mm(a.t() if transpose_a else a, b.t() if transpose_b else b, out=out)
    left, right = (x.detach().contiguous().numpy() for x in (a, b))
    K, M = left.shape if transpose_a else left.shape[::-1]
    N = right.shape[0 if transpose_b else 1]
    out = a.new_empty(M, N) if out is None else out
    laid_out, compiled = panels(right, transposed=transpose_b), library()
    assert compiled is not None
    assert out.is_contiguous(), "the compiled product writes rows one after the other"
    sizes = (M, K, N, N, 0, precision.rounding())
    if transpose_a:
        factors = [panels(left), laid_out]
    else:
        factors = [left, laid_out, np.empty((_up(M, _TILE), _up(K, _DEPTH)), np.uint16)]
    name = "multiply_laid_out_tiles" if transpose_a else "multiply_in_tiles"
    compiled.function(name, "float32")(*map(pointer, factors), out.data_ptr(), *sizes)
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, w)
        y = product(x.flatten(0, -2), w, transpose_b=True)
        return (y if bias is None else y.add_(bias)).view(*x.shape[:-1], len(w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_bias = ctx.needs_input_grad
        rows = d_y.flatten(0, -2)
        d_x = product(rows, w).view(x.shape) if needs_x else None
        d_w = product(rows, x.flatten(0, -2), transpose_a=True) if needs_w else None
        return d_x, d_w, rows.sum(0) if needs_bias else None


def _is_ours(x: Tensor) -> bool:
    """Whether the compiled kernels compute the products of a tensor."""
    rounds = precision.rounding() in (precision.IN_C, precision.IN_DOTS)
    return rounds and x.dtype == torch.float32 and x.device.type == "cpu"


def right_factor(w: Float[Tensor, "R C"], num_rows: int, *, transposed: bool = False) -> dict[str, Any]:
    """The fields of a `Window` for products of `num_rows` rows by w, or by its transpose."""
    given: Array = w.detach().contiguous().numpy()
    if precision.rounding() and w.dtype == torch.float32:
        laid_out = panels(given, transposed=transposed)
        depth = w.shape[1] if transposed else w.shape[0]
        left = np.empty((_up(num_rows, _TILE), _up(depth, _DEPTH)), np.uint16)
        return {"tiles": precision.rounding(), "panels": laid_out, "left": left}
    copy = spread(given, transposed=transposed)
    return {"w": copy, "w_stride": copy.shape[1], "gemm": address(given.dtype)}


def spread(w: Float[Array, "R C"], *, transposed: bool = False) -> Float[Array, "..."]:
    """A copy with a gap of one cache line at the end of each row, which a product with few rows reads fastest.

    MKL multiplies few rows by a matrix in place, and copies a transposed matrix first, each time: 32 × 512 by
    512 × 2048 takes 0.73 ms transposed, 0.67 in rows of 2048, 0.44 in rows of 2048 + 16.
    """
    rows, columns = w.shape[::-1] if transposed else w.shape
    copy = np.empty((rows, columns + CACHE_LINE // w.itemsize), w.dtype)
    if transposed:
        compiled = library()
        assert compiled is not None
        transpose = compiled.function("transpose", str(w.dtype))
        transpose(pointer(w), *w.shape, pointer(copy), copy.shape[1])
    else:
        copy[:, :columns] = w
    return copy


def panels(w: Float[Array, "R C"], *, transposed: bool = False) -> UInt16[Array, "P D 2 16 16 2"]:
    """Round to bfloat16, and lay out in tiles: equation (2) of `kernels/native/tiles.h`."""
    compiled = library()
    assert compiled is not None
    K, N = w.shape[::-1] if transposed else w.shape
    strides = (1, w.shape[1]) if transposed else (w.shape[1], 1)
    out = np.empty(
        (_up(N, 2 * _TILE) // (2 * _TILE), _up(K, _DEPTH) // _DEPTH, 2, _TILE, _TILE, 2), np.uint16
    )
    compiled.function("lay_out_tiles", "float32")(pointer(w), K, N, *strides, pointer(out))
    return out


@cache
def address(dtype: Any) -> int:
    """The address of the product in torch's BLAS for a type of numbers; 0 if it has none that multiplies."""
    suffix = {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")
    file = ("" if suffix == ".dll" else "lib") + "torch_cpu" + suffix
    try:
        blas = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / file))
        gemm = getattr(blas, _SYMBOLS[np.dtype(dtype)])
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(gemm, ctypes.c_void_p).value or 0 if _multiplies(gemm, dtype) else 0


def _multiplies(gemm: Any, dtype: Any) -> bool:
    """Whether a function multiplies a small example correctly."""
    a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.eye(3, 5, dtype=dtype) + 1
    out: Array = np.ones((2, 5), dtype)
    expected = out + a @ b
    (M, K), N = a.shape, b.shape[1]
    sizes = [ctypes.byref(ctypes.c_int64(n)) for n in (N, M, K)]  # column-major: outᵀ = bᵀ aᵀ
    one = np.ones(1, dtype).ctypes
    lines = [ctypes.byref(ctypes.c_int64(n)) for n in (N, K, N)]
    b_, a_, out_ = ((x.ctypes, line) for x, line in zip((b, a, out), lines, strict=True))
    gemm(b"N", b"N", *sizes, one, *b_, *a_, one, *out_)
    return np.array_equal(out, expected)


def _up(n: int, size: int) -> int:
    return -(-n // size) * size
