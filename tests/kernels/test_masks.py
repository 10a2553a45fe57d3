"""Random numbers of dropout masks: the words of the generator, bit for bit with and without the library."""

import numpy as np
import pytest

from charloom import rng as randomness
from charloom.kernels import masks


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
def test_random_halves_are_the_same_bits_without_library(count, without_library):
    address = (12345678901234567890, randomness.Purpose.DROPOUT, 77, range(9), count)
    compiled = masks.random_halves(*address)
    without_library()
    np.testing.assert_array_equal(masks.random_halves(*address), compiled)
