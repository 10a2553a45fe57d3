"""Learning rate and progress as functions of the step: golden values and their shape."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TrainConfig
from charloom.schedule import learning_rate, progress_at

LINE = ((0, 0.0), (100, 1.0))


def config(**settings):
    return TrainConfig(**{"learning_rate": 0.01, "final_lr_fraction": 0.1, **settings})


# by hand: 0.01 · (0.1 + 0.9 · ½(1 + cos πp)); wsd: 0.01 · (0.1 + 0.9 · min(1, (1 − p)/0.25))
GOLDEN = [
    ("constant", 0, 0.01),
    ("constant", 99, 0.01),
    ("cosine", 0, 0.01),
    ("cosine", 25, 0.01 * (0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))),
    ("cosine", 50, 0.0055),
    ("cosine", 100, 0.001),
    ("wsd", 0, 0.01),
    ("wsd", 75, 0.01),
    ("wsd", 80, 0.01 * (0.1 + 0.9 * 0.8)),
    ("wsd", 100, 0.001),
]


@pytest.mark.parametrize(("schedule", "step", "rate"), GOLDEN)
def test_the_schedule_matches_its_golden_values(schedule, step, rate):
    assert learning_rate(config(schedule=schedule, decay_fraction=0.25), LINE, step) == pytest.approx(
        rate, rel=1e-12
    )


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_warm_up_rises_linearly_to_the_peak(schedule):
    rates = [learning_rate(config(schedule=schedule, warmup=4), LINE, step) for step in range(4)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01], rel=1e-12)


@given(
    gaps=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 1000)), min_size=1, max_size=6),
    schedule=st.sampled_from(["constant", "cosine", "wsd"]),
)
def test_progress_never_falls_and_the_rate_never_rises_after_warm_up(gaps, schedule):
    total, step, reached, knots = sum(rise for _, rise in gaps), 0, 0, [(0, 0.0)]
    for length, rise in gaps:
        step, reached = step + length, reached + rise
        knots.append((step, reached / total))
    knots = tuple(knots)
    places = range(0, step + 20, max(1, step // 50))
    progress = [progress_at(knots, s) for s in places]
    assert progress == sorted(progress)
    assert progress[0] == 0
    assert progress_at(knots, step) == progress_at(knots, step + 999) == 1
    for at, reached_there in knots:
        assert progress_at(knots, at) == reached_there
    rates = [learning_rate(config(schedule=schedule), knots, s) for s in places]
    assert all(a >= b - 1e-15 for a, b in zip(rates, rates[1:]))
    assert min(rates) >= 0.001 - 1e-15


def test_progress_is_linear_between_knots():
    knots = ((0, 0.0), (10, 0.5), (110, 1.0))
    assert [progress_at(knots, s) for s in (5, 10, 60, 110)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
