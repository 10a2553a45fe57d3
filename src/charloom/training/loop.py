"""One training loop for every engine: it yields events and prints nothing.

The learner takes all steps up to the next event, and the loop then does what is due there. Everything that the loop
carries from one range of steps to the next is in `LoopState`, which every checkpoint contains, so resuming is exact.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, SampleConfig, TrainConfig
from charloom.engines import EngineModel, Learner, Metrics, State, load_engine
from charloom.errors import ConfigError, DivergedError
from charloom.evaluation.protocols import estimate_cost, stream_cost, stream_estimate
from charloom.generation import sample
from charloom.kernels.library import level_in_use
from charloom.parameters import count_parameters, initial_parameters
from charloom.runs import Run
from charloom.schedule import learning_rate
from charloom.text.batching import Plan, fit_batch
from charloom.text.corpus import Corpus
from charloom.training.baselines import BaselineMeasurement
from charloom.training.budget import Budget
from charloom.training.distillation import Teacher, num_written, prepare_lesson
from charloom.training.events import EpochEnd, Event, Progress, Sampled, Started, Validation, Watched
from charloom.training.exactness import lapse_of_exactness
from charloom.training.facts import TRAIN_LOSS_CHARS
from charloom.training.final_report import final_report, reported_part
from charloom.training.memory_need import need_of
from charloom.training.milestones import VALIDATIONS, Milestones
from charloom.training.parameter_stats import update_stats
from charloom.training.ranks import LeadingLearner, divided, release
from charloom.training.recorder import RunRecorder
from charloom.training.state import LoopState, added

SAMPLE_CHARS = 160

FIXED_REPORT_S = 0.3
"""What the final report takes besides reading text and writing files: the model, the end of the baselines."""

SAVES_AT_THE_END = 3
"""Files of a checkpoint's size that the end of a run writes and reads: the checkpoint, the model and its card."""

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks

Clock = Callable[[], float]

Monitor = Callable[[Mapping[str, "Array"]], Mapping[str, Any]]
"""Parameters → measurements of them."""


def train(
    corpus: Corpus,
    model_config: ModelConfig,
    train_config: TrainConfig,
    run: Run,
    *,
    parameters: Mapping[str, Array] | None = None,
    resume: bool = False,
    card: Mapping[str, Any] | None = None,
    monitor: Monitor | None = None,
    clock: Clock = time.monotonic,
    began: float | None = None,
    ranks: Ranks | None = None,
    teacher: Teacher | None = None,
) -> Generator[Event, None, None]:
    """Train a model on a corpus and record everything in a run folder.

    Events are yielded only after everything due at their step is done and recorded. So a caller that stops iterating
    leaves a consistent checkpoint; an interrupt within a range of steps leaves the checkpoint before it.

    Args:
        corpus: ids of the training and validation parts.
        model_config: the network.
        train_config: all other settings.
        run: an existing run folder; its lock is held during training.
        parameters: the weights to start from; None = drawn by the seed.
        resume: continue from the newest valid checkpoint.
        card: entries of the model file's card, in addition to the results.
        monitor: measures the parameters every `watch` steps; needed if that is set.
        clock: returns seconds; tests pass their own.
        began: the clock when the user's call began, whose time counts towards a budget in minutes; None = now.
        ranks: the processes to lead, as rank 0; the others call `training.ranks.follow`. None = this process alone.
        teacher: the model whose probabilities are part of the targets; it must fit (see `Teacher.check`).

    Yields:
        Events; each but `Preparing` and `Closing` is already in ``events.jsonl`` when it is yielded.

    Raises:
        DivergedError: a loss or gradient is not finite; the best model and the last checkpoint are kept.
    """
    with run.removed_if_unused():
        fitted, notes = fit_batch(len(corpus.train) + num_written(train_config, teacher), train_config)
        engine = load_engine(fitted.engine)
    blas = fitted.threads if engine.uses_blas and fitted.threads is not None else 1
    with run.removed_if_unused(), run.lock(), threads.limit(fitted.threads, blas=blas) as num_threads:
        need = need_of(corpus, model_config, fitted, num_threads, ranks=ranks, teacher=teacher).check()
        lesson = yield from prepare_lesson(corpus, fitted, run, teacher, num_threads=num_threads)
        parameters = parameters or initial_parameters(model_config, len(corpus.vocab), fitted.seed)
        learner: Any = engine.learner(parameters, model_config, fitted, device=fitted.device, ranks=ranks)
        if ranks is not None:
            learner = LeadingLearner(ranks, learner, corpus, model_config, fitted)
        recorder = RunRecorder(run, corpus, model_config, learner, card=card or {}, clock=clock)
        loop = TrainingLoop(corpus, lesson.plan(corpus, fitted), learner, recorder, monitor)
        loop.before_s, loop.memory = 0.0 if began is None else clock() - began, need.parts
        loop.spare_cores = threads.available() - num_threads
        if resume:
            notes += lapse_of_exactness(run, fitted, num_threads=num_threads, device=_device(learner))
            notes += loop.restore()
        if recorder.saved_step < 0:  # from here on, whatever ends the process, a resume finds a checkpoint
            loop.save()
        try:
            yield from recorder.record([loop.started(num_threads, notes + lesson.notes)])
            while not loop.is_over:
                yield from loop.advance()
            yield from loop.finish()
        except DivergedError as error:
            recorder.record_divergence(error, loop.progress)
            release(learner)
            raise
        except GeneratorExit:
            loop.save_if_changed()
            release(learner)
            raise
        finally:
            loop.stop_baselines()


class TrainingLoop:
    """One training run in progress: the learner, its plan and budget, and the milestones.

    `monitor` measures the parameters every `watch` steps, if that is set.
    """

    def __init__(
        self, corpus: Corpus, plan: Plan, learner: Learner, recorder: RunRecorder, monitor: Monitor | None
    ) -> None:
        self.corpus, self.plan, self.learner, self.recorder = corpus, plan, learner, recorder
        self.config, self.monitor, self.clock = plan.config, monitor, recorder.clock
        self.budget = Budget(self.config, plan.steps_per_epoch)
        self.milestones = Milestones(self.config, self.budget, plan.steps_per_epoch)
        self.progress = LoopState(validation_chars=0, report_chars=0)
        self.state: State = learner.initial_state(range(self.plan.batch_size))
        validation = corpus.validation
        self.held_out = validation if validation is not None and len(validation) >= 2 else None
        self.began = self.clock()
        self.before_s, self.spare_cores, self.read_char_s = 0.0, 0, 0.0
        self.memory: Mapping[str, int] = {}
        self.baselines: BaselineMeasurement | None = None

    def started(self, num_threads: int, notes: tuple[str, ...]) -> Started:
        """The first event."""
        num_params = count_parameters(self.recorder.model_config, len(self.corpus.vocab))
        where = divided(self.learner, self.config, self.plan) | {"threads": num_threads}
        where |= {"kernels": level_in_use(), "notes": notes + self.budget.late_start(self.before_s)}
        where["memory"] = self.memory
        return Started(self.progress.step, num_params, self.plan.steps_per_epoch, **where)

    def restore(self) -> tuple[str, ...]:
        """Load the newest valid checkpoint, or start again without one; returns notes on what was not found."""
        progress, state, notes = self.recorder.load()
        if progress is not None:
            self.progress, self.state, steps = progress, state, self.plan.steps_per_epoch
            self.budget = Budget(self.config, steps, knots=progress.knots, elapsed_s=progress.elapsed_s)
            self.milestones = Milestones(self.config, self.budget, steps)
        self.began -= self.progress.elapsed_s
        self.recorder.run.append({"resumed_from": self.progress.step})
        return notes

    @property
    def is_over(self) -> bool:
        """Whether the budget or the patience is used up."""
        return self._is_impatient or self.budget.done(self.progress.step)

    def advance(self) -> Sequence[Event]:
        """Take all steps up to the next milestone and do what is due there; returns the recorded events."""
        first = self.progress.step
        stop = self.milestones.next_stop(first)
        observe = self.milestones.observes(first, stop)
        self.learner.set_progress(self.budget.knots)
        before, count = self.clock(), stop - first
        self.state, metrics = self.learner.advance(self.plan, first, count, self.state, observe=observe)
        self.budget.reserve(self._report_s(), self.before_s)
        events = [self._account(metrics, first, stop, self.clock() - before)]
        if observe:
            events.append(update_stats(stop, metrics, clip_norm=self.config.clip_norm))
        events += self._do_what_is_due(first)
        events = list(self.recorder.record(events))
        return events + list(self.recorder.record([self.save()] if self.recorder.is_due else []))

    def finish(self) -> Iterator[Event]:
        """Validate the last step, save, and write the final report."""
        progress, recorder = self.progress, self.recorder
        scored = bool(progress.history) and progress.history[-1][0] == progress.step
        if self.held_out is not None and not scored:  # for example, a budget in minutes ran out early
            yield from recorder.record([self._validate(self.held_out)])
        self.budget.close(progress.step)
        progress.knots = self.budget.knots
        if self.held_out is None or progress.best_step < 0:
            self._keep(math.inf)
        yield from recorder.record(self.save_if_changed())
        release(self.learner)
        self._start_baselines()
        reason, device = "patience" if self._is_impatient else "budget", _device(self.learner)
        how: dict[str, Any] = {"reason": reason, "device": device, "overtime": self._overtime}
        report = yield from final_report(
            self.corpus, self.config, recorder.run, progress, self.baselines, **how
        )
        yield from recorder.record([report])

    def stop_baselines(self) -> None:
        """Measure the baselines no further in the background."""
        if self.baselines is not None:
            self.baselines.stop()

    def save(self) -> Event:
        """Write a checkpoint of the current state."""
        self.progress.elapsed_s, self.progress.knots = self._elapsed_s(), self.budget.knots
        return self.recorder.save(self.progress, self.state)

    def save_if_changed(self) -> list[Event]:
        """Write a checkpoint unless this step has one."""
        return [] if self.recorder.saved_step == self.progress.step else [self.save()]

    def _elapsed_s(self) -> float:
        """Wall-clock time of the loop, including the time before a resume."""
        return self.clock() - self.began

    def _overtime(self) -> float:
        return self.budget.overtime(self.before_s + self._elapsed_s())

    def _account(self, metrics: Metrics, first: int, stop: int, train_s: float) -> Event:
        """Add a range of steps to the loop's state and the budget."""
        progress, chars = self.progress, int(metrics.chars.sum())
        progress.step = stop
        progress.chars_seen += chars
        progress.train_time_s += train_s
        nats, num_chars = progress.since_validation
        progress.since_validation = (added(nats, metrics.loss * metrics.chars), num_chars + chars)
        losses, num_steps = progress.in_epoch  # its loss is the mean over updates, as in published curves
        progress.in_epoch = (added(losses, metrics.loss), num_steps + stop - first)
        self.budget.tick(first, stop, train_s, self._elapsed_s())
        return Progress(
            step=stop,
            first_step=first,
            progress=self.budget.progress(stop),
            loss=tuple(metrics.loss.tolist()),
            grad_norm=tuple(metrics.grad_norm.tolist()),
            learning_rate=learning_rate(self.config, self.budget.knots, stop - 1),
            chars_per_s=chars / train_s if train_s > 0 else 0.0,
            time_left_s=self.budget.time_left_s(stop),
        )

    def _do_what_is_due(self, first: int) -> Iterator[Event]:
        progress, due, step = self.progress, self.milestones, self.progress.step
        last = progress.history[-1][0] if progress.history else 0
        if due.ends_epoch(step):
            total, count = progress.in_epoch
            progress.in_epoch = (0.0, 0)
            yield EpochEnd(step, step // self.plan.steps_per_epoch, total / count)
        if self.held_out is not None and due.validates(first, step, last):
            yield self._validate(self.held_out)
        if due.samples(first, step):
            yield sampled_text(self._model("writing"), self.corpus, step, self.config.seed)
        if due.monitors(first, step):
            assert self.monitor is not None, "watch is set"
            yield Watched(step, self.monitor(self.learner.model().parameters()))

    def _validate(self, held_out: Int[Array, "M"]) -> Validation:
        self._size_measurements()
        progress, boundary_id = self.progress, self.corpus.vocab.boundary_id
        model = self._model("scoring")  # may compile its loops, which is not part of its speed
        before = self.clock()
        most = progress.validation_chars
        score = stream_estimate(model, held_out, max_chars=most, boundary_id=boundary_id)
        self.read_char_s = (self.clock() - before) / estimate_cost(len(held_out), most)
        self._start_baselines()
        nats, chars = progress.since_validation
        progress.since_validation = (0.0, 0)
        better = score.loss_nats < progress.best_loss
        progress.history = (*progress.history, (progress.step, score.loss_nats))
        if better:
            self._keep(score.loss_nats)
        else:
            progress.worse_since_best += 1
        return Validation(progress.step, score.loss_nats, nats / max(1, chars), better)

    def _model(self, task: Literal["scoring", "writing"]) -> EngineModel:
        """The current model on the engine that does a task fastest: on a CPU, compiled loops."""
        trained = self.learner.model()
        if task == "scoring" and _device(self.learner) != "cpu":
            return trained
        precision = "float64" if self.config.precision == "float64" else "float32"
        engine = load_engine("auto", task=task)
        return engine.model(trained.parameters(), self.recorder.model_config, precision=precision)

    def _size_measurements(self) -> None:
        """At the first validation, decide how much text validations and the final report read."""
        progress = self.progress
        all_chars = progress.chars_seen / max(1, progress.step) * self.budget.last_step
        between = all_chars / VALIDATIONS if self.config.validate_every is None else progress.chars_seen
        progress.size_measurements(all_chars, between)

    def _start_baselines(self) -> None:
        """Begin to measure the baselines in the background, once it is known on how much text."""
        self._size_measurements()
        held_out = reported_part(self.corpus, self.progress)
        if self.baselines is None and held_out is not None:
            self.baselines = BaselineMeasurement(self.corpus, held_out)
            self.baselines.start(spare_cores=self.spare_cores)

    def _report_s(self) -> float:
        """Seconds that the final report will take, at the speed of the last validation."""
        most, fixed_s = self.progress.report_chars, FIXED_REPORT_S + SAVES_AT_THE_END * self.recorder.save_s
        held_out = 0 if self.held_out is None else min(most, len(self.held_out))
        trained_on = min(most, TRAIN_LOSS_CHARS, len(self.corpus.train))
        cost = sum(stream_cost(chars) for chars in (held_out, trained_on) if chars >= 2)
        return fixed_s + cost * self.read_char_s

    def _keep(self, loss: float) -> None:
        """Keep the current model as the best."""
        progress = self.progress
        progress.best_loss, progress.best_step, progress.worse_since_best = loss, progress.step, 0
        self.recorder.write_best(progress)

    @property
    def _is_impatient(self) -> bool:
        return self.config.patience is not None and self.progress.worse_since_best >= self.config.patience


def sampled_text(model: EngineModel, corpus: Corpus, step: int, seed: int) -> Sampled:
    """A short sample of a model, as an event."""
    config = SampleConfig(length=SAMPLE_CHARS, temperature=0.7, seed=seed)
    try:
        (done,) = sample(model, corpus.vocab, [np.empty(0, np.int64)], config, seed=seed)
    except DivergedError as error:  # training itself can continue
        return Sampled(step, f"[no text: {error.what}]")
    return Sampled(step, done.text)


def _device(learner: Learner) -> str:
    return str(getattr(learner, "device", "cpu"))


def extend(config: TrainConfig, more: int, taken: int) -> TrainConfig:
    """Settings for a run that takes `more` steps after the `taken` ones; progress becomes step / total.

    Raises:
        ConfigError: `more` is below 1.
    """
    if more < 1:
        why = "a run must be extended by at least one step"
        raise ConfigError(f"--steps +{more}", why=why, fix="pass --steps +100, for example")
    return dataclasses.replace(config, steps=taken + more, epochs=None, minutes=None, plan=None)
