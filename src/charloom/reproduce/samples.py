"""Samples of a repetition, corrected and as published, and how much of each is copied.

System A's models are kept by epoch: the one with the lowest loss here, and those of the epochs in which the
published program had its lowest loss and in which it stopped and sampled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charloom.config import SampleConfig, from_dict
from charloom.engines import Learner
from charloom.evaluation.memorisation import longest_copy
from charloom.generation import encode_prompt, sample
from charloom.reproduce.published_sampling import MISTAKES, sample_as_published
from charloom.reproduce.systems import System
from charloom.reproduce.train import TrainedSystem


def keep_models(done: TrainedSystem, learner: Learner) -> None:
    """After an epoch, keep its model if it will be sampled from, and drop the previous best."""
    if len(done.losses) % done.steps_per_epoch:
        return
    means = dict(done.epoch_means())
    best = int(min(means, key=lambda epoch: means[epoch]))
    done.kept[int(max(means))] = learner.model()
    wanted = {best, *published_epochs(done.system)}
    done.kept = {epoch: model for epoch, model in done.kept.items() if epoch in wanted}


def published_epochs(system: System) -> tuple[int, int]:
    """The epochs at which the published curve is lowest and at which it ends."""
    epochs = dict(system.curve)
    return int(min(epochs, key=lambda epoch: epochs[epoch])), int(max(epochs))


def samples(done: TrainedSystem, mistakes: Mapping[str, str]) -> dict[str, str]:
    """Sample every kept model with the published settings, corrected; then the last one as published."""
    settings = {key: value for key, value in done.sample.items() if key != "prompt"}
    config = from_dict(SampleConfig, settings, source=done.system.name)
    last = done.file(done.trained)
    prompt, _ = encode_prompt(done.sample.get("prompt", ""), last.vocab, "skip", last.text_config)
    opening = last.vocab.decode(prompt)
    models = {f"mended, the model of epoch {epoch}": model for epoch, model in sorted(done.kept.items())}
    written = {}
    for how, model in (models or {"mended": done.trained}).items():
        (text,) = sample(model, last.vocab, [prompt], config, seed=0)
        written[how] = opening + text.text
    if made := frozenset(mistakes) & (MISTAKES | {"keep_last"}):
        opening = opening or last.vocab.decode(np.array([0]))
        written["as published"] = opening + sample_as_published(last, made, opening, config, seed=0)
    return written


def copies(done: TrainedSystem, written: Mapping[str, str]) -> dict[str, float]:
    """The length of the longest part of each sample that is in the training text verbatim, in characters."""
    text = done.corpus.vocab.decode(done.corpus.train)
    return {
        f"longest copy in the sample, {how}, characters": float(longest_copy(words, text).length)
        for how, words in written.items()
    }
