"""What a repetition shows: the published figure beside ours, the curve, and what an honest look adds.

Every system is trained from its recipe and judged by the one figure of ``published.toml``; five seeds show how far
that figure moves by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.config import SampleConfig, from_dict
from charloom.engines import Learner, Model
from charloom.evaluation.copies import longest_copy
from charloom.evaluation.protocols import stream_loss
from charloom.generation import encode_prompt, sample
from charloom.recipes import find_recipe
from charloom.reproduce.rehearse import Look, Rehearsal, rehearse
from charloom.reproduce.systems import Curve, System, Target
from charloom.reproduce.writing import MISTAKES, loss_with_dropout, write_as_published
from charloom.text.windows import Window

if TYPE_CHECKING:
    from numpy import ndarray as Array

SEEDS = 5
SMOOTHING = 0.999
C_LANES, C_LENGTH, C_EVERY = 128, 100, 10
QUICK = 10
"""``--quick`` runs the first tenth."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure and ours.

    Attributes:
        target: what was published.
        measured: ours, nats.
        by_seed: the same for other seeds, the first one included.
    """

    target: Target
    measured: float
    by_seed: tuple[float, ...] = ()

    @property
    def within(self) -> bool | None:
        """Whether ours lies within the tolerance; None where there is none."""
        if self.target.tolerance is None:
            return None
        return abs(self.measured - self.target.published) <= self.target.tolerance


@dataclass(frozen=True)
class Repetition:
    """One system, repeated.

    Attributes:
        system: which.
        figures: published and measured.
        honest: what an honest look adds: a sentence and its number.
        curve: ours, in the unit of the published one.
        samples: how it was written, and the text.
        train_time_s: seconds in updates, first seed.
        mistakes: the recipe's table ``as_published``.
    """

    system: System
    figures: tuple[Figure, ...]
    honest: Mapping[str, float]
    curve: Curve
    samples: Mapping[str, str] = field(default_factory=dict)
    train_time_s: float = 0.0
    mistakes: Mapping[str, str] = field(default_factory=dict)

    @property
    def within_tolerance(self) -> bool | None:
        """Whether every judged figure is; None where nothing was judged."""
        judged = [figure.within for figure in self.figures if figure.within is not None]
        return all(judged) if judged else None


def repeat(
    system: System, *, quick: bool = False, as_published: bool = False, seeds: int = SEEDS
) -> Repetition:
    """Train a system from its recipe and measure it.

    Args:
        system: which.
        quick: stop after the first tenth; the published curve at that point is shown then.
        as_published: with the mistakes of the published form.
        seeds: how many seeds show the spread, where one takes seconds; slow systems take one.
    """
    every, look = LOOKS.get(system.name, (None, None))
    done = rehearse(
        system,
        as_published=as_published,
        num_steps=_first_tenth(system, quick=quick),
        look_every=every,
        look=look,
    )
    curve, recipe = _curve(done), find_recipe(system.name)
    target = _target(system, curve)
    measured = [value_at(done, target)]
    if not quick:
        measured += [_other_seed(system, seed, as_published) for seed in range(1, _seeds(system, seeds))]
    mean = float(np.mean(measured)) if system.letter == "D" else measured[0]
    samples = _samples(done, recipe.as_published)
    return Repetition(
        system,
        figures=(Figure(target, mean, tuple(measured)), *_shown(done)),
        honest=_honest(done, quick=quick) | _copies(done, samples),
        curve=curve,
        samples=samples,
        train_time_s=done.train_time_s,
        mistakes=recipe.as_published,
    )


# ------------------------------------------------------------------------------------------------ figures and curves


def _first_tenth(system: System, *, quick: bool) -> int | None:
    if not quick:
        return None
    whole = {"arabic-rnn-small": 4_900, "arabic-rnn": 5_180, "arabic-lstm": 2_000, "anna-lstm": 139}
    return {**whole, "shakespeare-scratch": 3_000, "moliere-elman": 450_000}[system.name] // QUICK


def _seeds(system: System, seeds: int) -> int:
    """System D is judged by the mean of five seeds; A on the large text and C take minutes a seed."""
    if system.letter == "D":
        return max(seeds, SEEDS)
    return 1 if system.name in ("arabic-rnn", "anna-lstm") else seeds


def _target(system: System, curve: Curve) -> Target:
    """The system's figure, or where training stopped before it, the last published point that was reached."""
    reached = curve[-1][0] if curve else 0
    if reached >= system.target.at:
        return system.target
    points = [(x, y) for x, y in system.curve if x <= reached]
    if not points:
        return Target(f"{system.curve_unit} {reached:g}: nothing was published", math.nan, None, int(reached))
    x, y = points[-1]
    return Target(f"the published curve at {system.curve_unit} {x:g}", y, None, int(x))


def value_at(done: Rehearsal, target: Target) -> float:
    """Our figure at a target's epoch, step or iteration."""
    if done.system.letter == "B" and target.at == done.system.target.at:
        return float(done.losses[target.at - 99 : target.at + 1].mean())
    return float(dict(_curve(done)).get(target.at, math.nan))


def _curve(done: Rehearsal) -> Curve:
    """Ours, at the points where the published program printed."""
    letter = done.system.letter
    if letter == "B":
        return tuple((float(s), float(x)) for s, x in enumerate(done.losses) if s % 100 == 0)
    if letter == "C":
        return tuple((float(step), seen["dropout on"]) for step, seen in sorted(done.seen.items()))
    if letter == "D":
        smooth = smoothed(done)
        return tuple((float(i), float(smooth[i - 1])) for i in range(100, len(smooth) + 1, 100))
    return tuple(done.epoch_means())


def smoothed(done: Rehearsal) -> Array:
    """System D's own figure: window sums, 0.999 · old + 0.001 · new, from T ln V on."""
    T = done.train_config.bptt_length
    value, course = T * math.log(len(done.corpus.vocab)), []
    for loss in done.losses * T:
        value = SMOOTHING * value + (1 - SMOOTHING) * loss
        course.append(value)
    return np.array(course)


def _other_seed(system: System, seed: int, as_published: bool) -> float:
    steps = {"arabic-rnn-small": 490, "shakespeare-scratch": system.target.at}.get(system.name)
    done = rehearse(system, seed=seed, as_published=as_published, num_steps=steps)
    return value_at(done, system.target)


def _look_at_c(done: Rehearsal, learner: Learner) -> None:
    """System C's validation: 128 lanes, windows of 100, state carried, dropout on as published; and off."""
    held_out = done.corpus.validation
    assert held_out is not None
    step, params = len(done.losses), learner.model().parameters()
    with threads.limit(None):
        wanted = {"dropout on": step} | ({"dropout off": None} if step == done.system.target.at else {})
        done.seen[step] = {
            what: loss_with_dropout(
                done.model_config, params, held_out, lanes=C_LANES, length=C_LENGTH, seed=seed
            )
            for what, seed in wanted.items()
        }


def _look_at_a(done: Rehearsal, learner: Learner) -> None:
    """Keep the model of the epoch with the lowest mean loss, which the published program did not."""
    means = done.epoch_means()
    epoch, mean = means[-1]
    if mean <= min(value for _, value in means):
        done.best = (int(epoch), learner.model())


LOOKS: Mapping[str, tuple[int, Look]] = {
    "arabic-rnn-small": (49, _look_at_a),
    "arabic-rnn": (259, _look_at_a),
    "anna-lstm": (C_EVERY, _look_at_c),
}
"""Steps between two looks, and the look: A after each epoch."""


def _shown(done: Rehearsal) -> tuple[Figure, ...]:
    """Figures that depend on a mistake, repeated with it."""
    return tuple(Figure(target, _stream(done, done.corpus.train)) for target in done.system.shown)


# ------------------------------------------------------------------------------------------------ the honest look


def _honest(done: Rehearsal, *, quick: bool) -> dict[str, float]:
    honest: dict[str, float] = {}
    if done.corpus.validation is not None:
        honest["held-out tenth, one stream, frozen weights, nats"] = _stream(done, done.corpus.validation)
    if done.system.letter == "A":
        means = dict(done.epoch_means())
        best = min(means, key=lambda epoch: means[epoch])
        honest |= {f"lowest epoch mean (epoch {best:g}), nats": means[best]}
        honest |= {f"last epoch mean (epoch {max(means):g}), nats": means[max(means)]}
    if done.system.letter == "B":
        honest |= _recital(done)
    if done.system.letter == "C" and (seen := done.seen.get(done.system.target.at)):
        honest["validation loss at step 130, dropout off, nats"] = seen["dropout off"]
    if done.system.letter == "D" and not quick:
        lost = rehearse(done.system, as_published=True, num_steps=done.system.target.at)
        honest["smoothed window loss at 3,000 where the output bias never learns"] = float(smoothed(lost)[-1])
    return honest


def _recital(done: Rehearsal) -> dict[str, float]:
    """System B's loss by place in the window: what is left is the beginning, before the text is recognised."""
    model, ids, T = _model(done), done.corpus.train, done.train_config.bptt_length
    starts = np.arange(0, len(ids) - T - 1, 7)
    block = ids[starts[:, None] + np.arange(T + 1)].astype(np.int64)
    window = Window(block[:, :-1], block[:, 1:], np.zeros((len(block), T), bool))
    nats, _ = model.losses(window, model.initial_state(len(block)))
    return {
        "recital: the first 8 characters of a window, nats": float(nats[:, :8].mean()),
        "recital: the last 32 characters of a window, nats": float(nats[:, -32:].mean()),
    }


def _stream(done: Rehearsal, ids: Array) -> float:
    with threads.limit(None):
        return stream_loss(_model(done), ids).loss_nats


def _model(done: Rehearsal) -> Model:
    assert done.model is not None
    return done.model


# ------------------------------------------------------------------------------------------------ samples


def _samples(done: Rehearsal, mistakes: Mapping[str, str]) -> dict[str, str]:
    """The published generation settings, mended; and beside it the published way, where that differs."""
    settings = {key: value for key, value in done.sample.items() if key != "prompt"}
    config = from_dict(SampleConfig, settings, source=done.system.name)
    last = done.file(_model(done))
    epoch, best = done.best if done.best is not None else (0, _model(done))
    prompt, _ = encode_prompt(done.sample.get("prompt", ""), last.vocab, "skip", last.text_config)
    (written,) = sample(best, last.vocab, [prompt], config, seed=0)
    opening = last.vocab.decode(prompt)
    samples = {f"mended, the model of epoch {epoch}" if epoch else "mended": opening + written.text}
    if made := frozenset(mistakes) & (MISTAKES | {"keep_last"}):
        opening = opening or last.vocab.decode(np.array([0]))
        samples["as published"] = opening + write_as_published(last, made, opening, config, seed=0)
    return samples


def _copies(done: Rehearsal, samples: Mapping[str, str]) -> dict[str, float]:
    """How long the longest stretch of each sample is that stands verbatim in the training text."""
    text = done.corpus.vocab.decode(done.corpus.train)
    return {
        f"longest copy in the sample, {how}, characters": float(longest_copy(words, text).length)
        for how, words in samples.items()
    }


def to_json(repetition: Repetition) -> dict[str, Any]:
    """The object that ``reproduce --json`` lists under ``systems``."""
    figures = [
        {
            "what": figure.target.what,
            "published": figure.target.published,
            "measured": figure.measured,
            "tolerance": figure.target.tolerance,
            "within": figure.within,
            "by_seed": list(figure.by_seed),
        }
        for figure in repetition.figures
    ]
    return {
        "name": repetition.system.name,
        "figures": figures,
        "honest": [{"what": what, "measured": value} for what, value in repetition.honest.items()],
        "within_tolerance": repetition.within_tolerance,
        "train_time_s": repetition.train_time_s,
        "curve_unit": repetition.system.curve_unit,
        "curve": [list(point) for point in repetition.curve],
        "published_curve": [list(point) for point in repetition.system.curve],
        "samples": dict(repetition.samples),
        "mistakes": dict(repetition.mistakes),
    }
