"""The paired block bootstrap: how often its interval excludes the truth, and what it needs."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.evaluation import bootstrap
from charloom.evaluation.bootstrap import losses_by_position, paired_difference
from charloom.evaluation.protocols import stream_loss
from charloom.parameters import initial_parameters

NUM_TRIALS = 100
MISSES = (0, 0.10)  # of intervals at 95 %: the standard error of a rate over 100 trials is 0.022
SEGMENTS = 1e-3  # nats: each segment begins with a warm state, not the exact one
MODEL = ModelConfig(cell="gru", hidden_size=8, init="uniform", init_scale=0.7)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(bootstrap, "_NUM_RESAMPLES", 500)


def alike(rng, num):
    """Noise in which neighbours over two hundred characters are alike."""
    smooth = np.convolve(rng.normal(size=num + 199), np.ones(200) / math.sqrt(200), "valid")
    return smooth + rng.normal(size=num)


def test_losses_by_position_are_those_of_the_stream(rng):
    model = load_engine("torch").model(initial_parameters(MODEL, 6, 3), MODEL, precision="float64")
    for length in (300, 9000):
        ids = rng.integers(0, 6, length)
        for boundary_id in (None, 2):
            losses = losses_by_position(model, ids, boundary_id=boundary_id)
            expected = stream_loss(model, ids, boundary_id=boundary_id).loss_nats
            assert losses.shape == (length - 1,)
            assert losses.min() > 0
            assert losses.mean() == pytest.approx(expected, abs=SEGMENTS)


def test_the_difference_is_paired_and_in_bits(rng):
    text = 3 * alike(rng, 30_000)  # which both models find easy or difficult together
    better, worse = text + 0.01 * alike(rng, 30_000), text + 0.02
    found = paired_difference(better[None], worse[None])
    assert found.bits == pytest.approx((better.mean() - worse.mean()) / math.log(2), rel=1e-12)
    assert found.low_bits < found.bits < found.high_bits < 0
    assert found.is_clear
    assert (found.num_chars, found.num_blocks) == (30_000, 30)
    swapped = paired_difference(worse[None], better[None])
    assert (swapped.low_bits, swapped.high_bits) == pytest.approx(
        (-found.high_bits, -found.low_bits), abs=2e-3
    )


def test_equal_models_do_not_differ():
    losses = np.ones((1, 400))
    found = paired_difference(losses, losses)
    assert (found.bits, found.low_bits, found.high_bits, found.is_clear) == (0, 0, 0, False)
    assert found.num_blocks == bootstrap.FEWEST_BLOCKS


def test_intervals_of_two_runs_hold_although_neighbours_are_alike(rng):
    misses = sum(
        paired_difference(alike(rng, 40_000)[None], np.zeros((1, 40_000)), seed=trial).is_clear
        for trial in range(NUM_TRIALS)
    )
    assert MISSES[0] <= misses / NUM_TRIALS <= MISSES[1]


def test_intervals_of_groups_hold_although_seeds_vary(rng):
    def group():
        return rng.normal(size=(3, 1)) + 0.1 * rng.normal(size=(3, 400))

    misses = sum(paired_difference(group(), group(), seed=trial).is_clear for trial in range(NUM_TRIALS))
    assert MISSES[0] <= misses / NUM_TRIALS <= MISSES[1]
    found = paired_difference(group() * 0.01, 1 + group() * 0.01)
    assert found.is_clear


def test_a_short_text_is_refused():
    with pytest.raises(DataError, match="the held-out text has 199 characters: at least 200 are needed"):
        paired_difference(np.zeros((1, 199)), np.zeros((1, 199)))
