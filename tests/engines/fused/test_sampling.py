"""Sampling in the compiled loop: the same characters as NumPy's filters, and frequencies that match the probabilities."""

import math
from ctypes import byref

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charloom.engines import SamplingParams
from charloom.engines.fused.passes import new_samples, sampling_rule
from charloom.generation.decoding import distribution
from charloom.generation.filters import draw, next_distribution
from charloom.kernels.library import library, pointer
from charloom.rng import Purpose, uniforms

NO_RECENT = np.empty(0, np.int64)
ROUNDING32 = 1e-5  # error of a cumulative probability with float32 weights

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
    "biased": {"logit_bias": np.linspace(2, -2, 9, dtype=np.float32), "repetition_penalty": 3.0},
}


class Chooser:
    """The compiled choice for one row of logits."""

    def __init__(self, params, logits, recent=NO_RECENT, sample=7, flavour="float32"):
        self.size, self.position = len(logits), np.zeros(1, np.int64)
        row = np.array(logits[None], np.float64 if flavour == "float64" else np.float32)
        recent, nothing = np.array(recent[None], np.int64), np.empty((1, 0), row.dtype)
        self.samples = new_samples(row, nothing, recent, self.position, np.array([sample]))
        self.rule = sampling_rule(params, self.size)
        self.function = library().function("choose", flavour)

    def at(self, position):
        self.position[0] = position
        return self.function(byref(self.rule), byref(self.samples), 0, self.size)


def choose(params, logits, recent=NO_RECENT, position=0, flavour="float32"):
    return Chooser(params, logits, recent, flavour=flavour).at(position)


def kept_and_chosen(logits, choice, recent, position=0):
    """NumPy's distribution, and the id that it draws with the same uniform number."""
    probs = distribution(logits[None], recent[None], choice)
    return probs[0], int(draw(probs, uniforms(choice.seed, Purpose.SAMPLE, position, [7], 1)[:, 0])[0])


numbers = st.floats(-30, 30, width=32)
vectors = st.integers(1, 40).flatmap(lambda size: arrays(np.float32, size, elements=numbers, unique=True))


@example(  # equal by rounding
    logits=np.array([0, 1e-33], np.float32),
    seed=0,
    temperature=1.0,
    top_k=None,
    top_p=0.25,
    min_p=None,
    penalty=None,
)
@given(
    logits=vectors,
    seed=st.integers(0, 2**64 - 1),
    temperature=st.one_of(st.just(0.0), st.floats(0.2, 4)),
    top_k=st.none() | st.integers(1, 50),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
    penalty=st.none() | st.floats(0.5, 4),
)
def test_choices_match_the_numpy_filters(logits, seed, temperature, top_k, top_p, min_p, penalty):
    choice = SamplingParams(seed, temperature, top_k, top_p, min_p, penalty)
    recent = np.array([-1, 0, len(logits) - 1, 0], np.int64) if penalty else NO_RECENT
    ours = choose(choice, logits, recent)
    probs, theirs = kept_and_chosen(logits, choice, recent)
    if ours != theirs:  # allowed only if the draw is on an edge, or a probability on a filter's threshold
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


@pytest.mark.parametrize("settings", FILTERS.values(), ids=FILTERS.keys())
def test_frequencies_of_many_draws_match_the_probabilities(settings, rng):
    logits, count = rng.normal(size=9).astype(np.float32) * 1.5, 200_000
    choice, recent = SamplingParams(11, **settings), np.array([2, 5, 2], np.int64)
    probs, _ = kept_and_chosen(logits, choice, recent)
    chooser = Chooser(choice, logits, recent)
    seen = np.bincount([chooser.at(position) for position in range(count)], minlength=9)
    kept = probs > 0
    assert not seen[~kept].any()
    chi_square = ((seen[kept] - count * probs[kept]) ** 2 / (count * probs[kept])).sum()
    freedom = kept.sum() - 1  # chi-square is nearly normal: mean n, variance 2 n; five standard deviations
    assert chi_square < freedom + 5 * math.sqrt(2 * max(freedom, 1))


def test_uniform_matches_the_numpy_generator():
    rule, uniform = sampling_rule(SamplingParams(2**63 + 12345), 3), library().function("uniform", "float32")
    for sample, position in ((0, 0), (5, 17), (2**31, 2**32 - 1)):
        expected = uniforms(2**63 + 12345, Purpose.SAMPLE, position, [sample], 1)[0, 0]
        assert uniform(byref(rule), sample, position) == expected


@pytest.mark.parametrize("flavour", ["float32", "float64", "portable"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_invalid_logits_are_detected(bad, place, flavour):
    logits = np.array([0, 0.5, 1], np.float32)
    logits[place] = bad
    assert choose(SamplingParams(0), logits, flavour=flavour) == -1


def test_filters_that_keep_all_change_nothing(rng):
    logits = rng.normal(size=9).astype(np.float32)
    plain = Chooser(SamplingParams(3), logits)
    filtered = Chooser(SamplingParams(3, top_k=9, top_p=1.0, min_p=0.0), logits)
    assert [plain.at(position) for position in range(2000)] == [
        filtered.at(position) for position in range(2000)
    ]


def test_greedy_takes_the_lowest_id_of_ties():
    logits = np.array([1, 3, 3, 2], np.float32)
    assert choose(SamplingParams(0, temperature=0.0), logits) == 1
    assert choose(SamplingParams(0, temperature=0.0, banned=np.array([0, 1, 0, 0], bool)), logits) == 2
    penalised = SamplingParams(0, temperature=0.0, repetition_penalty=math.e**2)
    assert choose(penalised, logits, np.array([1, 2, 1])) == 3
    bias = np.array([9, 0, 0, 0], np.float32)
    assert choose(SamplingParams(0, temperature=0.0, logit_bias=bias), logits) == 0


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-45, 1e-40, 1e-38])
def test_a_temperature_whose_inverse_float32_cannot_hold_is_greedy(temperature, rng):
    logits = np.round(rng.normal(size=(50, 9))).astype(np.float32)  # with ties
    logits[0, :5] = np.array([3e38, -3e38, -np.inf, 3e38, 0])
    params = SamplingParams(11, temperature=temperature)
    for position, row in enumerate(logits):
        assert choose(params, row, position=position) == row.argmax()
        probs, drawn = kept_and_chosen(row, params, NO_RECENT, position)
        assert drawn == row.argmax()
        assert probs[drawn] == 1


@pytest.mark.parametrize("temperature", [1e45, 1e300, 1.7e308])
def test_a_huge_temperature_draws_uniformly_even_from_logits_whose_difference_overflows(temperature):
    logits = np.array([3e38, -3e38, -np.inf, 0], np.float32)
    chooser = Chooser(SamplingParams(11, temperature=temperature), logits)
    drawn = [chooser.at(position) for position in range(300)]
    assert set(drawn) == {0, 1, 3}


def test_the_log_probability_matches_the_softmax(rng):
    logits = rng.normal(size=30).astype(np.float32) * 4
    y = logits.astype(np.float64)
    expected = y[17] - np.log(np.exp(y).sum())
    log_probability, weights = library().function("log_probability", "float32"), np.empty(30, np.float32)
    assert log_probability(pointer(logits), 17, pointer(weights), 30) == pytest.approx(expected, abs=1e-6)
