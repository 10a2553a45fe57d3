"""The compiled loops against the definitions and against their NumPy twins, bit for bit."""

import numpy as np
import pytest

from charloom import rng as randomness
from charloom.engines.kernels import compiling, linear_scan, masks


@pytest.fixture
def without_numba(monkeypatch):
    def switch_off():
        monkeypatch.setattr(compiling, "HAS_NUMBA", False)

    return switch_off


def test_numba_is_installed_where_these_tests_run():
    assert compiling.HAS_NUMBA


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 1000])
@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
def test_random_halves_are_the_halves_of_random_bits(count, seed):
    step, purpose, lanes = 2**32 + 3, randomness.Purpose.DROPOUT + 256, range(2, 5)
    halves = masks.random_halves(seed, purpose, step, lanes, count)
    words = randomness.random_bits(seed, purpose, step, lanes, -(-count // 2))
    naive = np.array(
        [[half for word in row for half in (word & 0xFFFF, word >> 16)] for row in words.tolist()]
    )
    assert halves.shape == (3, count)
    assert halves.dtype == np.uint16
    np.testing.assert_array_equal(halves, naive[:, :count])


@pytest.mark.parametrize("count", [1, 8, 31])
def test_random_halves_are_the_same_bits_without_numba(count, without_numba):
    address = (12345678901234567890, randomness.Purpose.DROPOUT, 77, range(9), count)
    compiled = masks.random_halves(*address)
    without_numba()
    np.testing.assert_array_equal(masks.random_halves(*address), compiled)


def naive_scan(keep, update, h0):
    h = np.empty_like(keep)
    for b, t, j in np.ndindex(*keep.shape):
        before = h0[b, j] if t == 0 else h[b, t - 1, j]
        h[b, t, j] = keep[b, t, j] * before + update[b, t, j]
    return h


def naive_scan_gradients(keep, update, h0, d_h):
    """The derivative by the definition: the loss <d_h, h> moved along each input in turn (it is linear in each)."""

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
def test_the_scan_is_its_recurrence(dtype, length, without_numba, rng):
    keep, update = rng.normal(size=(2, 3, length, 4)).astype(dtype)
    h0 = rng.normal(size=(3, 4)).astype(dtype)
    compiled = linear_scan.forward(keep, update, h0)
    assert compiled.dtype == dtype
    np.testing.assert_array_equal(compiled, naive_scan(keep, update, h0))
    without_numba()
    np.testing.assert_array_equal(linear_scan.forward(keep, update, h0), compiled)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_backward_scan_is_the_derivative(length, without_numba, rng):
    keep, update, d_h = rng.normal(size=(3, 2, length, 3))
    h0 = rng.normal(size=(2, 3))
    h = naive_scan(keep, update, h0)
    compiled = linear_scan.backward(keep, h0, h, d_h)
    for mine, naive in zip(compiled, naive_scan_gradients(keep, update, h0, d_h), strict=True):
        np.testing.assert_allclose(mine, naive, rtol=1e-10, atol=1e-12)  # differences of float64 sums
    without_numba()
    for mine, twin in zip(linear_scan.backward(keep, h0, h, d_h), compiled, strict=True):
        np.testing.assert_array_equal(mine, twin)
