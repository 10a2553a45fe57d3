"""The judge: every verdict just on one side of its threshold and not on the other, and advice that fits the network."""

import dataclasses
import json
import math

import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.training.advice import LITTLE_TEXT, LONGER_S
from charloom.training.facts import GROWTH_NOISE, KEPT_POINTS, Facts, bare_facts, thinned
from charloom.training.verdict import (
    COPIED,
    ENOUGH_PASSES,
    FEW_PASSES,
    FEW_STEPS,
    MEMORISED_GAP,
    MOST_WASTED,
    NO_STRUCTURE,
    OVERFITTED,
    OVERFITTED_GAP,
    STILL_IMPROVING,
    UNDERFITTED_GAP,
    UNSTABLE,
    WIDE_GAP,
    Verdict,
    diverged_verdict,
    judge,
)

FLAT = ((250, 2.0), (500, 2.0), (750, 2.0), (800, 2.0), (1000, 2.0))
HALF = ((500, 4.0), (800, 3.91), (1000, 3.9))
FALLING = ((250, 2.4), (500, 2.2), (800, 2.05), (1000, 2.0))
RISING = ((100, 2.5), (400, 2.0), (600, 2.05), (800, 2.1), (1000, 2.2))
LOST = ((100, 2.0), (300, 2.1), (500, 2.2), (700, 2.2), (900, 2.2), (1000, 2.2))
EDGE = 1e-6


def facts(**changes):
    return Facts(
        **{
            "history": FLAT,
            "last_step": 1000,
            "best_step": 1000,
            "passes": 20.0,
            "learning_rate_share": 0.05,
            "train_chars": 10**6,
            "val_loss": 2.0,
            "standard_error": 0.01,
            "train_loss": 1.8,
            "uniform_loss": math.log(64),
            "order0_loss": 3.0,
            "ngram_loss": 2.5,
            "xz_loss": 2.6,
            **changes,
        }
    )


def verdict(**changes):
    (one,) = judge(facts(**changes))
    return one


def kind(**changes):
    return verdict(**changes).kind


def trained(*last):
    """Training losses for `RISING`, 2.2 at its best step."""
    return (2.4, 2.2, 2.1, 2.1, *last)[: 5 - len(last)] + last


BLOWN = 2.2 + UNSTABLE
RULES = [
    ("well-fitted", {}),
    ("overlapping", {"overlap": COPIED}),
    ("well-fitted", {"overlap": COPIED - EDGE}),
    ("overlapping", {"overlap": 1.0, "last_step": 5, "passes": 0.1}),  # before anything that the loss says
    ("nothing-to-gain", {"order0_loss": 2.0, "ngram_loss": 2.0}),
    ("nothing-to-gain", {"order0_loss": 2.0, "ngram_loss": 2.1, "last_step": 60, "passes": 0.5}),
    ("well-fitted", {"order0_loss": 2.0, "ngram_loss": 2.0 * (1 - NO_STRUCTURE) - EDGE}),
    (
        "well-fitted",
        {"order0_loss": 2.0, "ngram_loss": 2.0, "xz_loss": 1.9},
    ),  # repetitions that no n-gram reaches
    ("well-fitted", {"order0_loss": 2.0 * (1 + NO_STRUCTURE) + 0.01, "ngram_loss": 2.1}),
    ("nothing-to-gain", {"order0_loss": 2.2, "ngram_loss": 2.2, "standard_error": 0.11}),
    ("not-learning", {"train_loss": 3.1, "val_loss": 3.2}),
    ("still-improving", {"train_loss": 3.1, "val_loss": 3.2, "history": FALLING}),
    ("not-learning", {"val_loss": 4.5, "train_loss": 4.4, "last_step": 20, "passes": 0.2}),
    ("too-short", {"val_loss": 4.5, "train_loss": 4.4, "last_step": 19, "passes": 0.2}),
    ("memorised", {"train_loss": 0.5, "val_loss": 0.5 + MEMORISED_GAP + EDGE}),
    ("overfitting", {"train_loss": 0.5, "val_loss": 0.5 + MEMORISED_GAP - EDGE}),
    ("overfitting", {"train_loss": 1.5, "val_loss": 2.9}),  # a wide gap, but more than half the loss
    ("memorised", {"history": ((500, 2.0), (1000, 3.1)), "train_history": (1.9, 1.5)}),
    ("memorised", {"train_loss": 0.1, "val_loss": 3.0, "last_step": 100, "passes": 1.0}),
    ("overfitting", {"history": RISING}),
    ("overfitting", {"history": ((500, 2.0), (900, 2.1), (1000, 2.0 + OVERFITTED + EDGE))}),
    ("well-fitted", {"history": ((500, 2.0), (900, 2.1), (1000, 2.0 + OVERFITTED - EDGE))}),
    (
        "well-fitted",
        {"history": ((250, 2.0), (900, 1.99), (950, 2.1), (1000, 2.1))},
    ),  # the best is near the end
    (
        "underfitting",
        {"history": RISING, "train_loss": 2.0, "train_history": trained(2.2 - OVERFITTED_GAP + EDGE)},
    ),
    (
        "overfitting",
        {"history": RISING, "train_loss": 2.0, "train_history": trained(2.2 - OVERFITTED_GAP - EDGE)},
    ),
    ("unstable", {"history": RISING, "train_history": trained(BLOWN + EDGE, BLOWN + EDGE, 3.0)}),
    ("unstable", {"history": RISING, "train_history": trained(3.0, 3.0, 3.0), "train_loss": 2.0}),  # no gap
    (
        "overfitting",
        {"history": RISING, "train_history": trained(BLOWN - EDGE, 3.0, 3.0)},
    ),  # one of them as before
    ("overfitting", {"history": RISING, "train_history": trained(3.0, 3.0, BLOWN - EDGE)}),
    # the mean before the best step is of a network that knew nothing; the one after it is of the best
    ("unstable", {"history": LOST, "train_history": (3.5, 2.2, 2.2, 2.3, 2.3, 2.3)}),
    (
        "well-fitted",
        {"history": FLAT, "train_history": trained(3.0, 3.0, 3.0)},
    ),  # held-out text does not suffer
    ("memorised", {"history": RISING, "train_history": trained(3.0, 3.0, 3.0), "train_loss": 0.5}),
    ("too-short", {"last_step": FEW_STEPS - 1}),
    ("too-short", {"passes": FEW_PASSES - EDGE}),
    ("well-fitted", {"passes": FEW_PASSES, "last_step": FEW_STEPS, "history": ((1, 2.0), (200, 2.0))}),
    (
        "too-short",
        {"passes": 0.5, "last_step": 60, "history": ((30, 2.1), (45, 2.0), (60, 2.0)), "train_loss": 2.0},
    ),
    (
        "too-short",
        {
            "passes": 0.05,
            "last_step": 10,
            "history": ((4, 2.0), (6, 2.1), (8, 2.1), (10, 2.1)),
            "train_loss": 2.0,
        },
    ),
    ("still-improving", {"history": ((800, 2.0), (1000, 2.0 * (1 - STILL_IMPROVING - EDGE)))}),
    ("well-fitted", {"history": ((800, 2.0), (1000, 2.0 * (1 - STILL_IMPROVING + EDGE)))}),
    ("well-fitted", {"history": ((800, 2.0), (1000, 1.0)), "stopped_early": True}),
    ("well-fitted", {"history": ((801, 3.0), (1000, 2.0))}),  # not measured before the last fifth
    ("still-improving", {"train_loss": 2.0, "passes": ENOUGH_PASSES - EDGE}),
    ("underfitting", {"train_loss": 2.0, "passes": ENOUGH_PASSES}),
    ("underfitting", {"train_loss": 2.0 - UNDERFITTED_GAP + EDGE}),
    ("well-fitted", {"train_loss": 2.0 - UNDERFITTED_GAP - EDGE}),
    ("underfitting", {"train_loss": 2.3}),
    # the second half: 0.1 nats learnt of new text, and how much of the training text alone
    ("underfitting", {"history": HALF, "gap_growth": 0.1 * MOST_WASTED - 0.001}),
    ("well-fitted", {"history": HALF, "gap_growth": 0.1 * MOST_WASTED + 0.001}),
    ("still-improving", {"history": HALF, "gap_growth": 0.099, "passes": ENOUGH_PASSES - EDGE}),
    ("well-fitted", {"history": HALF, "gap_growth": 0.101, "passes": ENOUGH_PASSES - EDGE}),
    ("well-fitted", {"history": FLAT, "gap_growth": 2 * GROWTH_NOISE}),  # nothing learnt of new text
    ("underfitting", {"history": FLAT, "gap_growth": GROWTH_NOISE}),
    ("overfitting", {"history": HALF, "gap_growth": 0.101, "train_loss": 2.0 * (1 - WIDE_GAP) - EDGE}),
    ("well-fitted", {"history": HALF, "gap_growth": 0.099, "train_loss": 2.0 * (1 - WIDE_GAP) - EDGE}),
    ("well-fitted", {"history": HALF, "gap_growth": 0.101, "train_loss": 2.0 * (1 - WIDE_GAP) + EDGE}),
    ("still-improving", {"history": ((500, 3.1), (800, 3.01), (1000, 3.0)), "gap_growth": 0.0}),
    ("underfitting", {"history": ((500, 3.09), (800, 3.01), (1000, 3.0)), "gap_growth": 0.0}),
]


@pytest.mark.parametrize(("expected", "changes"), RULES, ids=lambda x: str(x)[:60])
def test_each_run_gets_its_verdict(expected, changes):
    assert kind(**changes) == expected


def test_every_verdict_has_a_number_a_threshold_and_advice():
    every = [verdict(**changes) for _, changes in RULES]
    assert {one.kind for one in every} == {expected for expected, _ in RULES}
    for one in [*every, diverged_verdict(7)]:
        assert math.isfinite(one.number)
        assert math.isfinite(one.threshold)
        assert any(char.isdigit() for char in one.says)
        assert one.advice


def test_advice_can_be_followed_unless_there_is_nothing_to_gain():
    for _, changes in RULES:
        one = verdict(**changes)
        actions = [bool(one.more_steps), bool(one.settings), bool(one.text)]
        assert sum(actions) == (0 if one.kind == "nothing-to-gain" else 1)
        assert (one.figure is None) == (one.kind == "nothing-to-gain")


def test_a_flat_end_at_an_annealed_rate_is_not_called_settled():
    half_a_pass = {"passes": 0.46, "last_step": 60, "train_loss": 2.0}
    says = verdict(**half_a_pass).says
    assert "46 % of the text" in says
    assert "reduced to 5 % of its peak, which alone makes the curve flat" in says
    assert "reduced to 20 %" in verdict(**half_a_pass, learning_rate_share=0.2).says
    assert "still at 21 % of its peak" in verdict(**half_a_pass, learning_rate_share=0.21).says
    assert "still at 100 % of its peak" in verdict(**half_a_pass, learning_rate_share=1.0).says


def test_losing_to_the_ngram_and_to_xz_is_said_with_any_verdict():
    for changes in ({}, {"history": RISING}, {"last_step": 10}, {"train_loss": 2.0}):
        assert "predict" not in verdict(**changes).says
        assert (
            "the n-gram 2.741 predicts better than the model's 2.885 bits/char"
            in verdict(ngram_loss=1.9, **changes).says
        )
        assert "xz 2.741 predicts better" in verdict(xz_loss=1.9, **changes).says
        both = verdict(ngram_loss=1.8, xz_loss=1.9, **changes).says
        assert "the n-gram 2.597 and xz 2.741 predict better" in both


def test_overfitting_names_the_best_step():
    one = verdict(history=RISING)
    assert "since step 400 of 1,000" in one.says
    assert one.number == pytest.approx(0.2)


def test_a_run_that_memorised_after_its_best_model_is_told_so():
    one = verdict(history=((500, 2.0), (1000, 7.14)), train_history=(1.9, 0.01))
    assert one.kind == "memorised"
    assert (
        "at the end of the run training text cost 0.01 nats and held-out text 7.14; the model of step 500"
        in one.says
    )


def test_a_run_that_memorised_and_blew_up_later_is_told_so():
    history = (
        (100, 2.5),
        *((step, 5.6) for step in (300, 400, 500)),
        *((step, 2.6) for step in range(600, 1600, 100)),
    )
    trained = [2.3, *[0.01] * 3, *[1.6] * 10]
    one = verdict(history=history, train_history=tuple(trained), best_step=100, val_loss=2.5, train_loss=2.3)
    assert (one.kind, one.number) == ("memorised", pytest.approx(5.59))
    assert "at step 500 training text cost 0.01 nats and held-out text 5.60" in one.says
    trained[3] = 4.0  # two of fourteen validations are fewer than a fifth
    one = verdict(history=history, train_history=tuple(trained), best_step=100, val_loss=2.5, train_loss=2.3)
    assert one.kind != "memorised"


PLAIN = ModelConfig(embedding_size=32)


@pytest.mark.parametrize(
    ("model", "best_step", "settings"),
    [
        (PLAIN, 500, {"dropout_output": 0.3}),
        (PLAIN, 333, {"dropout_output": 0.3, "dropout_input": 0.2}),
        (PLAIN, 334, {"dropout_output": 0.3}),
        (ModelConfig(embedding_size=None), 300, {"dropout_output": 0.3}),
        (ModelConfig(num_layers=2), 300, {"dropout_output": 0.3, "dropout_layer": 0.2}),
        (ModelConfig(block="residual"), 300, {"dropout_output": 0.3, "dropout_branch": 0.2}),
        (dataclasses.replace(PLAIN, dropout_output=0.4), 500, {"dropout_output": 0.7}),
        (dataclasses.replace(PLAIN, dropout_output=0.5), 300, {"dropout_input": 0.2}),
        (dataclasses.replace(PLAIN, dropout_output=0.5), 500, {}),
    ],
)
def test_dropout_is_raised_only_where_the_network_has_it(model, best_step, settings):
    history = ((best_step, 2.0), (best_step + 100, 2.1), (1000, 2.2))
    one = verdict(history=history, model=model)
    assert dict(one.settings) == settings
    dataclasses.replace(model, **settings)  # the network accepts them
    for name, rate in settings.items():
        assert f"--{name.replace('_', '-')} {rate}" in one.advice
    assert settings or one.text == "more"


def test_overfitting_on_little_text_asks_for_text():
    assert verdict(history=RISING, train_chars=LITTLE_TEXT - 1).text == "more"
    assert verdict(history=RISING, train_chars=LITTLE_TEXT).settings


def test_a_resumed_training_is_at_least_doubled_but_not_beyond_two_minutes():
    short = {"last_step": 60, "passes": 0.5}
    assert verdict(**short).more_steps == 420  # to four passes
    assert verdict(last_step=300, passes=1.9).more_steps == 340
    assert verdict(**short, train_time_s=60 * LONGER_S / 200).more_steps == 200
    assert verdict(**short, train_time_s=10 * LONGER_S).more_steps == 60


def test_a_run_without_patience_left_is_repeated_and_not_resumed():
    one = verdict(last_step=150, passes=20.0, stopped_early=True)
    assert one.more_steps == 0
    assert dict(one.settings) == {"patience": None, "steps": 400}


def test_the_repetitions_of_a_text_are_left_out_if_enough_remains():
    assert dict(verdict(overlap=1.0, repeats_from=50_000).settings) == {"take_chars": 50_000}
    assert verdict(overlap=1.0, repeats_from=80).text == "other"
    assert verdict(overlap=1.0, repeats_from=50_000, held_out_file=True).text == "other"
    assert verdict(overlap=0.5).text == "other"


def test_a_wide_network_is_made_deeper():
    assert dict(verdict(train_loss=2.0).settings) == {"hidden_size": 512}
    assert dict(verdict(train_loss=2.0, model=ModelConfig(hidden_size=800)).settings) == {"num_layers": 2}


def test_a_learning_rate_that_is_too_high_is_lowered():
    one = verdict(train_loss=3.1, val_loss=3.2, training=TrainConfig(learning_rate=0.5))
    assert dict(one.settings) == {"learning_rate": 0.05}


def test_an_unstable_training_gets_smaller_steps_or_loses_its_l2_penalty():
    unstable = {"history": RISING, "train_history": trained(3.0, 3.0, 3.0)}
    for optimiser, decay, settings in (
        ("adam", 0.05, {"weight_decay": 0.0}),
        ("sgd", 0.05, {"weight_decay": 0.0}),
        ("adam", 0.0, {"learning_rate": 0.0004}),
        ("adamw", 0.05, {"learning_rate": 0.0004}),
        ("muon", 0.05, {"learning_rate": 0.0004}),
    ):
        one = verdict(**unstable, training=TrainConfig(optimizer=optimiser, weight_decay=decay))
        assert (one.kind, dict(one.settings)) == ("unstable", settings)
        (name, value), *_ = settings.items()
        assert f"--{name.replace('_', '-')} {value:g}" in one.advice


HEALTHY = Verdict("healthy", "the signal falls to 1 % after 30 characters", 30, 6, "")
VANISHING = Verdict("vanishing", "the signal falls to 1 % after 4 characters", 4, 6, "use --cell gru")


def test_inspect_is_told_the_same_as_train_unless_it_finds_a_fault_of_the_memory():
    for _, changes in RULES:
        assert judge(facts(**changes), HEALTHY) == judge(facts(**changes))
    assert judge(facts(), VANISHING) == (VANISHING,)
    assert judge(facts(last_step=60), VANISHING) == (VANISHING,)
    (one,) = judge(facts(overlap=1.0), VANISHING)
    assert one.kind == "overlapping"
    (one,) = judge(facts(train_loss=0.1, val_loss=3.0), VANISHING)
    assert one.kind == "memorised"


def test_a_model_without_a_record_is_judged_by_its_losses_and_its_memory():
    assert judge(None) == ()
    assert judge(None, HEALTHY) == (HEALTHY,)
    assert judge(bare_facts(3.0, 2.9, PLAIN), HEALTHY) == (HEALTHY,)
    (one,) = judge(bare_facts(3.0, 0.1, PLAIN), HEALTHY)
    assert one.kind == "memorised"


def test_without_a_validation_part_there_is_no_verdict():
    assert judge(facts(val_loss=None, history=())) == ()


def test_the_facts_of_a_run_survive_its_results():
    before = facts(
        history=RISING, train_history=(2.4, 1.9, 1.8, 1.7, 1.6), overlap=0.2, repeats_from=7, model=PLAIN
    )
    after = Facts.from_json(json.loads(json.dumps(before.to_json())) | {"newer": 1}, PLAIN, TrainConfig())
    assert after == before
    unmeasured = facts(train_loss=math.inf)
    assert Facts.from_json(unmeasured.to_json(), ModelConfig(), TrainConfig()) == unmeasured


def test_a_long_history_keeps_its_best_and_its_last():
    history = [(step, 2.0 + 0.001 * abs(step - 1234), 1.0) for step in range(1, 5001)]
    kept = thinned(history)
    assert len(kept) <= KEPT_POINTS
    assert {history[0], history[1233], history[-1]} <= set(kept)
    assert thinned(history[:KEPT_POINTS]) == history[:KEPT_POINTS]
