"""Overlap of held-out and training text: against a search character by character, and at the edges."""

import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.evaluation import overlap as module
from charloom.evaluation.overlap import COPIED_CHARS, COPIED_DOCUMENT_CHARS, Overlap, copied_share, overlap
from charloom.text import corpus_from_text, encode_for_scoring

BOUNDARY = 99


def searched(train, held_out):
    """The same share, by looking for every passage in the training text."""
    whole, copied = bytes(train.tolist()), np.zeros(len(held_out), bool)
    for start in range(len(held_out) - COPIED_CHARS + 1):
        passage = held_out[start : start + COPIED_CHARS]
        if bytes(passage.tolist()) in whole:
            copied[start : start + COPIED_CHARS] = True
    return copied.mean()


@pytest.mark.parametrize("symbols", [2, 26])
def test_the_share_equals_that_of_a_search(symbols, rng):
    train = rng.integers(0, symbols, 2_000)
    held_out = rng.integers(0, symbols, 600)
    held_out[40:111] = train[300:371]
    held_out[200:249] = train[5:54]  # one character too short
    held_out[400:450] = train[-50:]
    assert overlap(train, held_out).share == pytest.approx(searched(train, held_out))
    assert overlap(train, held_out).share >= 121 / 600


def test_texts_that_share_nothing_do_not_overlap(rng):
    assert overlap(rng.integers(0, 26, 3_000), rng.integers(0, 26, 500)) == Overlap(0.0, None)


@pytest.mark.parametrize("length", [0, 1, COPIED_CHARS - 1])
def test_a_text_shorter_than_a_passage_has_no_copies(length, rng):
    train = rng.integers(0, 26, 500)
    assert overlap(train, train[:length]) == Overlap(0.0, None)
    assert overlap(train[:length], train).share == 0.0


def test_a_doubled_text_repeats_itself_from_about_its_middle(rng):
    whole = np.tile(rng.integers(0, 26, 5_000), 2)
    found = overlap(whole[:9_000], whole[9_000:])
    assert found.share == 1.0
    assert 4_700 <= found.repeats_from <= 5_000
    kept = whole[: found.repeats_from]
    edge = len(kept) * 9 // 10
    assert overlap(kept[:edge], kept[edge:]).share == 0.0  # what is left has no copies


def test_a_copy_of_a_passage_is_no_repetition_of_the_whole(rng):
    whole = rng.integers(0, 26, 4_000)
    whole[3_600:3_900] = whole[100:400]
    found = overlap(whole[:3_600], whole[3_600:])
    assert found == Overlap(0.75, None)


def documents(*texts):
    return np.concatenate([[BOUNDARY, *text] for text in texts])


def test_whole_documents_count_from_a_length_that_is_no_coincidence(rng):
    long, short = rng.integers(0, 26, COPIED_DOCUMENT_CHARS), rng.integers(0, 26, COPIED_DOCUMENT_CHARS - 1)
    other = rng.integers(0, 26, 30)
    train, held_out = documents(other, long, short, other), documents(short, long, rng.integers(0, 26, 30))
    share = overlap(train, held_out, boundary_id=BOUNDARY).share
    assert share == (len(long) + 1) / len(held_out)
    assert overlap(train, held_out).share == 0.0


def test_unsigned_ids_of_a_memory_map_are_read(rng):
    ids = rng.integers(0, 26, 1_000).astype(np.uint8)
    assert overlap(ids, ids[200:400]).share == 1.0


NAMES = [f"name {number:04}" for number in range(400)]


def share_of(corpus, text):
    ids = encode_for_scoring(corpus.vocab, text, corpus.config).ids
    return copied_share(corpus.train, ids, boundary_id=corpus.vocab.boundary_id, whole_documents=True)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_scored_stream_is_compared_with_the_training_text(unit, rng):
    text = "".join(rng.choice(list("abcdefé"), 3000))
    corpus = corpus_from_text(text, TextConfig(unit=unit))
    assert share_of(corpus, text[100:900]) == 1.0
    assert share_of(corpus, text) == pytest.approx(0.9, abs=0.01)
    assert share_of(corpus, text[2700:]) == 0.0
    assert share_of(corpus, text[:100] + text[2700:2800]) == pytest.approx(0.5, abs=0.03)
    assert share_of(corpus, text[:20]) == 0.0  # too short to say


@pytest.mark.parametrize("split", ["contiguous", "random"])
def test_scored_documents_count_as_a_whole(split):
    corpus = corpus_from_text("\n".join(NAMES), TextConfig(documents="line", split=split))
    assert share_of(corpus, "\n".join(NAMES)) == pytest.approx(0.9, abs=0.01)
    held_out = corpus.vocab.decode(corpus.validation).strip()
    assert share_of(corpus, held_out) == 0.0
    assert share_of(corpus, "\n".join(NAMES[:2])[:-1]) < 1.0


def test_a_long_training_text_is_read_in_pieces(rng, monkeypatch):
    train = rng.integers(0, 26, 1_000)
    monkeypatch.setattr(module, "_PIECE_CHARS", 120)
    for start in range(0, 900, 37):
        assert copied_share(train, train[start : start + COPIED_CHARS]) == 1.0
