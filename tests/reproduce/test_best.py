"""The contest: the same text for both sides, folds that hold out each character once, and the figures."""

import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.reproduce import best, contest, contest_json
from charloom.text import corpus_from_text


def corpus_of(length):
    return corpus_from_text(
        "".join(chr(97 + i * 7 % 26) for i in range(length)), TextConfig(val_fraction=0.0)
    )


def test_each_tenth_of_a_short_text_is_held_out_once():
    corpus = corpus_of(1003)
    whole = np.asarray(corpus.train)
    folds = list(best._folds(corpus))
    assert len(folds) == 10
    np.testing.assert_array_equal(np.concatenate([fold.validation for fold in folds]), whole)
    for fold in folds:
        assert len(fold.train) + len(fold.validation) == len(whole)
        assert sorted(np.concatenate([fold.train, fold.validation])) == sorted(whole)


def test_the_last_tenth_of_a_long_text_is_held_out():
    corpus = corpus_of(best.FOLDED_UP_TO + 2)
    (fold,) = best._folds(corpus)
    whole = np.asarray(corpus.train)
    np.testing.assert_array_equal(np.concatenate([fold.train, fold.validation]), whole)
    assert len(fold.validation) == pytest.approx(len(whole) / 10, abs=1)


def test_the_interval_uses_students_t():
    bits = np.arange(10.0)
    assert best.interval(bits) == pytest.approx(2.262 * bits.std(ddof=1) / np.sqrt(10))
    assert np.isnan(best.interval(np.array([2.0])))


def test_charloom_never_sees_the_text_it_is_scored_on(short_text, elman, monkeypatch):
    seen = []

    def spying(corpus, *rest, **more):
        seen.append((corpus.validation, rest[1].patience))
        return training(corpus, *rest, **more)

    training = best.train
    monkeypatch.setattr(best, "train", spying)
    monkeypatch.setattr(best, "FOLDED_UP_TO", 10)
    contest(elman)
    assert seen == [(None, None)]


def test_both_sides_are_scored_on_the_same_characters(short_text, elman, monkeypatch):
    monkeypatch.setattr(best, "FOLDED_UP_TO", 10)
    said = []
    result = contest(elman, say=said.append)
    row = contest_json(result)
    assert row["folds"] == 1
    assert row["gain"] == pytest.approx(1 - row["charloom_bits_per_char"] / row["published_bits_per_char"])
    assert 0 < row["ngram_bits_per_char"] < 8
    assert row["beats_ngram"] == (row["charloom_bits_per_char"] < row["ngram_bits_per_char"])
    assert row["budget_s"] == 1.0
    assert len(said) == 2
