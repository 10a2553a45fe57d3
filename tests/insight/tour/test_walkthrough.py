"""The tour against plain computations: counts, ids, and the prediction of a plain forward pass."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.insight.tour.walkthrough import CONTEXT, FIRST_IDS, take_tour
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary, corpus_from_text

from .small import CLOSE, CORPUS, NETWORK, TEXT, TRAINING, softmax


@pytest.fixture(scope="module")
def corpus():
    return CORPUS


def tour_of(corpus, training=TRAINING, network=NETWORK, **more):
    return take_tour(corpus, corpus.vocab, network, training, **more)


def test_the_corpus_statistics_match_plain_counting(corpus):
    facts = tour_of(corpus).corpus
    assert (facts.num_chars, facts.num_distinct) == (len(TEXT), len(set(TEXT)))
    counts = Counter(TEXT)
    assert {one.char: one.count for one in facts.most_frequent} == {
        one.char: counts[one.char] for one in facts.most_frequent
    }
    assert [one.count for one in facts.most_frequent] == sorted(counts.values(), reverse=True)[:12]
    assert [one.share for one in facts.most_frequent] == [
        one.count / len(TEXT) for one in facts.most_frequent
    ]
    cut = len(corpus.train)
    assert facts.split == {"train": cut, "validation": len(TEXT) - cut}


def test_the_first_ids_are_positions_in_the_sorted_alphabet(corpus):
    alphabet = sorted(set(TEXT))
    assert tour_of(corpus).first_text == TEXT[:FIRST_IDS]
    assert tour_of(corpus).first_ids == tuple((char, alphabet.index(char)) for char in TEXT[:FIRST_IDS])


def test_a_short_text_reduces_the_batch_with_a_note():
    tour = tour_of(corpus_from_text("abcabca", TextConfig(val_fraction=0)))
    assert (tour.batch.batch_size, tour.batch.bptt_length) == (1, 6)
    assert len(tour.batch.notes) == 2
    assert tour.stages[0].shape == (1, 6)
    assert tour.prediction.part == "train"
    assert (tour.prediction.context, tour.prediction.actual) == (tuple("abcabc"), "a")


def test_one_character_is_an_error():
    with pytest.raises(DataError, match="has 1 character"):
        tour_of(corpus_from_text("a", TextConfig(val_fraction=0)))


def test_logits_have_no_time_axis_if_only_the_last_step_is_predicted(corpus):
    tour = tour_of(corpus, replace(TRAINING, batching="sliding", objective="last"))
    assert tour.stages[-1].axes == ("B", "V")
    assert tour.stages[-1].shape == (5, len(corpus.vocab))
    assert tour.batch.objective == "last"


def logits_by_hand(corpus, parameters, length, network=NETWORK):
    """The logits after the first held-out characters, read one at a time."""
    model = load_engine("scratch").model(parameters, network, precision="float64")
    state = model.initial_state(1)
    for char_id in corpus.validation[:length]:
        if char_id == corpus.vocab.boundary_id:
            state = model.initial_state(1)
        logits, state = model.step(np.array([int(char_id)]), state)
    return logits[0].tolist()


@pytest.mark.parametrize("trained", [False, True])
def test_the_prediction_matches_a_plain_forward_pass(corpus, trained):
    seed = 11 if trained else TRAINING.seed
    parameters = initial_parameters(NETWORK, len(corpus.vocab), seed)
    tour = tour_of(corpus, parameters=parameters if trained else None)
    one = tour.prediction
    assert tour.trained == trained
    probs = softmax(logits_by_hand(corpus, parameters, CONTEXT))
    held_out = TEXT[len(corpus.train) :]
    assert (one.part, "".join(one.context), one.actual) == (
        "validation",
        held_out[:CONTEXT],
        held_out[CONTEXT],
    )
    assert one.loss_nats == pytest.approx(-math.log(probs[int(corpus.validation[CONTEXT])]), rel=CLOSE)
    assert one.uniform_nats == math.log(len(corpus.vocab))
    found = {each.char_id: each.probability for each in one.distributions[1].chars}
    assert [found[i] for i in range(len(probs))] == pytest.approx(probs, rel=CLOSE)


def test_documents_reset_the_state():
    corpus = corpus_from_text("anna\nemma\nlea\n" * 90, TextConfig(documents="line"))
    tour = tour_of(corpus)
    assert tour.corpus.specials == ("<boundary>",)
    assert tour.first_ids[0] == ("<boundary>", corpus.vocab.boundary_id)
    assert "<boundary>" in tour.prediction.context[1:]
    parameters = initial_parameters(NETWORK, len(corpus.vocab), TRAINING.seed)
    probs = softmax(logits_by_hand(corpus, parameters, CONTEXT))
    assert tour.prediction.loss_nats == pytest.approx(
        -math.log(probs[int(corpus.validation[CONTEXT])]), rel=CLOSE
    )


def test_without_a_corpus_the_prompt_is_read():
    vocab = Vocabulary.from_text("abc\n")
    parameters = initial_parameters(NETWORK, len(vocab), 5)
    tour = take_tour(None, vocab, NETWORK, TRAINING, parameters=parameters, prompt=vocab.encode("cab"))
    assert (tour.corpus, tour.batch) == (None, None)
    assert tour.first_ids == (("c", 3), ("a", 1), ("b", 2))
    assert (tour.prediction.part, tour.prediction.actual, tour.prediction.loss_nats) == ("prompt", None, None)
    assert tour.stages[0].shape == (5, 8)
    assert take_tour(None, vocab, NETWORK, TRAINING, parameters=parameters).prediction.context == ("\n",)


def test_bytes_are_shown_as_text_if_they_decode():
    corpus = corpus_from_text("été à côté\n" * 60, TextConfig(unit="byte"))
    tour = tour_of(corpus)
    assert tour.first_text.startswith("été à côté\nété")
    assert tour.first_ids[:3] == (("\\xc3", 0xC3), ("\\xa9", 0xA9), ("t", ord("t")))
    assert "é" in tour.prediction.context_text
    assert (tour.corpus.unit, tour.corpus.num_distinct) == ("byte", 256)
