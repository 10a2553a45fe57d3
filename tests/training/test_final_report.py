"""The final report compares the model with the baselines on the same text."""

import math

import numpy as np
import pytest

from charloom.evaluation import ngram_baseline, xz_bits_per_char
from charloom.training import baselines

from .small import kinds, run_all, settings, small_corpus


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
    assert ("worse-than-ngram" in [v.kind for v in finished.verdicts]) == worse
    assert "too-little-text" in [v.kind for v in finished.verdicts]
    assert [v["kind"] for v in results["verdicts"]] == [v.kind for v in finished.verdicts]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_held_out_part_of_a_few_characters_does_not_crash(length, tmp_path):
    corpus = small_corpus()
    parts = {name: getattr(corpus, name) for name in corpus.__dataclass_fields__}
    short = type(corpus)(**{**parts, "validation": np.array(corpus.validation[:length])})
    _, events = run_all(short, settings(steps=4), tmp_path / "run")
    assert kinds(events, "Finished")[0].val_chars == max(0, length - 1)
