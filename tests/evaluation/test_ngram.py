"""The n-gram baseline against a slow reference written from the equations, values by hand and a known source."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import ConfigError, DataError
from charloom.evaluation import ngram_baseline, ngram_surprisals
from charloom.evaluation.ngram import FALLBACK_DISCOUNTS, discounts

CLOSE = 1e-9  # both sum a handful of float64 terms per character
SAMPLING = (
    0.01  # bits; 56 free probabilities from 200,000 characters cost about 0.0002, scoring 20,000 adds 0.008
)

START = "start of text"


class Reference:
    """Interpolated modified Kneser-Ney as in Chen & Goodman: dictionaries, recursion, one character at a time."""

    def __init__(self, train, vocab_size, order):
        self.vocab_size, self.order = vocab_size, order
        self.counts = {k: self.count(list(train), k) for k in range(1, order + 1)}
        self.d = {k: self.chen_goodman(counts.values()) for k, counts in self.counts.items()}

    def count(self, train, k):
        grams = [tuple(train[t : t + k]) for t in range(len(train) - k + 1)]
        if k == self.order:
            return Counter(grams)
        before = defaultdict(set)
        for t, gram in enumerate(grams):
            before[gram].add(train[t - 1] if t > 0 else START)
        return {gram: len(chars) for gram, chars in before.items()}

    @staticmethod
    def chen_goodman(counts):
        n1, n2, n3, n4 = (sum(count == j for count in counts) for j in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return FALLBACK_DISCOUNTS
        y = n1 / (n1 + 2 * n2)
        d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else FALLBACK_DISCOUNTS

    def probability(self, char, context):
        """p(char | context) at the highest order that the context allows."""
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        k = len(context) + 1
        lower = self.probability(char, context[1:]) if context else 1 / self.vocab_size
        followers = {gram: c for gram, c in self.counts[k].items() if gram[:-1] == context}
        total = sum(followers.values())
        if total == 0:
            return lower
        d1, d2, d3 = self.d[k]
        n1, n2 = (sum(c == j for c in followers.values()) for j in (1, 2))
        n3 = len(followers) - n1 - n2
        c = followers.get((*context, char), 0)
        discount = {0: 0.0, 1: d1, 2: d2}.get(c, d3)
        return (c - discount) / total + (d1 * n1 + d2 * n2 + d3 * n3) / total * lower


def surprisals(train, validation, vocab_size, max_order):
    train, validation = np.array(train, int), np.array(validation, int)
    return np.array(list(ngram_surprisals(train, validation, vocab_size, max_order=max_order)))


def reference_surprisals(train, validation, vocab_size, max_order):
    references = [Reference(train, vocab_size, order) for order in range(1, max_order + 1)]
    return [
        [-math.log2(reference.probability(char, validation[:t])) for t, char in enumerate(validation)]
        for reference in references
    ]


def random_text(rng, length, vocab_size):
    """Skewed ids with counts of every size, so that the discounts are estimated without the fallback."""
    return np.minimum(rng.geometric(0.3, length) - 1, vocab_size - 1).tolist()


@given(
    train=st.lists(st.integers(0, 3), max_size=60),
    validation=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    vocab_size=st.integers(4, 6),
)
def test_every_surprisal_agrees_with_the_reference(train, validation, vocab_size):
    ours = surprisals(train, validation, vocab_size, 5)
    np.testing.assert_allclose(
        ours, reference_surprisals(train, validation, vocab_size, 5), rtol=0, atol=CLOSE
    )


def test_surprisals_with_estimated_discounts_agree_with_the_reference(rng):
    train, validation = random_text(rng, 1200, 9), random_text(rng, 40, 9)
    reference = Reference(train, 9, 4)
    assert [reference.d[k] != FALLBACK_DISCOUNTS for k in (2, 3, 4)] == [True, True, True]
    ours = surprisals(train, validation, 9, 4)
    np.testing.assert_allclose(ours, reference_surprisals(train, validation, 9, 4), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_probabilities_sum_to_one(order, rng):
    train, vocab_size = random_text(rng, 300, 7), 8  # id 7 never occurs
    reference = Reference(train, vocab_size, order)
    for length in range(order + 1):
        context = random_text(rng, length, 7)
        endings = [surprisals(train, [*context, w], vocab_size, order)[-1, -1] for w in range(vocab_size)]
        assert np.exp2(-np.array(endings)).sum() == pytest.approx(1.0, abs=CLOSE)
        assert sum(reference.probability(char, context) for char in range(vocab_size)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("train", "validation", "probability"),
    [
        ([0, 0, 1], 0, (2 - 1) / 3 + (1 + 0.5) / 3 / 3),  # counts 2 and 1, fallback discounts 1 and 0.5
        ([0, 0, 1], 1, (1 - 0.5) / 3 + (1 + 0.5) / 3 / 3),
        ([0, 0, 1], 2, (1 + 0.5) / 3 / 3),  # never seen: its share of the discounted mass
        ([], 0, 1 / 3),
    ],
)
def test_order_one_by_hand(train, validation, probability):
    assert surprisals(train, [validation], 3, 1)[0, 0] == pytest.approx(-math.log2(probability), abs=CLOSE)


def test_order_two_by_hand():
    """Train 0 0 1, V = 2. {start, 0} precede 0, {0} precedes 1: continuation counts 2 and 1, of 3.

    p_1(1) = (1 − 0.5)/3 + 1.5/3 · 1/2 = 5/12. 0 is followed by 0 and 1, once each:
    p_2(1 | 0) = (1 − 0.5)/2 + 1/2 · 5/12 = 11/24.
    """
    assert 2 ** -surprisals([0, 0, 1], [0, 1], 2, 2)[1, 1] == pytest.approx(11 / 24, abs=CLOSE)


def test_discounts_by_hand():
    """n = 40, 20, 12, 6: Y = 40/80; D_1 = 1 − 2·½·20/40, D_2 = 2 − 3·½·12/20, D_3 = 3 − 4·½·6/12."""
    counts = np.repeat([0, 1, 2, 3, 4, 5, 90], [7, 40, 20, 12, 6, 3, 1])
    assert discounts(counts) == pytest.approx([0, 0.5, 1.1, 2.0])


@pytest.mark.parametrize("numbers", [(5, 4, 3, 0), (0, 4, 3, 2), (9, 1, 1, 90), (9, 1, 90, 1), (1, 1, 1, 1)])
def test_undefined_discounts_fall_back(numbers):
    counts = np.repeat([1, 2, 3, 4], numbers)
    expected = [0, 1 - 2 / 3, 1, 3 - 4 / 3] if numbers == (1, 1, 1, 1) else [0, *FALLBACK_DISCOUNTS]
    assert discounts(counts) == pytest.approx(expected)


def test_a_bigram_source_costs_its_entropy(rng):
    transition = rng.dirichlet(np.full(8, 0.4), size=8)
    cumulative, state, text = transition.cumsum(axis=1), 0, []
    for u in rng.random(220_000):
        state = min(int(np.searchsorted(cumulative[state], u)), 7)
        text.append(state)
    train, validation = np.array(text[:200_000]), np.array(text[200_000:])
    entropy = -np.log2(transition[validation[:-1], validation[1:]]).mean()  # of this sample
    result = ngram_baseline(train, validation, 8)
    assert result.bits_per_char_by_order[1] == pytest.approx(entropy, abs=SAMPLING)
    assert result.bits_per_char == pytest.approx(entropy, abs=SAMPLING)
    assert result.bits_per_char_by_order[0] > entropy + 0.3


def test_the_best_order_is_reported(rng):
    train, validation = random_text(rng, 500, 5), random_text(rng, 50, 5)
    result = ngram_baseline(np.array(train), np.array(validation), 5, max_order=4)
    means = surprisals(train, validation, 5, 4).mean(axis=1)
    assert result.bits_per_char_by_order == pytest.approx(tuple(means))
    assert result.bits_per_char == min(result.bits_per_char_by_order) == means[result.order - 1]
    assert (result.train_chars_used, result.validation_chars) == (500, 50)


def test_limits_keep_the_text_next_to_the_split(rng):
    train, validation = np.array(random_text(rng, 500, 5)), np.array(random_text(rng, 50, 5))
    limited = ngram_baseline(train, validation, 5, max_train=200, max_validation=30)
    assert limited == ngram_baseline(train[-200:], validation[:30], 5)
    assert (limited.train_chars_used, limited.validation_chars) == (200, 30)


def test_later_characters_do_not_change_earlier_surprisals(rng):
    train, validation = random_text(rng, 400, 5), random_text(rng, 30, 5)
    changed = [*validation[:20], *((np.array(validation[20:]) + 1) % 5)]
    before, after = surprisals(train, validation, 5, 6), surprisals(train, changed, 5, 6)
    np.testing.assert_array_equal(before[:, :20], after[:, :20])


def test_the_validation_part_starts_without_context(rng):
    train = random_text(rng, 400, 5)
    first = surprisals(train, random_text(rng, 10, 5), 5, 6)[1:, 0]
    assert (first == first[0]).all()  # orders 2 … 6 all charge p_1 of the continuation counts


@pytest.mark.parametrize("num_train", [0, 1, 2, 50])
@pytest.mark.parametrize("num_validation", [1, 2, 30])
def test_one_symbol_costs_nothing(num_train, num_validation):
    result = ngram_baseline(np.zeros(num_train, int), np.zeros(num_validation, int), 1)
    assert result.bits_per_char_by_order == (0.0,) * 10
    assert result.order == 1


def test_a_repetitive_text_costs_little_and_stays_finite():
    text = np.tile([0, 1], 5000)
    result = ngram_baseline(text, np.append(text[:1000], 2), 4)
    assert result.bits_per_char < 0.03
    assert np.isfinite(result.bits_per_char_by_order).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int32])
def test_every_integer_type_gives_the_same_result(dtype, rng):
    train, validation = np.array(random_text(rng, 300, 250)), np.array(random_text(rng, 30, 250))
    expected = ngram_baseline(train, validation, 250)
    assert ngram_baseline(train.astype(dtype), validation.astype(dtype), 250) == expected


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "take", "order", "bits_per_char"),
    [  # measured with this code, which the reference checks; a change of method shows here
        ("tinyshakespeare.txt", 5_000, 5, 2.9400),
        ("tinyshakespeare.txt", 1_115_394, 7, 2.1878),
        ("arabic_small.txt", 3_296, 7, 4.0108),
    ],
)
def test_known_corpora(data, name, take, order, bits_per_char):
    text = (data / name).read_text("utf-8")[:take]
    symbols, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    cut = len(ids) * 9 // 10
    result = ngram_baseline(ids[:cut], ids[cut:], len(symbols))
    assert (result.order, round(result.bits_per_char, 4)) == (order, bits_per_char)


def test_an_empty_validation_text_is_refused():
    with pytest.raises(DataError) as caught:
        ngram_baseline(np.array([0, 1]), np.array([], int), 2)
    assert caught.value.what == "the validation text is empty"


@pytest.mark.parametrize(
    ("train", "validation", "what"),
    [([0, 5], [0], "the training ids span 0 to 5"), ([0], [-1], "the validation ids span -1 to -1")],
)
def test_ids_outside_the_vocabulary_are_refused(train, validation, what):
    with pytest.raises(DataError) as caught:
        ngram_baseline(np.array(train), np.array(validation), 5)
    assert caught.value.what == what
    assert caught.value.why == "a vocabulary of 5 has ids 0 to 4"


@pytest.mark.parametrize("name", ["max_order", "max_train", "max_validation"])
def test_limits_below_one_are_refused(name):
    with pytest.raises(ConfigError) as caught:
        ngram_baseline(np.array([0]), np.array([0]), 1, **{name: 0})
    assert caught.value.what == f"{name} is 0"
