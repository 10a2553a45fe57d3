"""How windows multiply: the layout of the right factor, whose function multiplies, and rounded products."""

import ctypes

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig
from charloom.engines.torch import precision
from charloom.engines.torch.cpu import gemm, rnn
from charloom.parameters import parameter_shapes, state_shapes


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (16, 16), (33, 70)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_end_with_the_gap_of_a_cache_line(shape, transposed, dtype, rng):
    w = torch.tensor(rng.normal(size=shape), dtype=dtype)
    found = gemm.spread(w.numpy(), transposed=transposed)
    expected = (w.t() if transposed else w).numpy()
    np.testing.assert_array_equal(found[:, : expected.shape[1]], expected)
    assert (found.shape[1] - expected.shape[1]) * found.itemsize == 64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_blas_of_torch_is_found_and_multiplies(dtype):
    assert gemm.address(np.dtype(dtype)) != 0


@pytest.mark.parametrize("missing", ["library", "function", "right result"], ids="no {}".format)
def test_without_a_blas_there_is_no_address(missing, monkeypatch):
    class Empty:
        """A library without functions."""

    def not_found(_):
        raise OSError("no such file")

    if missing == "right result":
        monkeypatch.setattr(gemm, "_multiplies", lambda *_: False)
    else:
        monkeypatch.setattr(ctypes, "CDLL", not_found if missing == "library" else lambda _: Empty())
    assert gemm.address.__wrapped__(np.dtype(np.float32)) == 0


PREFIX = "layers.0.cell."

ROUNDED = 2.0**-6
"""As a fraction of a tensor's norm: factors are rounded by 2⁻⁹, in twelve time steps and back."""


def unrolled(cell, rng, *, has_resets=True):
    """The outputs and gradients of a window with fixed numbers."""
    T, B, H = 12, 17, 40
    config = ModelConfig(cell=cell, hidden_size=H)
    shapes = {
        n.removeprefix(PREFIX): s for n, s in parameter_shapes(config, 9).items() if n.startswith(PREFIX)
    }
    draw = lambda *shape: torch.tensor(rng.normal(size=shape), dtype=torch.float32) / np.sqrt(H)  # noqa: E731
    params = {name: draw(*shape).requires_grad_() for name, shape in shapes.items()}
    state, reset_state = [{key: draw(B, *s) for key, s in state_shapes(config)[0].items()} for _ in range(2)]
    ids, resets = torch.tensor(rng.integers(0, 9, (T, B))), torch.tensor(rng.random((T, B)) < 0.2)
    direction = draw(T, B, H)
    outputs, _ = rnn.unroll(config, params, ids, state, resets if has_resets else None, reset_state)
    return [outputs.detach(), *torch.autograd.grad((direction * outputs).sum(), list(params.values()))]


@pytest.mark.parametrize("has_resets", [False, True], ids=["carried", "resets"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_rounded_products_change_a_window_by_their_rounding(cell, has_resets, monkeypatch):
    exact = unrolled(cell, np.random.default_rng(0), has_resets=has_resets)
    monkeypatch.setattr(precision, "rounding", lambda: precision.fast_way() or precision.IN_C)
    found = unrolled(cell, np.random.default_rng(0), has_resets=has_resets)
    for mine, theirs in zip(found, exact, strict=True):
        assert (mine - theirs).norm() < ROUNDED * theirs.norm()
        assert not torch.equal(mine, theirs)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_a_window_without_a_blas_is_the_same_but_for_rounding(cell, monkeypatch):
    exact = unrolled(cell, np.random.default_rng(0))
    monkeypatch.setattr(gemm, "address", lambda _: 0)
    for mine, theirs in zip(unrolled(cell, np.random.default_rng(0)), exact, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_float64_is_never_rounded(monkeypatch):
    monkeypatch.setattr(precision, "rounding", lambda: precision.IN_C)
    assert gemm.right_factor(torch.ones(3, 2, dtype=torch.float64), 4)["w"].dtype == np.float64


def rounded(x):
    return x.bfloat16().float()


WAYS = sorted({precision.IN_C, precision.fast_way()} - {0, precision.IN_AMX})
SUMMED = 1e-5
"""Sums of at most 600 terms of about 1 in float32, in another order."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 70, 65), (64, 600, 48)], ids=str)
@pytest.mark.parametrize("transposed", ["neither", "left", "right"])
def test_a_product_is_that_of_the_rounded_matrices(transposed, shape, way, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(precision, "rounding", lambda: way)
    M, K, N = shape
    a, b = torch.randn(M, K), torch.randn(K, N)
    expected = rounded(a) @ rounded(b)
    given = {"transpose_a": transposed == "left", "transpose_b": transposed == "right"}
    left, right = (x.t() if flip else x for x, flip in zip((a, b), given.values(), strict=True))
    found = gemm.product(left.contiguous(), right.contiguous(), **given)
    torch.testing.assert_close(found, expected, rtol=SUMMED, atol=SUMMED * max(1, K / 50))
    into = torch.full_like(expected, float("nan"))
    assert gemm.product(left, right, **given, out=into) is into  # also from matrices that are not contiguous
    torch.testing.assert_close(into, found, rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_the_gradients_of_a_linear_map_are_products_of_rounded_factors(bias, way, monkeypatch):
    torch.manual_seed(0)
    x, w, b, d_y = torch.randn(5, 7, 40), torch.randn(24, 40), torch.randn(24), torch.randn(5, 7, 24)
    x, w, b = (t.requires_grad_() for t in (x, w, b))
    monkeypatch.setattr(precision, "rounding", lambda: way)
    y = gemm.linear(x, w, b if bias else None)
    wanted = [x, w, b] if bias else [x, w]
    d_x, d_w, *d_b = torch.autograd.grad((y * d_y).sum(), wanted)
    close = {"rtol": SUMMED, "atol": SUMMED}
    torch.testing.assert_close(y, rounded(x) @ rounded(w).t() + (b if bias else 0), **close)
    torch.testing.assert_close(d_x, rounded(d_y) @ rounded(w), **close)
    torch.testing.assert_close(d_w, rounded(d_y).flatten(0, 1).t() @ rounded(x).flatten(0, 1), **close)
    assert not bias or torch.equal(d_b[0], d_y.flatten(0, 1).sum(0))


def test_products_are_those_of_torch_unless_they_round(monkeypatch):
    x, w = torch.randn(6, 40), torch.randn(24, 40)
    assert torch.equal(gemm.linear(x, w), x @ w.t())
    monkeypatch.setattr(precision, "rounding", lambda: precision.IN_C)
    assert not torch.equal(gemm.linear(x, w), x @ w.t())
    assert torch.equal(gemm.linear(x.double(), w.double()), x.double() @ w.double().t())
    assert gemm.linear(x.to("meta"), w.to("meta")).shape == (
        6,
        24,
    )  # another device, beside a training on the CPU


needs_amx = pytest.mark.skipif(precision.fast_way() != precision.IN_AMX, reason="this CPU has no AMX")


@needs_amx
def test_torch_products_still_work_after_one_in_tiles(rng):
    # a product configures the tiles of its thread; without a release, oneDNN's next kernel fails
    left, w = torch.randn(64, 256), torch.randn(256, 512)
    with precision.rounded_products(torch.device("cpu"), wanted=True):
        expected = left @ w
        for _ in range(3):
            unrolled("lstm", np.random.default_rng(0))
            torch.testing.assert_close(left @ w, expected, rtol=0, atol=0)
