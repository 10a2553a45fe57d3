"""One trial: train with the chosen settings, report the validation curve, measure the objectives."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charloom import threads
from charloom.config import SampleConfig
from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.generation import sample
from charloom.jobs import TrainingJob, new_job
from charloom.modelfile import read_model
from charloom.run_results import results_json
from charloom.training import Event, Progress, Validation
from charloom.training.stop_signals import StopSignals

SPEED_CHARS = 2000
"""Characters that the measurement of speed generates, three times; the fastest counts."""

PROBE_SHARE, MOST_PROBE_S, LEAST_PROBE_STEPS = 0.1, 3.0, 6
"""A trial in minutes first measures its speed, for this share of its time, and then trains a number of steps."""

FEWEST_STEPS = 5

OVERHEAD_SHARE = 0.15
"""Share of a trial's time for reading the text, validations and the final report."""


class OutOfTimeError(Exception):
    """The search's time is up in the middle of a trial."""


class PrunedError(Exception):
    """The pruner has stopped a trial."""


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a search and what is set aside of it, as on the command line."""

    sources: tuple[str, ...]
    recipe: str | None = None
    val: str | None = None
    test: str | None = None

    def job(self, out: Path, settings: Mapping[str, Any]) -> TrainingJob:
        """Set up a run in a new folder."""
        return new_job(*self.sources, recipe=self.recipe, val=self.val, test=self.test, out=out, **settings)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished trial measured, and the settings that repeat it."""

    values: Mapping[str, float]
    settings: Mapping[str, Any]
    run: str
    train_time_s: float


Watch = Callable[[float, float], None]
"""Called with the progress, 0 … 1, and the held-out loss at every validation; may raise `PrunedError`."""


def train_trial(
    text: Text,
    settings: Mapping[str, Any],
    objectives: Sequence[str],
    folder: Path,
    *,
    seconds: float | None,
    watch: Watch,
    check: Callable[[], None],
) -> Measured:
    """Train one trial and measure it.

    Args:
        text: what to train on.
        settings: the fixed and the chosen ones.
        objectives: what to measure.
        folder: of the run, which is emptied first.
        seconds: how long the trial may take; None = the settings say how long it trains.
        watch: is called at every validation.
        check: is called at every event; may raise `OutOfTimeError`.

    Raises:
        PrunedError: `watch` has stopped it.
        OutOfTimeError: `check` has stopped it.
        CharloomError: the settings are not allowed, or the training diverged.
        TrainingStopped: a signal to end arrived; a checkpoint was saved.
    """
    settings = dict(settings)
    if settings.get("threads") is None:  # the bits of a run depend on it
        settings["threads"] = threads.available()
    if seconds is not None:
        settings["steps"] = _affordable_steps(
            text, settings, folder.with_name(f"{folder.name}-speed"), seconds, check
        )
    shutil.rmtree(folder, ignore_errors=True)
    job = text.job(folder, settings)
    try:
        _run(job, watch, check)
    except BaseException:  # pruned, out of time, interrupted, diverged: another attempt begins anew
        shutil.rmtree(folder, ignore_errors=True)
        raise
    config, results = job.run.config(), results_json(job.run)
    values = {"loss": results["val_loss_nats"], "size": float(results["num_params"])}
    if "chars_per_s" in objectives:
        values["chars_per_s"] = generation_speed(job.run.model_path)
    if values["loss"] is None and "loss" in objectives:
        raise nothing_held_out()
    repeated = {**config["text"], **config["model"], **config["train"]}
    shutil.rmtree(job.run.checkpoint_folder, ignore_errors=True)
    return Measured(
        {name: values[name] for name in ("loss", "size", "chars_per_s") if values.get(name) is not None},
        repeated,
        str(folder),
        results["train_time_s"],
    )


def nothing_held_out() -> ConfigError:
    """The error for a search for the lowest loss without a text to measure it on."""
    return ConfigError(
        "nothing is held out",
        why="the loss of a trial is measured on text that it was not trained on",
        fix="give --val FILE or --val-fraction 0.1, or another --objective",
    )


def _run(job: TrainingJob, watch: Watch, check: Callable[[], None]) -> None:
    progress = 0.0
    with StopSignals() as signals, contextlib.closing(job.events()) as events:
        for event in events:
            signals.check(event)
            if isinstance(event, Progress):
                progress = event.progress
            elif isinstance(event, Validation) and math.isfinite(event.loss):
                watch(progress, event.loss)
            check()


def _affordable_steps(
    text: Text, settings: Mapping[str, Any], folder: Path, seconds: float, check: Callable[[], None]
) -> int:
    """Measure the speed of these settings on this machine; returns how many steps fit into the time."""
    began, probe_s = time.monotonic(), min(MOST_PROBE_S, PROBE_SHARE * seconds)
    shutil.rmtree(folder, ignore_errors=True)
    job, timed = text.job(folder, {**settings, "steps": 10**9}), _Timed()
    try:
        with StopSignals() as signals, contextlib.closing(job.events()) as events:
            for event in events:
                signals.check(event)
                check()
                timed.note(event)
                if timed.steps >= LEAST_PROBE_STEPS and time.monotonic() - began > probe_s:
                    break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    left_s = (1 - OVERHEAD_SHARE) * (seconds - (time.monotonic() - began))
    return max(FEWEST_STEPS, int(left_s / timed.step_s))


class _Timed:
    """The steps of a training and the seconds that they took, without the first, which includes start-up time."""

    def __init__(self) -> None:
        self.steps, self.seconds = 0, 0.0
        self._before = time.monotonic()

    @property
    def step_s(self) -> float:
        return max(1e-6, self.seconds / max(1, self.steps - 1))

    def note(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Progress):
            if event.first_step > 0:
                self.seconds += now - self._before
            self.steps = event.step
        self._before = now


def generation_speed(path: Path) -> float:
    """Characters per second of one stream with the fused engine on one thread: the best of three short samples."""
    file = read_model(path)
    model = load_engine("fused").model(file.parameters, file.model_config, threads=1)
    config = SampleConfig(length=SPEED_CHARS, threads=1)
    fastest = math.inf
    for seed in range(3):
        before = time.perf_counter()
        sample(model, file.vocab, [np.zeros(1, np.int64)], config, seed=seed)
        fastest = min(fastest, time.perf_counter() - before)
    return SPEED_CHARS / fastest
