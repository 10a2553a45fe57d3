"""The arithmetic of a forecast: from a budget and a speed to updates, and from facts to an interval."""

import math

import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.forecast.calibration import Speed, measure_speed
from charloom.forecast.forecast import FIXED_S, SHARE, forecast, planned_steps
from charloom.forecast.loss_law import (
    KindLaw,
    LossLaw,
    fitted_law,
    network_kind,
    predictors,
)
from charloom.forecast.text_facts import TextFacts, measure_text
from charloom.recipes import find_recipe, resolve
from charloom.recipes.defaults import default_rows
from charloom.text import corpus_from_text
from charloom.training.verdict import COPIED
from tests.training.small import bigram_source, bigram_text

SPEED = Speed(chars_per_s=10_000.0, step_s=0.1, steps=60, threads=1, device="cpu", steps_per_epoch=50)
FACTS = TextFacts(900_000, 65, 10_000, (4.5, 3.5, 2.8, 2.4, 2.2))


def law_of(**coefficients):
    kind = KindLaw(coefficients, 0.05, (1e5, 1e7), (1e3, 1e7))
    return LossLaw({"flash": kind}, {})


def test_a_budget_in_minutes_gives_the_updates_that_fit_beside_start_and_report():
    steps = planned_steps(TrainConfig(minutes=1.0), SPEED)
    assert steps == int((60 - FIXED_S) * (1 - SHARE) / 0.1)


def test_the_most_passes_bound_the_updates():
    assert planned_steps(TrainConfig(minutes=10.0, max_epochs=8), SPEED) == 400


def test_a_budget_in_steps_or_passes_needs_no_speed():
    assert planned_steps(TrainConfig(steps=123), SPEED) == 123
    assert planned_steps(TrainConfig(epochs=2.5), SPEED) == 125


def test_a_budget_shorter_than_the_start_still_takes_one_update():
    assert planned_steps(TrainConfig(minutes=0.01), SPEED) == 1


def test_the_estimate_is_the_n_gram_times_the_law():
    law = law_of(one=-0.1, read=-0.02)
    found = law.estimate("flash", FACTS, 2e6)
    assert found.bits_per_char == pytest.approx(2.2 * math.exp(-0.1 - 0.02 * math.log(2)))
    assert not found.is_extrapolated
    assert math.log(found.high / found.bits_per_char) == pytest.approx(
        math.hypot(0.05, 1.2816 * 0.02 * 0.3), rel=1e-6
    )
    assert found.low * found.high == pytest.approx(found.bits_per_char**2)


def test_beyond_what_was_measured_the_interval_is_doubled():
    law = law_of(one=0.0)
    inside, outside = law.estimate("flash", FACTS, 1e6), law.estimate("flash", FACTS, 1e9)
    assert outside.is_extrapolated
    assert math.log(outside.high / outside.low) == pytest.approx(2 * math.log(inside.high / inside.low))


def test_the_predictors_are_logarithms_of_the_facts():
    x = predictors(FACTS, 1e6 * math.e**2)
    assert x["read"] == pytest.approx(2)
    assert x["gain·read"] == pytest.approx(2 * math.log(4.5 / 2.2))
    assert x["gain"] == pytest.approx(math.log(4.5 / 2.2))
    assert x["gain·text"] == pytest.approx(math.log(0.9) * math.log(4.5 / 2.2))
    assert x["text"] == pytest.approx(math.log(0.9))


def test_every_network_of_the_default_table_for_a_cpu_has_a_law():
    for row in default_rows():
        if row.device == "cpu" and "torch" in row.engines:
            own = resolve(
                None, {"minutes": max(1.0, row.from_minutes)}, num_chars=min(row.up_to_chars, 10**9)
            )
            assert network_kind(own.model_config) in fitted_law().kinds
    for name in ("flash", "best", "record"):
        assert network_kind(resolve(find_recipe(name), {}, num_chars=10**6).model_config) == name
    assert network_kind(ModelConfig(cell="gru", hidden_size=256)) is None


def test_the_facts_of_a_text_are_those_of_its_held_out_part():
    corpus = corpus_from_text("abracadabra, alakazam! " * 400)
    facts = measure_text(corpus)
    assert facts.train_chars == len(corpus.train)
    assert facts.vocab_size == len(corpus.vocab)
    assert facts.best_bits < 0.1 < facts.ngram_bits[0]
    assert facts.ngram_bits[facts.best_order - 1] == facts.best_bits
    assert measure_text(corpus, held_out_chars=50).held_out_chars == 50


def test_the_speed_is_measured_in_updates_of_the_text(monkeypatch):
    ticks = iter(range(10_000))
    corpus = corpus_from_text("abracadabra, alakazam! " * 100)
    config = TrainConfig(batch_size=2, bptt_length=8, threads=1, engine="scratch", steps=1)
    shares = []
    speed = measure_speed(
        corpus,
        ModelConfig(cell="elman", hidden_size=4),
        config,
        clock=lambda: 0.5 * next(ticks),
        note_share=shares.append,
    )
    assert speed.steps >= 1
    assert speed.chars_per_s == pytest.approx(16 * speed.steps / (speed.step_s * speed.steps))
    assert speed.steps_per_epoch == pytest.approx(len(corpus.train) / 16, abs=2)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1


def test_without_held_out_text_there_is_no_loss():
    from charloom.config import TextConfig

    corpus = corpus_from_text("abracadabra, alakazam! " * 100, TextConfig(val_fraction=0.0))
    own = resolve(None, {"minutes": 1.0}, num_chars=len(corpus.train))
    found = forecast(corpus, own, law=law_of(one=0.0), measure=lambda *_a, **_k: SPEED)
    assert found.estimate is None
    assert "nothing is held out" in found.no_estimate
    assert found.joules is None


def test_energy_is_power_times_the_time_of_the_command():
    import dataclasses

    corpus = corpus_from_text(bigram_text(bigram_source(), 9_000))
    own = resolve(find_recipe("flash"), {"steps": 100}, num_chars=len(corpus.train))
    speed = dataclasses.replace(SPEED, watts=20.0)
    found = forecast(corpus, own, law=law_of(one=0.0), measure=lambda *_a, **_k: speed)
    assert found.steps == 100
    assert found.joules == pytest.approx(20.0 * found.wall_s)
    assert found.wall_s == pytest.approx(FIXED_S + 10.0 / (1 - SHARE))
    assert found.estimate.bits_per_char == pytest.approx(found.facts.best_bits)


def test_the_memory_is_that_of_the_training_with_program_and_corpus():
    from charloom.forecast.forecast import PROGRAM_BYTES, memory_parts
    from charloom.training.memory_need import need_of

    corpus = corpus_from_text("abracadabra, alakazam! " * 400)
    model, config = ModelConfig(hidden_size=16), TrainConfig(batch_size=4)
    parts = memory_parts(corpus, model, config, 2)
    assert parts["corpus"] == corpus.train.nbytes + corpus.validation.nbytes
    assert parts["program"] == PROGRAM_BYTES["torch"]
    own = need_of(corpus, model, config, 2)
    assert sum(parts.values()) == own.total + parts["corpus"] + parts["program"]


@pytest.mark.parametrize(("copied", "forecasts"), [(COPIED - 0.001, True), (COPIED, False)])
def test_held_out_text_that_is_copied_has_no_forecast(copied, forecasts, monkeypatch):
    monkeypatch.setattr("charloom.forecast.text_facts.copied_share", lambda *_a, **_k: copied)
    corpus = corpus_from_text(bigram_text(bigram_source(), 9_000))
    own = resolve(find_recipe("flash"), {"steps": 100}, num_chars=len(corpus.train))
    found = forecast(corpus, own, law=law_of(one=0.0), measure=lambda *_a, **_k: SPEED)
    assert (found.estimate is not None) == forecasts
    if not forecasts:
        assert "15 % of the held-out characters are in passages that occur word for word" in found.no_estimate
        assert "--val FILE" in found.no_estimate


def test_copies_are_those_of_the_verdict():
    text = bigram_text(bigram_source(), 9_000)
    assert measure_text(corpus_from_text(text)).copied == 0.0
    assert measure_text(corpus_from_text(text + text)).copied == pytest.approx(1.0)
