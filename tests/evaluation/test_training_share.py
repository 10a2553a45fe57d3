"""How much of a scored text is training text, for streams, documents and bytes."""

import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.evaluation.training_share import training_share
from charloom.text import corpus_from_text, encode_for_scoring

NAMES = [f"name {number:04}" for number in range(400)]


def share_of(corpus, text):
    ids = encode_for_scoring(corpus.vocab, text, corpus.config).ids
    return training_share(ids, corpus.train, corpus.vocab)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_stream(unit, rng):
    text = "".join(rng.choice(list("abcdefé"), 3000))
    corpus = corpus_from_text(text, TextConfig(unit=unit))
    assert share_of(corpus, text[100:900]) == 1.0
    assert share_of(corpus, text) == pytest.approx(0.9, abs=0.01)
    assert share_of(corpus, text[2700:]) == 0.0
    assert share_of(corpus, text[:100] + text[2700:2800]) == pytest.approx(0.5, abs=0.03)
    assert share_of(corpus, text[:20]) == 0.0  # too short to say


@pytest.mark.parametrize("split", ["contiguous", "random"])
def test_documents_count_as_a_whole(split):
    corpus = corpus_from_text("\n".join(NAMES), TextConfig(documents="line", split=split))
    assert share_of(corpus, "\n".join(NAMES)) == pytest.approx(0.9, abs=0.01)
    held_out = corpus.vocab.decode(corpus.validation).strip()
    assert share_of(corpus, held_out) == 0.0
    assert share_of(corpus, "\n".join(NAMES[:2])[:-1]) < 1.0


def test_a_long_text_is_measured_at_its_start(monkeypatch, rng):
    monkeypatch.setattr("charloom.evaluation.training_share._MOST_CHARS", 101)
    text = "".join(rng.choice(list("abcdé"), 3000))
    corpus = corpus_from_text(text, TextConfig(unit="byte"))
    assert share_of(corpus, text[:100] + text[::-1]) > 0.9
    assert np.isfinite(share_of(corpus, "é" * 200))
