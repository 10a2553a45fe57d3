"""The final report compares the model with the baselines on the same text."""

import dataclasses
import math

import numpy as np
import pytest

from charloom.evaluation import ngram_baseline, xz_bits_per_char
from charloom.text import corpus_from_text
from charloom.training import Facts, baselines, facts, judge
from charloom.training.facts import text_facts

from .small import MODEL, bigram_source, bigram_text, kinds, run_all, settings, small_corpus


def test_the_baselines_are_primed_with_the_training_part_and_scored_on_the_validation_part():
    corpus = small_corpus()
    found = baselines.measure_baselines(corpus)
    expected = ngram_baseline(corpus.train, corpus.validation, len(corpus.vocab))
    assert (found.ngram_bits_per_char, found.ngram_order) == (expected.bits_per_char, expected.order)
    decode = corpus.vocab.decode
    assert found.xz_bits_per_char == xz_bits_per_char(decode(corpus.train), decode(corpus.validation))


def test_a_long_text_primes_the_baselines_with_its_end(monkeypatch):
    corpus = small_corpus()
    monkeypatch.setattr(baselines, "MOST_TRAIN_CHARS", 400)
    found = baselines.measure_baselines(corpus, corpus.validation[:60])
    expected = ngram_baseline(corpus.train[-400:], corpus.validation[:60], len(corpus.vocab))
    assert found.ngram_bits_per_char == expected.bits_per_char


def test_without_a_validation_part_there_are_no_baselines():
    assert baselines.measure_baselines(small_corpus(val_fraction=0.0)) == (None, None, None, 0)


def test_the_results_baselines_and_verdicts_of_a_run_agree(tmp_path):
    corpus = small_corpus()
    run, events = run_all(corpus, settings(), tmp_path / "run")
    finished = kinds(events, "Finished")[0]
    expected = baselines.measure_baselines(corpus)
    assert finished.ngram_bits_per_char == expected.ngram_bits_per_char
    results = run.config()["results"]
    assert results["ngram_order"] == expected.ngram_order
    assert results["xz_bits_per_char"] == expected.xz_bits_per_char
    assert results["baseline_train_chars"] == len(corpus.train)
    worse = finished.val_loss_nats / math.log(2) > expected.ngram_bits_per_char
    (verdict,) = finished.verdicts
    assert ("the n-gram" in verdict.says) == worse
    assert results["verdicts"] == [dataclasses.asdict(verdict)]


def test_the_facts_of_a_run_are_measured_and_kept(tmp_path):
    corpus, config = small_corpus(), settings(schedule="cosine")
    run, events = run_all(corpus, config, tmp_path / "run")
    results, (started,) = run.config()["results"], kinds(events, "Started")
    kept = Facts.from_json(results["facts"], MODEL, config)
    validations = kinds(events, "Validation")
    assert kept.history == tuple((one.step, one.loss) for one in validations)
    assert kept.train_history == pytest.approx([one.train_loss for one in validations])
    assert kept.last_train_loss == kept.train_history[-1]
    assert kept.passes == 24 / started.steps_per_epoch
    assert kept.learning_rate_share == pytest.approx(0.05, abs=0.01)  # cosine has reached its floor
    assert kept.uniform_loss == math.log(len(corpus.vocab))
    counts = np.bincount(corpus.train, minlength=len(corpus.vocab)) + 1
    assert kept.order0_loss == pytest.approx(-np.log(counts / counts.sum())[corpus.validation].mean())
    assert kept.ngram_loss == pytest.approx(results["ngram_bits_per_char"] * math.log(2))
    assert kept.xz_loss == pytest.approx(results["xz_bits_per_char"] * math.log(2))
    assert (kept.val_loss, kept.standard_error) == (
        results["val_loss_nats"],
        results["val_standard_error_nats"],
    )
    assert 0 < kept.standard_error < 0.2
    assert kept.overlap == 0.0
    assert judge(kept) == kinds(events, "Finished")[0].verdicts


def test_a_held_out_part_that_occurs_in_the_training_part_is_noticed(tmp_path):
    corpus = small_corpus()
    copied = dataclasses.replace(corpus, validation=np.array(corpus.train[100:250]))
    _, events = run_all(copied, settings(steps=4), tmp_path / "run")
    (verdict,) = kinds(events, "Finished")[0].verdicts
    assert (verdict.kind, verdict.number) == ("overlapping", 1.0)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_held_out_part_of_a_few_characters_does_not_crash(length, tmp_path):
    corpus = small_corpus()
    parts = {name: getattr(corpus, name) for name in corpus.__dataclass_fields__}
    short = type(corpus)(**{**parts, "validation": np.array(corpus.validation[:length])})
    _, events = run_all(short, settings(steps=4), tmp_path / "run")
    assert kinds(events, "Finished")[0].val_chars == max(0, length - 1)


def test_a_text_given_twice_is_told_where_it_repeats_itself(monkeypatch):
    text = bigram_text(bigram_source(), 3_000)
    assert 2_900 < text_facts(corpus_from_text(2 * text))["repeats_from"] <= 3_000
    monkeypatch.setattr(
        facts, "OVERLAP_TRAIN_CHARS", 7_000
    )  # of the end: where it begins to repeat is not known
    assert text_facts(corpus_from_text(4 * text))["repeats_from"] is None
