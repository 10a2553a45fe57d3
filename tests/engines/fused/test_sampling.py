"""Choosing in the compiled loop: the same character as NumPy's filters, and frequencies that are the probabilities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit

from charloom.engines import Choice
from charloom.engines.fused.model import rule_of
from charloom.engines.fused.sampling import choose, log_probability, new_room, uniform
from charloom.generation.filters import draw, next_distribution
from charloom.generation.pens import distribution
from charloom.rng import Purpose, uniforms

NOBODY = np.empty(0, np.int64)
ROUNDING32 = 1e-5  # what float32 weights move a cumulative probability

FILTERS = {
    "plain": {},
    "cold": {"temperature": 0.4},
    "hot": {"temperature": 2.5},
    "top-k": {"top_k": 5},
    "top-p": {"top_p": 0.7},
    "min-p": {"min_p": 0.2},
    "top-k and top-p": {"top_k": 6, "top_p": 0.8},
    "all": {"temperature": 1.4, "top_k": 7, "top_p": 0.95, "min_p": 0.05},
    "penalty": {"repetition_penalty": 3.0},
    "banned": {"banned": np.arange(9) == 4},
}


def kept_and_chosen(logits, choice, recent, position=0):
    """What NumPy makes of it: the distribution, and the id that inverts the same uniform number."""
    probs = distribution(logits[None], recent[None], choice)
    return probs[0], int(draw(probs, uniforms(choice.seed, Purpose.SAMPLE, position, [7], 1)[:, 0])[0])


numbers = st.floats(-30, 30, width=32)
vectors = st.integers(1, 40).flatmap(lambda size: arrays(np.float32, size, elements=numbers, unique=True))


@given(
    logits=vectors,
    seed=st.integers(0, 2**64 - 1),
    temperature=st.one_of(st.just(0.0), st.floats(0.2, 4)),
    top_k=st.none() | st.integers(1, 50),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
    penalty=st.none() | st.floats(0.5, 4),
)
def test_it_chooses_what_the_filters_choose(logits, seed, temperature, top_k, top_p, min_p, penalty):
    choice = Choice(seed, temperature, top_k, top_p, min_p, penalty)
    recent = np.array([-1, 0, len(logits) - 1, 0], np.int64) if penalty else NOBODY
    ours = choose(rule_of(choice, len(logits)), logits, recent, 7, 0, new_room(len(logits)))
    probs, theirs = kept_and_chosen(logits, choice, recent)
    if ours != theirs:  # only where the draw falls on an edge, or a filter's threshold on a probability
        u, cumulative = uniforms(seed, Purpose.SAMPLE, 0, [7], 1)[0, 0], np.cumsum(probs)
        full = next_distribution(
            logits[None], temperature=temperature, repetition_penalty=penalty, recent=recent[None]
        )[0]
        on_an_edge = np.abs(cumulative - u).min() < ROUNDING32
        ranked = np.sort(full)[::-1]
        near_p = (
            top_p is not None
            and np.abs(np.cumsum(ranked / ranked[: top_k or None].sum()) - top_p).min() < ROUNDING32
        )
        near_min = min_p is not None and np.abs(full / full.max() - min_p).min() < ROUNDING32
        assert on_an_edge or near_p or near_min


@njit
def frequencies(rule, logits, recent, room, count):
    seen = np.zeros(logits.shape[0], np.int64)
    for position in range(count):
        seen[choose(rule, logits, recent, 7, position, room)] += 1
    return seen


@pytest.mark.parametrize("settings", FILTERS.values(), ids=FILTERS.keys())
def test_a_million_draws_have_the_frequencies_of_the_probabilities(settings, rng):
    logits, count = rng.normal(size=9).astype(np.float32) * 1.5, 1_000_000
    choice, recent = Choice(11, **settings), np.array([2, 5, 2], np.int64)
    probs, _ = kept_and_chosen(logits, choice, recent)
    seen = frequencies(rule_of(choice, 9), logits, recent, new_room(9), count)
    kept = probs > 0
    assert not seen[~kept].any()
    chi_square = ((seen[kept] - count * probs[kept]) ** 2 / (count * probs[kept])).sum()
    freedom = kept.sum() - 1  # chi-square is near normal: mean n, variance 2 n; five standard deviations
    assert chi_square < freedom + 5 * math.sqrt(2 * max(freedom, 1))


def test_the_uniform_number_is_that_of_the_address():
    rule = rule_of(Choice(2**63 + 12345), 3)
    for sample, position in ((0, 0), (5, 17), (2**31, 2**32 - 1)):
        expected = uniforms(2**63 + 12345, Purpose.SAMPLE, position, [sample], 1)[0, 0]
        assert uniform(rule, sample, position, np.empty(4, np.uint32)) == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_define_no_distribution_are_found_out(bad):
    logits = np.array([0, bad, 1], np.float32)
    assert choose(rule_of(Choice(0), 3), logits, NOBODY, 0, 0, new_room(3)) == -1


def test_nothing_is_removed_by_filters_that_keep_all(rng):
    logits, room = rng.normal(size=9).astype(np.float32), new_room(9)
    for position in range(2000):
        plain = choose(rule_of(Choice(3), 9), logits, NOBODY, 0, position, room)
        assert (
            choose(rule_of(Choice(3, top_k=9, top_p=1.0, min_p=0.0), 9), logits, NOBODY, 0, position, room)
            == plain
        )


def test_greedy_takes_the_lowest_of_equals():
    logits = np.array([1, 3, 3, 2], np.float32)
    assert choose(rule_of(Choice(0, temperature=0.0), 4), logits, NOBODY, 0, 0, new_room(4)) == 1
    assert (
        choose(
            rule_of(Choice(0, temperature=0.0, banned=np.array([0, 1, 0, 0], bool)), 4),
            logits,
            NOBODY,
            0,
            0,
            new_room(4),
        )
        == 2
    )
    penalised = Choice(0, temperature=0.0, repetition_penalty=math.e**2)
    assert choose(rule_of(penalised, 4), logits, np.array([1, 2, 1]), 0, 0, new_room(4)) == 3


def test_the_log_probability_is_that_of_the_softmax(rng):
    logits = rng.normal(size=30).astype(np.float32) * 4
    y = logits.astype(np.float64)
    expected = y[17] - np.log(np.exp(y).sum())
    assert log_probability(logits, 17, np.empty(30, np.float32)) == pytest.approx(expected, abs=1e-6)
