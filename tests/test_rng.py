"""Philox against its authors' test vectors, and draws as functions of their address."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom import rng as randomness
from charloom.rng import Purpose, normals, permutation, permuted, philox, random_bits, uniforms

SIGMAS = 5  # a mean of n draws is further from its expectation once in two million

# golden: kat_vectors of Random123 1.14, philox4x32 with 10 rounds: counter, key, result
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_matches_the_known_answers(counter, key, answer):
    low, high = words(key)
    rows = np.array([words(counter), [1, 2, 3, 4]], np.uint32)
    result = philox(rows, low + (high << 32))
    assert result.dtype == np.uint32
    assert result[0].tolist() == words(answer)


def test_a_draw_is_philox_of_its_address():
    bits = random_bits(5 + (9 << 32), 77, 2**32 + 6, [3, 8], 6)
    for row, lane in zip(bits, (3, 8), strict=True):
        for block in range(2):
            expected = philox(np.array([[block, lane, 6, 77]], np.uint32), 5 + (9 << 32))[0]
            np.testing.assert_array_equal(row[4 * block : 4 * block + 4], expected[: len(row) - 4 * block])


@given(
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 2**32 - 1),
    lanes=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6, unique=True),
    count=st.integers(1, 20),
)
def test_a_draw_is_independent_of_other_lanes_and_of_the_count(seed, step, lanes, count):
    whole = random_bits(seed, Purpose.WINDOW, step, lanes, count + 9)
    for i, lane in enumerate(lanes):
        np.testing.assert_array_equal(
            random_bits(seed, Purpose.WINDOW, step, [lane], count)[0], whole[i, :count]
        )


def test_seed_purpose_step_and_lane_each_change_the_draw():
    base = {"seed": 1, "purpose": 2, "step": 3, "lanes": [4], "count": 8}
    others = [{"seed": 2}, {"seed": 1 + (1 << 32)}, {"purpose": 3}, {"step": 4}, {"lanes": [5]}]
    first = random_bits(**base)
    for other in others:
        assert (random_bits(**base | other) != first).all()


def test_purposes_are_distinct_and_leave_room_for_dropout_sites():
    assert len({p.value for p in Purpose}) == len(Purpose)
    assert all(p < Purpose.DROPOUT for p in Purpose if p is not Purpose.DROPOUT)
    # part of the format: changing a number changes every published figure
    assert {p.name: p.value for p in Purpose} == {
        "INIT": 1,
        "WINDOW": 2,
        "ORDER": 3,
        "OFFSET": 4,
        "RESET": 5,
        "STATE": 6,
        "SAMPLE": 7,
        "EVALUATE": 8,
        "SPLIT": 9,
        "BOOTSTRAP": 10,
        "DROPOUT": 65536,
    }


def test_uniforms_are_in_the_unit_interval_and_have_the_right_moments():
    u = uniforms(3, Purpose.SAMPLE, 0, range(50), 2000)
    assert u.shape == (50, 2000)
    assert 0 <= u.min() < 1e-3
    assert 1 - 1e-3 < u.max() < 1
    assert abs(u.mean() - 0.5) < SIGMAS * np.sqrt(1 / 12 / u.size)
    assert abs((u**2).mean() - 1 / 3) < SIGMAS * np.sqrt(4 / 45 / u.size)


def test_a_uniform_has_the_high_bits_of_two_words():
    high, low = (int(w) for w in random_bits(3, 7, 1, [2], 2)[0])
    assert uniforms(3, 7, 1, [2], 1)[0, 0] == ((high >> 5) * 2**26 + (low >> 6)) / 2**53


def test_the_largest_uniform_is_below_one(monkeypatch):
    monkeypatch.setattr(randomness, "random_bits", lambda *_: np.full((1, 2), 0xFFFFFFFF, np.uint32))
    assert uniforms(0, 0, 0, [0], 1)[0, 0] == 1 - 2.0**-53
    assert np.isfinite(normals(0, 0, 0, [0], 1)).all()


def test_normals_have_the_right_moments():
    x = normals(4, Purpose.INIT, 0, range(40), 2501)
    assert x.shape == (40, 2501)
    assert abs(x.mean()) < SIGMAS / np.sqrt(x.size)
    assert abs((x**2).mean() - 1) < SIGMAS * np.sqrt(2 / x.size)
    assert abs((x**4).mean() - 3) < SIGMAS * np.sqrt(96 / x.size)
    np.testing.assert_array_equal(normals(4, Purpose.INIT, 0, [7], 2501)[0], x[7])


@given(seed=st.integers(0, 2**64 - 1), step=st.integers(0, 1000), size=st.integers(1, 300))
def test_a_permutation_has_each_number_once(seed, step, size):
    assert sorted(permutation(seed, Purpose.ORDER, step, size).tolist()) == list(range(size))


def test_permutations_differ_between_epochs_and_seeds():
    orders = [permutation(s, Purpose.ORDER, e, 50).tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_permutations_are_uniform():
    counts = np.zeros((4, 4))
    for epoch in range(2000):
        counts[np.arange(4), permutation(0, Purpose.ORDER, epoch, 4)] += 1
    assert np.abs(counts / 2000 - 0.25).max() < SIGMAS * np.sqrt(0.25 * 0.75 / 2000)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 10, 97, 1000, 4097])
def test_a_computed_permutation_is_one(size):
    found = permuted(3, Purpose.ORDER, 1, size, np.arange(size))
    assert sorted(found.tolist()) == list(range(size))
    np.testing.assert_array_equal(permuted(3, Purpose.ORDER, 1, size, np.arange(size)[::3]), found[::3])


def test_a_computed_permutation_looks_drawn():
    size, count = 10**12, 20_000
    found = permuted(7, Purpose.ORDER, 0, size, np.arange(count))
    other_epoch = permuted(7, Purpose.ORDER, 1, size, np.arange(count))
    other_seed = permuted(8, Purpose.ORDER, 0, size, np.arange(count))
    assert found.min() >= 0
    assert found.max() < size
    for step in (found[1:] - found[:-1], found - other_epoch, found - other_seed):
        assert (step == 0).mean() < 0.001
    for divisor in (10, 1000):
        tenths = np.bincount(found // (size // 10), minlength=10)
        rests = np.bincount(found % divisor * 10 // divisor, minlength=10)
        for counts in (tenths, rests):
            assert abs(counts - count / 10).max() < SIGMAS * np.sqrt(count * 0.09)
    rising = (found[1:] > found[:-1]).mean()
    assert abs(rising - 0.5) < SIGMAS * np.sqrt(1 / 12 / count)  # neighbouring pairs share an element
