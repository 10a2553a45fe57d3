"""Products of the online trainer against NumPy, at every processor level and for every shape of padded rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.kernels.library import library, pointer

LEVELS = library().levels if library() is not None else ()
FLAVOURS = ["float32", "portable", "float64"]
CLOSE = {
    "float32": {"rtol": 1e-4, "atol": 1e-4},
    "portable": {"rtol": 1e-4, "atol": 1e-4},
    "float64": {"rtol": 1e-12, "atol": 1e-12},
}
"""Sums of up to 100 products of order 1, in another order."""

variants = pytest.mark.parametrize(
    ("level", "flavour"), [(level, flavour) for level in LEVELS for flavour in FLAVOURS]
)
SHAPES = {
    "M": st.integers(1, 70),
    "N": st.integers(1, 100),
    "T": st.integers(1, 27),
    "seed": st.integers(0, 99),
}


class Kernels:
    """The compiled functions of one level and flavour."""

    def __init__(self, level, flavour):
        self.library, self.flavour = library()._replace(level=level), flavour
        self.dtype = np.dtype(np.float64 if flavour == "float64" else np.float32)

    def __call__(self, name, *arguments):
        values = [pointer(x) if isinstance(x, np.ndarray) else x for x in arguments]
        return self.library.function(name, self.flavour)(*values)

    def normal(self, rng, *shape):
        """Random numbers whose rows are padded with zeros to a multiple of 16."""
        wide = np.zeros((*shape[:-1], -(-shape[-1] // 16) * 16), self.dtype)
        wide[..., : shape[-1]] = rng.normal(size=shape)
        return wide


def exact(*arrays):
    return [x.astype(np.float64) for x in arrays]


@variants
@given(**SHAPES)
@settings(max_examples=15)
def test_products_match_numpy(level, flavour, M, N, T, seed):
    call, rng = Kernels(level, flavour), np.random.default_rng(seed)
    w, x, d = call.normal(rng, M, N), call.normal(rng, T, N), call.normal(rng, T, M)
    forward, back = d.copy(), x.copy()
    one, one_back = d[0].copy(), x[0].copy()
    outer, pulled = np.full_like(w, np.nan), np.full_like(x, np.nan)
    K = w.shape[1]
    call("add_matrix_product", w, M, K, x, one, T % 2)
    call("add_pulled_back", w, M, K, d, one_back, T % 2)
    call("add_products_over_time", w, M, K, x, T, forward)
    call("write_outer_products", d, M, x, K, T, outer)
    call("write_pulled_back", d, M, w, K, T, pulled)
    W, X, D = exact(w, x, d)
    close = CLOSE[flavour]
    np.testing.assert_allclose(forward[:, :M], D[:, :M] + X @ W.T, **close)
    np.testing.assert_array_equal(forward[:, M:], 0)
    np.testing.assert_allclose(one[:M], D[0, :M] + W @ X[0], **close)
    np.testing.assert_allclose(one_back, back[0] + D[0, :M] @ W, **close)
    np.testing.assert_allclose(outer, D[:, :M].T @ X, **close)
    np.testing.assert_allclose(pulled, D[:, :M] @ W, **close)


@variants
@given(**{name: SHAPES[name] for name in ("M", "N", "seed")})
@settings(max_examples=15)
def test_a_pending_update_is_added_before_the_product(level, flavour, M, N, seed):
    call, rng = Kernels(level, flavour), np.random.default_rng(seed)
    w, p, u, x, out = (call.normal(rng, *shape) for shape in ((M, N), (M,), (N,), (N,), (M,)))
    W, P, U, X, before = exact(w, p, u, x, out)
    W += np.outer(P[:M], U)
    call("update_and_add_product", w, M, w.shape[1], p, u, x, out, seed % 2)
    np.testing.assert_allclose(w, W, **CLOSE[flavour])
    np.testing.assert_allclose(out[:M], before[:M] + W @ X, **CLOSE[flavour])


@variants
def test_an_empty_update_keeps_every_bit(level, flavour, rng):
    call = Kernels(level, flavour)
    w, x, out = (call.normal(rng, *shape) for shape in ((9, 21), (21,), (9,)))
    w[::2, ::3], w[1::2, ::3] = -0.0, 0.0
    before = w.copy()
    call("update_and_add_product", w, 9, w.shape[1], np.full_like(out, -0.0), np.zeros_like(x), x, out, 0)
    assert w.tobytes() == before.tobytes()


@variants
def test_the_order_of_rows_changes_no_bit_of_a_product(level, flavour, rng):
    call = Kernels(level, flavour)
    w, x, up = (call.normal(rng, *shape) for shape in ((70, 90), (90,), (70,)))
    down = up.copy()
    call("add_matrix_product", w, 70, w.shape[1], x, up, 0)
    call("add_matrix_product", w, 70, w.shape[1], x, down, 1)
    assert up.tobytes() == down.tobytes()


@variants
@pytest.mark.parametrize("size", [16, 240, 256, 272, 1008])
def test_the_sum_of_squares(size, level, flavour, rng):
    call = Kernels(level, flavour)
    x = call.normal(rng, size)
    assert call("square_sum", x, size) == pytest.approx(
        (exact(x)[0] ** 2).sum(), rel=CLOSE[flavour]["rtol"] / 10
    )
    for broken in (np.nan, np.inf):
        x[-1] = broken
        assert not np.isfinite(call("square_sum", x, size))


@variants
@given(V=st.integers(1, 70), seed=st.integers(0, 99), scale=st.floats(0.01, 1.0))
@settings(max_examples=15)
def test_the_loss_and_its_gradient(level, flavour, V, seed, scale):
    call, rng = Kernels(level, flavour), np.random.default_rng(seed)
    y, target = call.normal(rng, V), int(rng.integers(V))
    y[:V] -= 10  # the padding would be the largest
    (Y,) = exact(y[:V])
    loss = call("loss_and_gradient", y, V, target, scale)
    e = np.exp(Y - Y.max())
    assert loss == pytest.approx(np.log(e.sum()) - (Y[target] - Y.max()), rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(y[:V], scale * (e / e.sum() - (np.arange(V) == target)), **CLOSE[flavour])
    np.testing.assert_array_equal(y[V:], 0)


@variants
def test_a_logit_that_is_not_finite_gives_such_a_loss(level, flavour, rng):
    call = Kernels(level, flavour)
    for place in range(20):
        y = call.normal(rng, 20)
        y[place] = np.nan
        assert not np.isfinite(call("loss_and_gradient", y, 20, 3, 1.0))
