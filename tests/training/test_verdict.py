"""Each verdict is drawn just on one side of its threshold, and not just on the other."""

import math

import pytest

from charloom.training.verdict import (
    LITTLE_TEXT,
    MEMORISED_GAP,
    OVERFITTED,
    STILL_IMPROVING,
    UNDERFITTED_GAP,
    Outcome,
    diverged_verdict,
    judge_training,
)

FLAT = ((50, 2.0), (80, 2.0), (100, 2.0))


def facts(**changes):
    return Outcome(
        **{
            "history": FLAT,
            "last_step": 100,
            "train_loss": 1.8,
            "val_loss": 2.0,
            "ngram_loss": 2.5,
            "train_chars": 10**6,
            **changes,
        }
    )


def kinds(*args, **changes):
    return [verdict.kind for verdict in judge_training(facts(**changes))]


EDGE = 1e-6
RULES = [
    ("well-fitted", {}),
    ("well-fitted", {"train_loss": 2.0 - UNDERFITTED_GAP - EDGE}),
    ("underfitting", {"train_loss": 2.0 - UNDERFITTED_GAP + EDGE}),
    ("underfitting", {"train_loss": 2.3}),
    ("still-improving", {"history": ((80, 2.0), (100, 2.0 * (1 - STILL_IMPROVING - EDGE)))}),
    ("well-fitted", {"history": ((80, 2.0), (100, 2.0 * (1 - STILL_IMPROVING + EDGE)))}),
    ("well-fitted", {"history": ((80, 2.0), (100, 1.0)), "stopped_early": True}),
    ("well-fitted", {"history": ((81, 3.0), (100, 2.0))}),  # not measured before the last fifth
    ("overfitting", {"history": ((50, 2.0), (100, 2.0 + OVERFITTED + EDGE))}),
    ("well-fitted", {"history": ((50, 2.0), (100, 2.0 + OVERFITTED - EDGE))}),
    ("memorised", {"train_loss": 0.5, "val_loss": 0.5 + MEMORISED_GAP + EDGE}),
    ("well-fitted", {"train_loss": 0.5, "val_loss": 0.5 + MEMORISED_GAP - EDGE}),
    ("well-fitted", {"train_loss": 1.5, "val_loss": 2.9}),  # a wide gap, but more than half the loss
    ("memorised", {"train_loss": 0.1, "val_loss": 3.0, "history": ((50, 2.0), (100, 3.0))}),
]


@pytest.mark.parametrize(("kind", "changes"), RULES, ids=lambda x: str(x)[:60])
def test_each_fit_gets_its_verdict(kind, changes):
    assert kinds(**{"ngram_loss": None, **changes}) == [kind]


def test_a_network_that_is_worse_than_the_ngram_gets_a_verdict():
    verdict = judge_training(facts(ngram_loss=2.0 - EDGE))[-1]
    assert verdict.kind == "worse-than-ngram"
    assert (verdict.number, verdict.threshold) == pytest.approx((2 / math.log(2), (2 - EDGE) / math.log(2)))
    assert kinds(ngram_loss=2.0) == ["well-fitted"]


def test_too_little_text_is_reported_in_addition_to_the_fit():
    assert kinds(train_chars=LITTLE_TEXT - 1) == ["well-fitted", "too-little-text"]
    assert kinds(train_chars=LITTLE_TEXT) == ["well-fitted"]


def test_without_a_validation_part_there_is_no_verdict_on_the_fit():
    assert kinds(val_loss=None, history=()) == []
    assert kinds(val_loss=None, history=(), train_chars=5) == ["too-little-text"]


def test_overfitting_names_the_best_step():
    verdict = judge_training(facts(history=((1000, 2.5), (2000, 2.0), (3000, 2.4)), last_step=3000))[0]
    assert "since step 2,000" in verdict.says
    assert verdict.number == pytest.approx(0.4)


def test_every_verdict_has_a_number_a_threshold_and_advice():
    every = [v for _, changes in RULES for v in judge_training(facts(**changes))]
    every += [*judge_training(facts(ngram_loss=1.0, train_chars=5)), diverged_verdict(7)]
    assert {v.kind for v in every} == {
        "still-improving",
        "well-fitted",
        "overfitting",
        "memorised",
        "underfitting",
        "diverged",
        "too-little-text",
        "worse-than-ngram",
    }
    for verdict in every:
        assert math.isfinite(verdict.number)
        assert math.isfinite(verdict.threshold)
        assert any(char.isdigit() for char in verdict.says)
        assert verdict.advice
