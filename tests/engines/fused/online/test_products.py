"""Products of four rows at a time against NumPy, for sizes that are multiples of four and others."""

import numpy as np
import pytest

from charloom.engines.fused.losses import largest, total
from charloom.engines.fused.online import products

CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums in another order
sizes = pytest.mark.parametrize(("M", "N"), [(1, 1), (3, 5), (4, 16), (7, 33), (65, 100)])


@sizes
def test_product_and_transposed_product(M, N, rng):
    w, x, d = rng.normal(size=(M, N)), rng.normal(size=N), rng.normal(size=M)
    forward, back = d.copy(), x.copy()
    products.add_product(w, x, forward)
    products.add_pulled_back(w, d, back)
    np.testing.assert_allclose(forward, d + w @ x, **CLOSE)
    np.testing.assert_allclose(back, x + w.T @ d, **CLOSE)


@sizes
@pytest.mark.parametrize("T", [1, 4, 6, 25])
def test_products_over_time(M, N, T, rng):
    w, x, d = rng.normal(size=(M, N)), rng.normal(size=(T, N)), rng.normal(size=(T, M))
    forward, outer = d.copy(), np.full((M, N), np.nan)
    products.add_product_over_time(w, x, forward)
    products.outer_over_time(d, x, outer)
    np.testing.assert_allclose(forward, d + x @ w.T, **CLOSE)
    np.testing.assert_allclose(outer, d.T @ x, **CLOSE)


@sizes
def test_a_pending_update_is_added_before_the_product(M, N, rng):
    w, p, u, x, out = rng.normal(size=(M, N)), *(rng.normal(size=n) for n in (M, N, N, M))
    expected_w = w + np.outer(p, u)
    expected = out + expected_w @ x
    products.update_and_add_product(w, p, u, x, out)
    np.testing.assert_allclose(w, expected_w, **CLOSE)
    np.testing.assert_allclose(out, expected, **CLOSE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_empty_update_keeps_every_bit(dtype, rng):
    w = rng.normal(size=(9, 21)).astype(dtype)
    w[::2, ::3], w[1::2, ::3] = -0.0, 0.0
    before, x = w.copy(), rng.normal(size=21).astype(dtype)
    products.update_and_add_product(w, np.full(9, -0.0, dtype), np.zeros(21, dtype), x, np.zeros(9, dtype))
    assert w.tobytes() == before.tobytes()


@pytest.mark.parametrize("size", [1, 3, 255, 256, 257, 1000])
@pytest.mark.parametrize(("dtype", "rounding"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_sums(size, dtype, rounding, rng):
    x = rng.normal(size=size).astype(dtype)
    exact = x.astype(np.float64)
    assert products.square_sum(x) == pytest.approx((exact**2).sum(), rel=rounding)
    assert float(total(x)) == pytest.approx(exact.sum(), rel=rounding, abs=rounding * size)
    for broken in (np.nan, np.inf):
        x[-1] = broken
        assert not np.isfinite(products.square_sum(x))


@pytest.mark.parametrize("size", range(1, 10))
def test_largest_finds_the_maximum_at_every_position(size, rng):
    y = rng.normal(size=size) - 10
    for place in range(size):
        moved = y.copy()
        moved[place] = -1.0
        assert largest(moved) == -1.0
