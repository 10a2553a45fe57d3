"""What a repetition writes: by the published generation settings, mended and as published, and how much of it is copied.

System A's models are kept by epoch: the one with its lowest loss here, and those of the epochs where the published program had
its lowest loss and where it stopped and sampled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charloom.config import SampleConfig, from_dict
from charloom.engines import Learner
from charloom.evaluation.copies import longest_copy
from charloom.generation import encode_prompt, sample
from charloom.reproduce.rehearse import Rehearsal
from charloom.reproduce.systems import System
from charloom.reproduce.writing import MISTAKES, write_as_published


def keep_models(done: Rehearsal, learner: Learner) -> None:
    """After an epoch, keep its model if it is one to sample from; drop the one that was the best before."""
    if len(done.losses) % done.steps_per_epoch:
        return
    means = dict(done.epoch_means())
    best = int(min(means, key=lambda epoch: means[epoch]))
    done.kept[int(max(means))] = learner.model()
    wanted = {best, *published_epochs(done.system)}
    done.kept = {epoch: model for epoch, model in done.kept.items() if epoch in wanted}


def published_epochs(system: System) -> tuple[int, int]:
    """Where the published curve is lowest, and where it ends."""
    epochs = dict(system.curve)
    return int(min(epochs, key=lambda epoch: epochs[epoch])), int(max(epochs))


def samples(done: Rehearsal, mistakes: Mapping[str, str]) -> dict[str, str]:
    """The published generation settings, mended, of each model that was kept; and beside them the published way."""
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
        written["as published"] = opening + write_as_published(last, made, opening, config, seed=0)
    return written


def copies(done: Rehearsal, written: Mapping[str, str]) -> dict[str, float]:
    """How long the longest stretch of each sample is that stands verbatim in the training text, characters."""
    text = done.corpus.vocab.decode(done.corpus.train)
    return {
        f"longest copy in the sample, {how}, characters": float(longest_copy(words, text).length)
        for how, words in written.items()
    }
