"""The hash against Python's, in pieces of any size, and taken up again by another process."""

import hashlib
import json

import numpy as np
import pytest

from charloom.kernels.library import library, pointer
from charloom.kernels.sha256 import Sha256


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 16_383, 16_384, 16_385, 70_001])
def test_the_hash_is_pythons(size, rng, without_library):
    data = rng.bytes(size)
    expected = hashlib.sha256(data).hexdigest()
    for _ in ("compiled", "plain"):
        ours = Sha256()
        ours.update(data)
        assert ours.hexdigest() == expected
        assert ours.hexdigest() == expected  # asking changes nothing
        without_library()


def test_pieces_of_any_size_and_a_state_written_down(rng):
    data, ours, position = rng.bytes(300_000), Sha256(), 0
    while position < len(data):
        size = int(rng.choice([1, 7, 64, 100, 5_000, 20_000, 40_000]))
        ours.update(data[position : position + size])
        position += size
        if rng.random() < 0.3:
            ours = Sha256(json.loads(json.dumps(ours.state())))
    assert ours.hexdigest() == hashlib.sha256(data).hexdigest()


def test_without_special_instructions_it_is_the_same(rng):
    data = rng.bytes(64 * 37)
    states = [Sha256()._words.copy() for _ in range(2)]
    for plain, state in enumerate(states):
        library().function("sha256_blocks", "float32")(pointer(state), data, 37, plain)
    np.testing.assert_array_equal(*states)


def test_there_is_no_state_without_the_library(without_library):
    without_library()
    assert Sha256().state() is None
