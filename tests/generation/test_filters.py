import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charloom.errors import DivergedError
from charloom.generation import draw, next_distribution
from charloom.rng import Purpose, uniforms

ROUNDING = 1e-12  # the naive version sums in another order before it divides
EPS = 2.0**-53  # the last uniform number below 1 is 1 - EPS

levels = st.sampled_from([-30.0, -2.0, -0.5, 0.0, 0.0, 1.0, 1.0, 3.0, 800.0])  # few values: many ties
logit_rows = st.tuples(st.integers(1, 4), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.one_of(levels, st.floats(-20, 20)))
)
shares = st.floats(0.01, 1.0)


def ranked(logits):
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


def keep(row, ids):
    total = sum(row[i] for i in ids)
    return [row[i] / total if i in ids else 0.0 for i in range(len(row))]


def naive_top_k(row, logits, k):
    return keep(row, set(ranked(logits)[:k]))


def naive_top_p(row, logits, p):
    if p == 1:  # only all ids reach it, but a rounded sum may get there earlier
        return row
    kept, reached = set(), 0.0
    for i in ranked(logits):
        if reached >= p:
            break
        kept.add(i)
        reached += row[i]
    return keep(row, kept)


def naive_min_p(row, share):
    return keep(row, {i for i in range(len(row)) if row[i] >= share * max(row)})


def same(probs, expected):
    expected = np.array(expected)
    assert ((probs > 0) == (expected > 0)).all()  # exactly the same set is kept
    np.testing.assert_allclose(probs, expected, rtol=ROUNDING, atol=0)


@given(logit_rows, st.floats(0.05, 20))
def test_softmax_follows_its_formula(logits, temperature):
    probs = next_distribution(logits, temperature=temperature)
    for row, values in zip(probs, logits.tolist()):
        weights = [math.exp((value - max(values)) / temperature) for value in values]
        assert row == pytest.approx([weight / sum(weights) for weight in weights], rel=ROUNDING)


@given(logit_rows, st.integers(1, 10))
def test_top_k_agrees_with_the_naive_version(logits, k):
    same(
        next_distribution(logits, top_k=k),
        [naive_top_k(*pair, k) for pair in zip(next_distribution(logits).tolist(), logits.tolist())],
    )


@given(logit_rows, st.integers(1, 9))
def test_top_k_keeps_exactly_k_ids_and_the_lowest_ids_in_a_tie(logits, k):
    probs = next_distribution(np.round(logits) * 0, top_k=k)  # all tied
    k = min(k, logits.shape[1])
    assert ((probs > 0) == (np.arange(logits.shape[1]) < k)).all()


@given(logit_rows, shares)
@example(np.array([[7.0, -30.0]]), 1.0)
def test_top_p_agrees_with_the_naive_version(logits, p):
    same(
        next_distribution(logits, top_p=p),
        [naive_top_p(*pair, p) for pair in zip(next_distribution(logits).tolist(), logits.tolist())],
    )


@given(logit_rows, shares)
def test_top_p_is_the_smallest_set_that_reaches_p(logits, p):
    plain, filtered = next_distribution(logits), next_distribution(logits, top_p=p)
    for row, kept in zip(plain, filtered > 0):
        assert row[kept].sum() >= p - ROUNDING
        if kept.sum() > 1:
            assert np.sort(row[kept])[1:].sum() < p + ROUNDING  # not enough without the least likely id


@given(logit_rows, shares)
def test_min_p_agrees_with_the_naive_version(logits, share):
    same(
        next_distribution(logits, min_p=share),
        [naive_min_p(row, share) for row in next_distribution(logits).tolist()],
    )


@given(logit_rows, st.integers(1, 10), shares, shares)
def test_filters_apply_in_the_documented_order(logits, k, p, share):
    expected = []
    for row, scores in zip(next_distribution(logits, temperature=0.7).tolist(), logits.tolist()):
        by_k = naive_top_k(row, scores, k) if k < len(row) else row
        expected.append(naive_min_p(naive_top_p(by_k, scores, p), share))
    probs = next_distribution(logits, temperature=0.7, top_k=k, top_p=p, min_p=share)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=ROUNDING)
    assert ((probs > 0) == (np.array(expected) > 0)).all() or p_is_reached_within_rounding(logits, k, p)


def p_is_reached_within_rounding(logits, k, p):
    """Whether a cumulative sum equals top_p up to rounding, so that the two versions may differ by one character."""
    probs = next_distribution(logits, temperature=0.7, top_k=k)
    return bool((np.abs(np.cumsum(-np.sort(-probs, axis=1), axis=1) - p) < ROUNDING).any())


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2, "top_p": 0.5}, [0]),  # 0.5/0.75 alone reaches 0.5 once top-k has renormalised
        ({"top_p": 0.6, "min_p": 0.5}, [0, 1]),  # min-p first would leave 0.667, which reaches 0.6 alone
        ({"top_k": 3, "min_p": 0.28}, [0, 1, 2]),  # 0.15 is 0.3 of the largest
        ({"top_k": 3, "min_p": 0.32}, [0, 1]),
        ({"top_p": 0.5}, [0]),  # reached exactly: keep no more
    ],
)
def test_order_by_hand(settings, kept):
    probs = next_distribution(np.log([[0.5, 0.25, 0.15, 0.1]]), **settings)
    assert np.flatnonzero(probs[0]).tolist() == kept


@given(logit_rows)
def test_settings_that_remove_nothing_change_no_bit(logits):
    V = logits.shape[1]
    plain = next_distribution(logits)
    for settings in (
        {"top_k": V},
        {"top_k": V + 3},
        {"top_p": 1.0},
        {"min_p": 0.0},
        {"banned": np.zeros(V, bool)},
    ):
        assert next_distribution(logits, **settings).tobytes() == plain.tobytes(), settings


@given(logit_rows, st.sampled_from([None, 1, 2]))
def test_temperature_zero_is_the_first_argmax(logits, k):
    probs = next_distribution(logits, temperature=0, top_k=k, top_p=0.3, min_p=1.0)
    assert (probs.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert (probs.max(axis=1) == 1.0).all()
    assert (probs.sum(axis=1) == 1.0).all()


def test_temperature_by_hand():
    probs = next_distribution(np.log([[0.5, 0.3, 0.2]]), temperature=0.5)[0]  # p² / Σ p²
    assert probs == pytest.approx(np.array([0.25, 0.09, 0.04]) / 0.38, rel=ROUNDING)


@given(logit_rows, st.integers(1, 10), shares)
def test_a_row_does_not_depend_on_the_others(logits, k, p):
    settings = {"temperature": 0.8, "top_k": k, "top_p": p, "min_p": 0.05}
    together = next_distribution(logits, **settings)
    alone = np.concatenate([next_distribution(row[None], **settings) for row in logits])
    assert together.tobytes() == alone.tobytes()


def test_wide_rows_do_not_depend_on_the_batch(rng):
    logits = rng.normal(scale=3, size=(7, 1000)).astype(np.float32)
    strided = np.asfortranarray(logits)
    assert next_distribution(logits)[3:4].tobytes() == next_distribution(strided[3:4]).tobytes()
    assert next_distribution(strided, top_p=0.9).tobytes() == next_distribution(logits, top_p=0.9).tobytes()


@given(logit_rows, st.data())
def test_banned_ids_behave_as_if_absent(logits, data):
    V = logits.shape[1]
    banned = np.array(data.draw(st.lists(st.booleans(), min_size=V, max_size=V)))
    banned[data.draw(st.integers(0, V - 1))] = False
    settings = {"top_k": 3, "top_p": 0.8}
    probs = next_distribution(logits, banned=banned, **settings)
    assert (probs[:, banned] == 0).all()
    np.testing.assert_allclose(
        probs[:, ~banned], next_distribution(logits[:, ~banned], **settings), rtol=ROUNDING
    )
    assert not next_distribution(logits, temperature=0, banned=banned)[:, banned].any()


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1.0, 1e300])
def test_extreme_logits_and_temperatures_give_a_distribution(temperature):
    logits = np.array([[1e308, -1e308, 0.0], [-np.inf, 0.0, 5.0]])
    with np.errstate(all="raise"):
        probs = next_distribution(
            np.clip(logits, -8e307, 8e307) if temperature else logits, temperature=temperature
        )
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=ROUNDING)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_logits_raise_an_error(bad):
    with pytest.raises(DivergedError, match=r"largest logit of the next character is (nan|inf)"):
        next_distribution(np.array([[0.0, 1.0], [bad, 0.0]]))


def test_the_logits_are_not_changed():
    logits = np.array([[1.0, 2.0]])
    next_distribution(logits, banned=np.array([True, False]))
    assert logits.tolist() == [[1.0, 2.0]]


def naive_draw(row, u):
    reached = 0.0
    for i, p in enumerate(row):
        reached += p
        if reached > u:
            return i
    return max(i for i, p in enumerate(row) if p > 0)


@given(logit_rows, st.integers(1, 5), st.data())
def test_draw_agrees_with_the_naive_version_and_never_draws_probability_zero(logits, k, data):
    probs = next_distribution(logits, top_k=k)
    edges = [0.0, 1 - EPS, *np.cumsum(probs, axis=1).ravel().clip(0, 1 - EPS).tolist()]
    u = st.one_of(st.sampled_from(edges), st.floats(0, 1, exclude_max=True))
    chosen = np.array([data.draw(u) for _ in probs])
    ids = draw(probs, chosen)
    assert ids.dtype == np.int64
    assert ids.tolist() == [naive_draw(row, u) for row, u in zip(probs.tolist(), chosen.tolist())]
    assert (probs[np.arange(len(ids)), ids] > 0).all()


def test_a_sum_short_of_one_draws_the_last_possible_id():
    probs = np.array([[0.1] * 10 + [0.0]])  # sums to 1 - 2⁻⁵³
    assert np.cumsum(probs)[-1] == 1 - EPS
    assert draw(probs, np.array([1 - EPS])).tolist() == [9]


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.6}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.1, "temperature": 1.5}],
    ids=str,
)
def test_draw_frequencies_match_the_probabilities(settings):
    num_draws = 40_000
    logits = np.array([[2.0, -1.0, 0.5, 0.5, 1.4, -3.0, 0.0]])
    probs = next_distribution(logits, **settings)
    u = uniforms(11, Purpose.SAMPLE, 0, range(num_draws), 1)[:, 0]
    counts = np.bincount(draw(np.repeat(probs, num_draws, axis=0), u), minlength=7)
    possible = probs[0] > 0
    assert not counts[~possible].any()
    expected = num_draws * probs[0, possible]
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = possible.sum() - 1  # chi-square: mean f, variance 2f; 5 deviations above: 1 in 10⁴ or rarer
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)
