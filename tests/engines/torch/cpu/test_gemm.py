"""Products inside compiled loops: the same as NumPy's for any row stride, and when they are available."""

import ctypes

import numpy as np
import pytest
import torch

from charloom.engines.torch import precision
from charloom.engines.torch.cpu import gemm, gemm_amx
from charloom.kernels import jit
from charloom.kernels.jit import compiled

ROUNDING = {np.float32: 1e-5, np.float64: 1e-13}


@compiled
def multiplied(a, b, out, adds):
    gemm.matmul(a, b, out, adds)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("form", [multiplied, multiplied.py_func], ids=["compiled", "in Python"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (4, 1, 7), (33, 17, 65)], ids=str)
def test_a_product_matches_numpy_for_any_row_stride(shape, form, adds, dtype, rng):
    M, K, N = shape
    a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    padded = np.full((M, N + 3), 2, dtype)
    out = padded[:, :N]
    expected = a @ b + (2 if adds else 0)
    assert gemm.are_compiled(torch.tensor(b).dtype)
    form(a, gemm.laid_out(torch.tensor(b)), out, adds)
    np.testing.assert_allclose(out, expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    assert (padded[:, N:] == 2).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (16, 16), (33, 70)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_are_a_cache_line_apart(shape, transposed, dtype, rng):
    w = torch.tensor(rng.normal(size=shape), dtype=dtype).requires_grad_()
    found = gemm.laid_out(w, transposed=transposed)
    np.testing.assert_array_equal(found, (w.t() if transposed else w).detach().numpy())
    assert found.strides[0] == found.shape[1] * found.itemsize + 64


@pytest.mark.parametrize("transposed", [False, True])
def test_torch_multiplies_if_products_are_rounded_without_a_kernel(transposed, monkeypatch):
    monkeypatch.setattr(precision, "in_tiles", lambda: True)
    monkeypatch.setattr(gemm_amx, "are_there", lambda: False)
    assert not gemm.are_compiled(torch.float32)
    w = torch.arange(6.0).view(2, 3)
    found = gemm.laid_out(w, transposed=transposed)
    np.testing.assert_array_equal(found, (w.t() if transposed else w).numpy())


@pytest.mark.parametrize("missing", ["library", "function", "numba", "right result"], ids="no {}".format)
def test_torch_multiplies_without_a_blas(missing, monkeypatch):
    class Empty:
        """A library without functions."""

    def not_found(_):
        raise OSError("no such file")

    if missing == "numba":
        monkeypatch.setattr(jit, "HAS_NUMBA", False)
    elif missing == "right result":
        monkeypatch.setattr(gemm, "_multiplies", lambda dtype: dtype is np.float32)
    else:
        monkeypatch.setattr(ctypes, "CDLL", not_found if missing == "library" else lambda _: Empty())
    assert not gemm._has_blas.__wrapped__()
