"""How fast this machine trains: real updates on the text itself, for a few seconds.

Nothing is kept for later: the speed depends on what else the machine does at the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.forecast.energy import joules_between, read_counters
from charloom.parameters import initial_parameters
from charloom.text import Corpus
from charloom.text.batching import Plan

WARM_S, MEASURED_S = 2.0, 6.0
"""Seconds of updates that do not count, because loops are loaded and memory is touched, and of those that do."""

_RANGE_S = 0.4


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of updates on this machine.

    Attributes:
        chars_per_s: characters trained on per second.
        step_s: seconds of one update.
        steps: updates measured.
        threads: in use.
        device: cpu, cuda:0, ….
        steps_per_epoch: updates in one pass over the training part.
        watts: of the processor's packages during the updates; None if it cannot be read.
    """

    chars_per_s: float
    step_s: float
    steps: int
    threads: int
    device: str
    steps_per_epoch: int
    watts: float | None = None


def measure_speed(
    corpus: Corpus,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    clock: Callable[[], float] = time.monotonic,
    note_share: Callable[[float], None] = lambda _: None,
) -> Speed:
    """Take updates for at most `WARM_S` + `MEASURED_S` seconds and one more range of them; return their speed.

    Args:
        corpus: what would be trained on.
        model_config: the network.
        train_config: its batch must fit the corpus (`charloom.text.batching.fit_batch`).
        clock: returns seconds.
        note_share: is called with the share that is done.

    Raises:
        DivergedError: a loss is not finite.
    """
    engine = load_engine(train_config.engine)
    blas = train_config.threads if engine.uses_blas and train_config.threads is not None else 1
    with threads.limit(train_config.threads, blas=blas) as number:
        taken = _Updates(engine, corpus, model_config, train_config, clock)
        taken.take_for(WARM_S, note_share=lambda share: note_share(share * WARM_S / (WARM_S + MEASURED_S)))
        before, began = read_counters(), clock()
        steps, chars = taken.take_for(
            MEASURED_S,
            note_share=lambda share: note_share((WARM_S + share * MEASURED_S) / (WARM_S + MEASURED_S)),
        )
        seconds = max(1e-9, clock() - began)
        joules = joules_between(before, read_counters())
    watts = None if joules is None else joules / seconds
    device = str(getattr(taken.learner, "device", "cpu"))
    epoch = taken.plan.steps_per_epoch
    return Speed(chars / seconds, seconds / steps, steps, number, device, epoch, watts)


class _Updates:
    """A training without its loop: updates one range after another."""

    def __init__(
        self, engine: Any, corpus: Corpus, model: ModelConfig, config: TrainConfig, clock: Callable[[], float]
    ) -> None:
        params = initial_parameters(model, len(corpus.vocab), config.seed)
        config = replace(config, replicas=None, sync_every=None)
        self.learner = engine.learner(params, model, config, device=config.device)
        self.plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
        self.state, self.step, self.clock = self.learner.initial_state(range(self.plan.batch_size)), 0, clock
        self.step_s = 0.0
        self.learner.set_progress(((0, 0.0), (1_000_000, 1.0)))

    def take_for(self, seconds: float, *, note_share: Callable[[float], None]) -> tuple[int, int]:
        """Take ranges of updates until `seconds` are over; returns how many, and their characters."""
        began, first, chars = self.clock(), self.step, 0
        while (used := self.clock() - began) < seconds:
            note_share(used / seconds)
            count = max(1, int(_RANGE_S / self.step_s)) if self.step_s else 1
            before = self.clock()
            self.state, metrics = self.learner.advance(self.plan, self.step, count, self.state)
            self.step_s = (self.clock() - before) / count
            self.step += count
            chars += int(metrics.chars.sum())
        return self.step - first, chars
