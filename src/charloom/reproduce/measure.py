"""Repeat a system and measure it: the published figure and ours, the curve, and further measurements.

Every system is trained from its recipe and judged by its one figure in ``published.toml``; five seeds show
how much that figure varies by chance. If a seed takes minutes, only one is trained and the seeds measured
earlier are listed with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.engines import Learner
from charloom.evaluation.protocols import stream_loss
from charloom.recipes import find_recipe
from charloom.reproduce.published_sampling import loss_with_dropout
from charloom.reproduce.samples import copies, keep_models, samples
from charloom.reproduce.systems import Curve, System, Target
from charloom.reproduce.train import Probe, TrainedSystem, train_system
from charloom.text.batching import Window

if TYPE_CHECKING:
    from numpy import ndarray as Array

SEEDS = 5
SLOW = ("arabic-rnn", "anna-lstm")
"""Systems that take minutes per seed: one seed is trained by default."""

EPOCH_STEPS = {"arabic-rnn-small": 49, "arabic-rnn": 259, "moliere-elman": 45_000}
"""Updates per pass, for the systems whose curve counts epochs."""

SMOOTHING = 0.999
C_LANES, C_LENGTH, C_EVERY = 128, 100, 10
QUICK = 10
"""``--quick`` runs one tenth of the training."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure and ours.

    Attributes:
        target: the published figure.
        measured: ours, in nats.
        by_seed: ours for each seed of this run, including the first.
        earlier: ours for the seeds after those, measured before this run.
    """

    target: Target
    measured: float
    by_seed: tuple[float, ...] = ()
    earlier: tuple[float, ...] = ()

    @property
    def within(self) -> bool | None:
        """Whether ours is within the tolerance; None without a tolerance."""
        if self.target.tolerance is None:
            return None
        return abs(self.measured - self.target.published) <= self.target.tolerance


@dataclass(frozen=True)
class Repetition:
    """One system, repeated.

    Attributes:
        system: the published system.
        figures: published and measured.
        honest: further measurements that put the figures in perspective, each under its description.
        curve: ours, in the unit of the published one.
        samples: each text under the way it was generated.
        train_time_s: seconds spent in updates, first seed.
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
        """Whether every figure with a tolerance is within it; None if no figure has one."""
        judged = [figure.within for figure in self.figures if figure.within is not None]
        return all(judged) if judged else None


def repeat(
    system: System, *, quick: bool = False, as_published: bool = False, seeds: int | None = None
) -> Repetition:
    """Train a system from its recipe and measure it.

    Args:
        system: the published system.
        quick: stop after the first tenth and compare with the published curve at that point.
        as_published: make the mistakes of the published form.
        seeds: how many to train; None = five, or one if a seed takes minutes or `quick` is set.
    """
    every, look = LOOKS.get(system.name, (None, None))
    steps = _first_tenth(system) if quick else None
    done = train_system(system, as_published=as_published, num_steps=steps, look_every=every, look=look)
    curve, recipe = _curve(done), find_recipe(system.name)
    target = _target(system, curve)
    others = range(1, _seeds(system, seeds, quick=quick))
    by_seed = [value_at(done, target), *(other_seed(system, n, target, as_published) for n in others)]
    whole = target is system.target and not as_published
    figure = Figure(
        target,
        float(np.mean(by_seed)) if system.letter == "D" else by_seed[0],
        tuple(by_seed),
        earlier=system.other_seeds[len(by_seed) - 1 :] if whole else (),
    )
    written = samples(done, recipe.as_published)
    return Repetition(
        system,
        figures=(figure, *(Figure(shown, _stream(done, done.corpus.train)) for shown in system.shown)),
        honest=_honest(done, quick=quick) | copies(done, written),
        curve=curve,
        samples=written,
        train_time_s=done.train_time_s,
        mistakes=recipe.as_published,
    )


# ------------------------------------------------------------------------------------------------ figures and curves


def _first_tenth(system: System) -> int:
    whole = {"arabic-rnn-small": 4_900, "arabic-rnn": 5_180, "arabic-lstm": 2_000, "anna-lstm": 139}
    return {**whole, "shakespeare-scratch": 3_000, "moliere-elman": 450_000}[system.name] // QUICK


def _seeds(system: System, seeds: int | None, *, quick: bool) -> int:
    if seeds is not None:
        return seeds
    return 1 if quick or system.name in SLOW else SEEDS


def _target(system: System, curve: Curve) -> Target:
    """The system's figure or, if training stopped before it, the last published point reached."""
    reached = curve[-1][0] if curve else 0
    if reached >= system.target.at:
        return system.target
    points = [(x, y) for x, y in system.curve if x <= reached]
    if not points:
        return Target(f"{system.curve_unit} {reached:g}: no published figure", math.nan, None, int(reached))
    x, y = points[-1]
    return Target(f"the published curve at {system.curve_unit} {x:g}", y, None, int(x))


def value_at(done: TrainedSystem, target: Target) -> float:
    """Our figure at the target's epoch, step or iteration."""
    if done.system.letter == "B" and target.at == done.system.target.at:
        return float(done.losses[target.at - 99 : target.at + 1].mean())
    return float(dict(_curve(done)).get(target.at, math.nan))


def _curve(done: TrainedSystem) -> Curve:
    """Our curve, at the points where the published program printed its own."""
    letter = done.system.letter
    if letter == "B":
        return tuple((float(s), float(x)) for s, x in enumerate(done.losses) if s % 100 == 0)
    if letter == "C":
        return tuple((float(step), seen["dropout on"]) for step, seen in sorted(done.seen.items()))
    if letter == "D":
        smooth = smoothed(done)
        return tuple((float(i), float(smooth[i - 1])) for i in range(100, len(smooth) + 1, 100))
    return tuple(done.epoch_means())


def smoothed(done: TrainedSystem) -> Array:
    """System D's own figure: window sums of the loss, 0.999 · old + 0.001 · new, starting from T ln V."""
    T = done.train_config.bptt_length
    values = [T * math.log(len(done.corpus.vocab))]
    for loss in done.losses * T:
        values.append(SMOOTHING * values[-1] + (1 - SMOOTHING) * loss)
    return np.array(values[1:])


def other_seed(system: System, seed: int, target: Target, as_published: bool) -> float:
    """The same figure for another seed, trained only as far as the figure needs."""
    num_steps = target.at * EPOCH_STEPS.get(system.name, 1) + (system.letter == "B")  # B counts from step 0
    looks: dict[str, Any] = {"look_every": target.at, "look": _look_at_c} if system.letter == "C" else {}
    done = train_system(system, seed=seed, as_published=as_published, num_steps=num_steps, **looks)
    return value_at(done, target)


def _look_at_c(done: TrainedSystem, learner: Learner) -> None:
    """Validate system C: 128 lanes, windows of 100, state carried, dropout on (at its target also off)."""
    held_out = done.corpus.validation
    assert held_out is not None
    step, params = len(done.losses), learner.model().parameters()
    seeds = {"dropout on": step} | ({"dropout off": None} if step == done.system.target.at else {})
    with threads.limit(None):
        done.seen[step] = {
            what: loss_with_dropout(
                done.model_config, params, held_out, lanes=C_LANES, length=C_LENGTH, seed=seed
            )
            for what, seed in seeds.items()
        }


LOOKS: Mapping[str, tuple[int, Probe]] = {
    "arabic-rnn-small": (EPOCH_STEPS["arabic-rnn-small"], keep_models),
    "arabic-rnn": (EPOCH_STEPS["arabic-rnn"], keep_models),
    "anna-lstm": (C_EVERY, _look_at_c),
}
"""Steps between two calls of a probe, and the probe: for A after each epoch."""


# -------------------------------------------------------------------------------------------- further measurements


def _honest(done: TrainedSystem, *, quick: bool) -> dict[str, float]:
    honest: dict[str, float] = {}
    if done.corpus.validation is not None:
        honest["held-out tenth, one stream, frozen weights, nats"] = _stream(done, done.corpus.validation)
    if done.system.letter == "A":
        means = done.epoch_means()
        best = min(means, key=lambda pair: pair[1])
        for which, (epoch, mean) in (("lowest", best), ("last", means[-1])):
            honest[f"{which} epoch mean (epoch {epoch:g}), nats"] = mean
    if done.system.letter == "B":
        honest |= _memorisation(done)
    if done.system.letter == "C" and (seen := done.seen.get(done.system.target.at)):
        honest["validation loss at step 130, dropout off, nats"] = seen["dropout off"]
    if done.system.letter == "D" and not quick:
        lost = train_system(done.system, as_published=True, num_steps=done.system.target.at)
        honest["smoothed window loss at 3,000 if the output bias is not trained"] = float(smoothed(lost)[-1])
    return honest


def _memorisation(done: TrainedSystem) -> dict[str, float]:
    """System B's loss by position in the window: mostly at the start, before the text is recognised."""
    model, ids, T = done.trained, done.corpus.train, done.train_config.bptt_length
    starts = np.arange(0, len(ids) - T - 1, 7)
    block = ids[starts[:, None] + np.arange(T + 1)].astype(np.int64)
    window = Window(block[:, :-1], block[:, 1:], np.zeros((len(block), T), bool))
    nats, _ = model.losses(window, model.initial_state(len(block)))
    return {
        "memorisation: the first 8 characters of a window, nats": float(nats[:, :8].mean()),
        "memorisation: the last 32 characters of a window, nats": float(nats[:, -32:].mean()),
    }


def _stream(done: TrainedSystem, ids: Array) -> float:
    with threads.limit(None):
        return stream_loss(done.trained, ids).loss_nats


def to_json(repetition: Repetition) -> dict[str, Any]:
    """The object that ``reproduce --json`` lists under ``systems``."""
    figures = [
        {
            "what": figure.target.what,
            "published": figure.target.published,
            "measured": figure.measured,
            "tolerance": figure.target.tolerance,
            "within": figure.within,
            "by_seed": [*figure.by_seed, *figure.earlier],
            "seeds_of_this_run": len(figure.by_seed),
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
