"""Samples: the models kept by epoch, one text each, and its longest copy."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from charloom.config import TrainConfig
from charloom.reproduce import systems
from charloom.reproduce.samples import copies, keep_models, published_epochs, samples
from charloom.reproduce.train import TrainedSystem, train_system
from charloom.text import corpus_from_text

CORPUS = corpus_from_text("abcd" * 50)


def test_the_published_program_was_best_at_92_and_sampled_after_100():
    assert published_epochs(systems()["arabic-rnn-small"]) == (92, 100)
    assert published_epochs(systems()["arabic-rnn"]) == (20, 20)


def kept_after(means):
    """A training and its learner after epochs of two steps with these means; the model of an epoch is its number."""
    system = replace(systems()["arabic-rnn-small"], curve=((3.0, 1.0), (4.0, 2.0), (6.0, 3.0)))
    done = TrainedSystem(system, CORPUS, None, TrainConfig(), {}, steps_per_epoch=2)
    learner = SimpleNamespace(model=lambda: len(done.losses) / 2)
    for mean in means:
        done.losses = np.append(done.losses, [mean, mean])
        keep_models(done, learner)
    return done, learner


@pytest.mark.parametrize(
    ("means", "epochs"),
    [
        ([5.0, 4.0], {2}),
        ([5.0, 4.0, 4.5], {2, 3}),
        ([5.0, 4.0, 4.5, 3.0, 6.0], {3, 4}),
        ([5.0, 4.0, 4.5, 3.0, 6.0, 7.0], {3, 4, 6}),
    ],
)
def test_the_best_epoch_and_the_published_ones_are_kept(means, epochs):
    done, _ = kept_after(means)
    assert done.kept == {epoch: epoch for epoch in epochs}


def test_nothing_is_kept_in_the_middle_of_an_epoch():
    done, learner = kept_after([5.0, 4.0, 4.5])
    done.losses = np.append(done.losses, 0.0)
    keep_models(done, learner)
    assert done.kept == {2: 2.0, 3: 3.0}


def test_every_kept_model_is_sampled(short_text):
    early, late = (train_system(systems()["moliere-elman"], num_steps=n) for n in (20, 400))
    (plain,) = samples(late, {}).values()
    late.kept = {9: late.trained, 7: early.trained}
    written = samples(late, {})
    assert list(written) == ["mended, the model of epoch 7", "mended, the model of epoch 9"]
    assert written["mended, the model of epoch 9"] == plain
    assert written["mended, the model of epoch 7"] == samples(early, {})["mended"] != plain


def test_the_longest_copy_from_the_training_text_is_found_in_each_sample():
    done = TrainedSystem(systems()["moliere-elman"], CORPUS, None, TrainConfig(), {})
    found = copies(done, {"one": "xxabcdaxx", "other": "xcdx"})
    assert found == {
        "longest copy in the sample, one, characters": 5.0,
        "longest copy in the sample, other, characters": 2.0,
    }
