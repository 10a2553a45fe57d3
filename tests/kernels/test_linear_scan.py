"""The linear recurrence against its definition, bit for bit with and without the library."""

import numpy as np
import pytest

from charloom.kernels import linear_scan


def naive_scan(keep, update, h0):
    h = np.empty_like(keep)
    for b, t, j in np.ndindex(*keep.shape):
        before = h0[b, j] if t == 0 else h[b, t - 1, j]
        h[b, t, j] = keep[b, t, j] * before + update[b, t, j]
    return h


def naive_scan_gradients(keep, update, h0, d_h):
    """The derivative by definition: differences of the loss <d_h, h>, which is linear in each input."""

    def loss(keep, update, h0):
        return (d_h * naive_scan(keep, update, h0)).sum()

    def derivative(position):
        moved = [keep, update, h0]
        gradient = np.empty_like(moved[position])
        for place in np.ndindex(*gradient.shape):
            up, down = moved[position].copy(), moved[position].copy()
            up[place] += 0.5
            down[place] -= 0.5
            gradient[place] = loss(*moved[:position], up, *moved[position + 1 :]) - loss(
                *moved[:position], down, *moved[position + 1 :]
            )
        return gradient

    return [derivative(position) for position in range(3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_the_scan_matches_its_definition(dtype, length, without_library, rng):
    keep, update = rng.normal(size=(2, 3, length, 4)).astype(dtype)
    h0 = rng.normal(size=(3, 4)).astype(dtype)
    compiled = linear_scan.forward(keep, update, h0)
    assert compiled.dtype == dtype
    np.testing.assert_array_equal(compiled, naive_scan(keep, update, h0))
    without_library()
    np.testing.assert_array_equal(linear_scan.forward(keep, update, h0), compiled)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_backward_scan_is_the_derivative(length, without_library, rng):
    keep, update, d_h = rng.normal(size=(3, 2, length, 3))
    h0 = rng.normal(size=(2, 3))
    h = naive_scan(keep, update, h0)
    compiled = linear_scan.backward(keep, h0, h, d_h)
    for mine, naive in zip(compiled, naive_scan_gradients(keep, update, h0, d_h), strict=True):
        np.testing.assert_allclose(mine, naive, rtol=1e-10, atol=1e-12)  # differences of float64 sums
    without_library()
    for mine, twin in zip(linear_scan.backward(keep, h0, h, d_h), compiled, strict=True):
        np.testing.assert_array_equal(mine, twin)
