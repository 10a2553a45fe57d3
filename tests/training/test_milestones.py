"""When a run validates: about twenty times, but not within ten steps of the last time."""

import pytest

from charloom.config import TrainConfig
from charloom.training.budget import Budget
from charloom.training.milestones import STEPS_BETWEEN, VALIDATIONS, Milestones


def validated(steps, **settings):
    """The steps at which a run of so many steps validates, one step at a time."""
    config = TrainConfig(steps=steps, **settings)
    milestones, found = Milestones(config, Budget(config, 1000), 1000), [0]
    for step in range(steps):
        if milestones.validates(step, step + 1, found[-1]):
            found.append(step + 1)
    return found[1:]


@pytest.mark.parametrize("steps", [1, 5, 9, 60, 170])
def test_a_short_run_validates_ten_steps_apart_and_at_its_end(steps):
    found = validated(steps)
    assert found[-1] == steps
    assert all(b - a >= STEPS_BETWEEN for a, b in zip([0, *found], found[:-1]))


def test_a_long_run_validates_twenty_times():
    assert validated(2000) == [100 * k for k in range(1, VALIDATIONS + 1)]


def test_a_period_that_was_asked_for_is_kept():
    assert validated(12, validate_every=3) == [3, 6, 9, 12]
