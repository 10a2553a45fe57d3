"""Products inside compiled loops: what NumPy multiplies, however the rows lie; and when they are taken."""

import ctypes

import numpy as np
import pytest
import torch

from charloom.engines.kernels import compiling
from charloom.engines.kernels.compiling import compiled
from charloom.engines.torch import precision, products, tiles

from ..caches import assert_found_by_a_second_process

ROUNDING = {np.float32: 1e-5, np.float64: 1e-13}


@compiled
def multiplied(a, b, out, adds):
    products.product(a, b, out, adds)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("way", [multiplied, multiplied.py_func], ids=["compiled", "in Python"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (4, 1, 7), (33, 17, 65)], ids=str)
def test_a_product_is_numpys_wherever_the_rows_lie(shape, way, adds, dtype, rng):
    M, K, N = shape
    a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    room = np.full((M, N + 3), 2, dtype)
    out = room[:, :N]
    expected = a @ b + (2 if adds else 0)
    assert products.are_compiled(torch.tensor(b).dtype)
    way(a, products.laid_out(torch.tensor(b)), out, adds)
    np.testing.assert_allclose(out, expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    assert (room[:, N:] == 2).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (16, 16), (33, 70)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_are_spread_by_a_cache_line(shape, transposed, dtype, rng):
    w = torch.tensor(rng.normal(size=shape), dtype=dtype).requires_grad_()
    found = products.laid_out(w, transposed=transposed)
    np.testing.assert_array_equal(found, (w.t() if transposed else w).detach().numpy())
    assert found.strides[0] == found.shape[1] * found.itemsize + 64


@pytest.mark.parametrize("transposed", [False, True])
def test_where_products_are_rounded_and_no_kernel_is_there_they_are_torchs(transposed, monkeypatch):
    monkeypatch.setattr(precision, "in_tiles", lambda: True)
    monkeypatch.setattr(tiles, "are_there", lambda: False)
    assert not products.are_compiled(torch.float32)
    w = torch.arange(6.0).view(2, 3)
    found = products.laid_out(w, transposed=transposed)
    np.testing.assert_array_equal(found, (w.t() if transposed else w).numpy())


@pytest.mark.parametrize("missing", ["library", "function", "numba", "truth"], ids=lambda what: f"no {what}")
def test_without_a_blas_in_reach_they_are_torchs(missing, monkeypatch):
    class Empty:
        """A library without functions."""

    def not_there(_):
        raise OSError("no such file")

    if missing == "numba":
        monkeypatch.setattr(compiling, "HAS_NUMBA", False)
    elif missing == "truth":
        monkeypatch.setattr(products, "_multiplies", lambda dtype: dtype is np.float32)
    else:
        monkeypatch.setattr(ctypes, "CDLL", not_there if missing == "library" else lambda _: Empty())
    assert not products._has_blas.__wrapped__()


SCRIPT = """
import torch
from charloom.config import ModelConfig
from charloom.engines.torch import cells, walks
from charloom.parameters import parameter_shapes, state_shapes
for cell in ("elman", "lstm", "gru"):
    config = ModelConfig(cell=cell, hidden_size=5)
    names = {n.rpartition(".")[2]: s for n, s in parameter_shapes(config, 7).items() if ".cell." in n}
    params = {n: torch.zeros(s, requires_grad=True) for n, s in names.items()}
    state = {k: torch.zeros(2, *s) for k, s in state_shapes(config)[0].items()}
    outputs, _ = cells.unroll(config, params, torch.zeros(3, 2, dtype=torch.int64), state, None, state)
    outputs.sum().backward()
loops = [getattr(walks, f"{cell}_{way}") for cell in ("elman", "lstm", "gru") for way in ("forward", "backward")]
"""


def test_a_second_process_does_not_compile_the_walks_again(tmp_path):
    assert_found_by_a_second_process(SCRIPT, 6, tmp_path)
