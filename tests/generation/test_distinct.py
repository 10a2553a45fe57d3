"""Distinct samples: the first that are accepted, in the order of their numbers, from a bounded number."""

import pytest

from charloom.config import SampleConfig
from charloom.generation import DistinctSamples, Piece, generate
from charloom.generation.distinct import FEWEST_TRIES, TRIES_PER_SAMPLE
from charloom.text.vocabulary import Vocabulary

from .fakes import HashModel

VOCAB = Vocabulary.from_text("abc")
LENGTH = 3


def samples_of(count, *, unique=True, is_known=None, batch=64, length=LENGTH):
    drawn = []

    def draw(first, number):
        drawn.extend(range(first, first + number))
        config = SampleConfig(length=length, count=number, batch=batch)
        return generate(HashModel(VOCAB), VOCAB, [[0]], config, seed=5, first_sample=first)

    return DistinctSamples(draw, count, unique=unique, is_known=is_known), drawn


def all_texts(count, length=LENGTH):
    config = SampleConfig(length=length, count=count)
    events = generate(HashModel(VOCAB), VOCAB, [[0]], config, seed=5)
    return [e.text for e in sorted((e for e in events if not isinstance(e, Piece)), key=lambda e: e.index)]


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_unique_samples_are_the_first_of_each_text(batch):
    samples, _ = samples_of(12, batch=batch)
    found = [sample.text for sample in samples]
    assert found == list(dict.fromkeys(all_texts(400)))[:12]
    assert samples.shortfall is None


def test_known_samples_are_left_out():
    samples, _ = samples_of(10, unique=False, is_known=lambda sample: "a" in sample.text)
    found = list(samples)
    assert [one.text for one in found] == [text for text in all_texts(400) if "a" not in text][:10]
    assert [one.index for one in found] == sorted(one.index for one in found)


def test_the_number_of_tries_is_bounded_and_the_shortfall_is_explained():
    samples, drawn = samples_of(5, length=1)
    num = len(set(all_texts(100, length=1)))
    assert len(list(samples)) == num < 5
    assert drawn == list(range(max(FEWEST_TRIES, 5 * TRIES_PER_SAMPLE)))
    assert samples.shortfall.startswith(f"{num} of 5 samples: 100 were drawn, {100 - num} were equal")
    samples, _ = samples_of(7, unique=True, is_known=lambda _: True)
    assert list(samples) == []
    repeated = 140 - len(set(all_texts(140)))
    assert (
        f"140 were drawn, {repeated} were equal to another and {140 - repeated} stand in the training text"
        in samples.shortfall
    )


def test_an_interrupt_keeps_what_was_finished_and_accepted():
    samples, _ = samples_of(12)
    first = [next(samples), next(samples)]
    more = samples.interrupt()
    assert [one.text for one in [*first, *more]] == list(dict.fromkeys(all_texts(12)))[:2] + [
        one.text for one in more
    ]
    assert all(one.finish_reason == "length" for one in more)
