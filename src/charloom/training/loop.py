"""One training loop for every engine: it yields events and prints nothing.

The loop asks the learner for the stretch up to the next event, then does what is due there. All that
it remembers between two stretches is in `Book`, and all of `Book` is in a checkpoint: that is why resuming is exact.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, SampleConfig, TrainConfig
from charloom.engines import Learner, State, load_engine
from charloom.errors import ConfigError, DivergedError
from charloom.evaluation.protocols import stream_estimate
from charloom.generation import sample
from charloom.modelfile import ModelFile, write_model
from charloom.parameters import count_parameters, initial_parameters
from charloom.runs import Checkpoint, Run
from charloom.schedule import learning_rate
from charloom.text.corpus import Corpus
from charloom.text.windows import Plan, fit_batch
from charloom.training.book import Book
from charloom.training.closing import close
from charloom.training.events import (
    EpochEnd,
    Event,
    Progress,
    Sampled,
    Saved,
    Started,
    Validation,
    Watched,
    to_json,
)
from charloom.training.pacing import Pacer
from charloom.training.signals import SIGNALS, observed
from charloom.training.verdict import diverged

VALIDATIONS = 20
"""Validations a run, where `validate_every` does not say otherwise."""

VALIDATION_CHARS = 30_000
"""Characters that a validation during training scores at most."""

SAMPLE_CHARS = 160
CHECKPOINT_EVERY_S = 15.0

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

Clock = Callable[[], float]

Look = Callable[[Mapping[str, "Array"]], Mapping[str, Any]]
"""Parameters → what was measured of them."""


def train(
    corpus: Corpus,
    model_config: ModelConfig,
    train_config: TrainConfig,
    run: Run,
    *,
    resume: bool = False,
    card: Mapping[str, Any] | None = None,
    look: Look | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[Event]:
    """Train a model on a corpus, recording everything in a run folder.

    Args:
        corpus: ids of the training and validation parts.
        model_config: the network.
        train_config: the rest.
        run: an existing run folder; its lock is held while this runs.
        resume: go on from the newest valid checkpoint.
        card: what the model file's card says beside the results.
        look: measures the parameters every `watch` steps; needed where that is set.
        clock: seconds; a test passes its own.

    Yields:
        events; each is in ``events.jsonl`` when it is yielded.

    Raises:
        DivergedError: a loss or gradient was not finite; the best model and the last checkpoint are kept.
    """
    fitted, notes = fit_batch(len(corpus.train), train_config)
    engine = load_engine(fitted.engine)
    with run.lock(), threads.limit(fitted.threads, blas=None if engine.uses_blas else 1) as num_threads:
        learner = engine.learner(
            initial_parameters(model_config, len(corpus.vocab), fitted.seed),
            model_config,
            fitted,
            device=fitted.device,
        )
        job = _Job(corpus, model_config, fitted, run, learner, dict(card or {}), look, clock)
        notes += job.restore() if resume else ()
        started = Started(
            step=job.book.step,
            num_params=count_parameters(model_config, len(corpus.vocab)),
            steps_per_epoch=job.plan.steps_per_epoch,
            device=str(getattr(learner, "device", "cpu")),
            threads=num_threads,
            notes=notes,
        )
        run.append(to_json(started))
        yield started
        yield from job.run_to_end()


class _Job:
    """One training under way: the learner, the plan, the pacer and the book."""

    def __init__(
        self,
        corpus: Corpus,
        model_config: ModelConfig,
        config: TrainConfig,
        run: Run,
        learner: Learner,
        card: dict[str, Any],
        look: Look | None,
        clock: Clock,
    ) -> None:
        self.corpus, self.model_config, self.config = corpus, model_config, config
        self.run, self.learner, self.card, self.clock = run, learner, card, clock
        self.look: Look = look if look is not None else (lambda _: {})
        self.plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
        self.pacer = Pacer(config, self.plan.steps_per_epoch)
        self.book = Book()
        self.state: State = learner.initial_state(range(self.plan.batch_size))
        self.held_out = (
            corpus.validation if corpus.validation is not None and len(corpus.validation) >= 2 else None
        )
        self.began = self.saved_at = clock()
        self.saved_step = -1

    def restore(self) -> tuple[str, ...]:
        """Take up the newest valid checkpoint; without one, begin again."""
        checkpoint, notes = self.run.newest_checkpoint()
        if checkpoint is not None:
            self.book = Book.from_json(checkpoint.scalars)
            parts = dict(checkpoint.tensors)
            state: State = [{} for _ in range(self.model_config.num_layers)]
            for name in [n for n in parts if n.startswith("state.")]:
                _, layer, key = name.split(".")
                state[int(layer)][key] = parts.pop(name)
            self.learner.load_tensors(parts)
            self.state = self.learner.import_state(state)
            self.pacer = Pacer(
                self.config, self.plan.steps_per_epoch, knots=self.book.knots, elapsed_s=self.book.elapsed_s
            )
            self.saved_step = self.book.step
        self.began -= self.book.elapsed_s
        self.run.append({"resumed_from": self.book.step})
        return notes

    def run_to_end(self) -> Iterator[Event]:
        """Stretch after stretch until the budget or the patience is used up, then the closing measurements.

        Events are yielded only when all that is due at their step is done, written down and in the book. So a caller
        who stops listening leaves a consistent checkpoint; an interrupt inside a stretch leaves the one before.
        """
        try:
            while not self._impatient() and not self.pacer.done(self.book.step):
                yield from self._recorded(self._stretch())
                if self.clock() - self.saved_at > CHECKPOINT_EVERY_S:
                    yield from self._recorded([self._save()])
        except DivergedError as error:
            verdict = dataclasses.asdict(diverged(self.book.step))
            self.run.append(
                {
                    "event": "diverged",
                    "step": self.book.step,
                    "what": error.what,
                    "non_finite": dict(error.non_finite),
                    "verdict": verdict,
                }
            )
            if not self.run.model_path.exists():
                self._write_best()
            raise
        except GeneratorExit:
            self._save()
            raise
        if self.held_out is not None and self._unscored():
            yield from self._recorded([self._validate(self.held_out)])
        self.pacer.close(self.book.step)
        self.book.knots = self.pacer.knots
        if self.held_out is None or self.book.best_step < 0:
            self._keep(math.inf)
        if self.saved_step != self.book.step:
            yield from self._recorded([self._save()])
        finished = close(
            self.corpus,
            self.config,
            self.run,
            self.book,
            reason="patience" if self._impatient() else "budget",
            device=str(getattr(self.learner, "device", "cpu")),
        )
        yield from self._recorded([finished])

    def _recorded(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, all of them in ``events.jsonl`` before the first is seen."""
        done = list(events)
        for event in done:
            self.run.append(to_json(event))
        yield from done

    def elapsed_s(self) -> float:
        """Wall clock of the loop so far, earlier sittings included."""
        return self.clock() - self.began

    def _stretch(self) -> Iterator[Event]:
        first, book = self.book.step, self.book
        stop = self._next_stop()
        self.learner.set_progress(self.pacer.knots)
        told, before = [], self.clock()
        if self.pacer.crosses(first, stop, SIGNALS):
            self.state, metrics, signals = observed(
                self.learner, self.plan, first, stop, self.state, clip_norm=self.config.clip_norm
            )
            told.append(signals)
        else:
            self.state, metrics = self.learner.advance(self.plan, first, stop - first, self.state)
        train_s = self.clock() - before
        book.step, chars = stop, int(metrics.chars.sum())
        book.chars_seen += chars
        book.train_time_s += train_s
        nats = float((metrics.loss * metrics.chars).sum())
        book.since_validation = (book.since_validation[0] + nats, book.since_validation[1] + chars)
        # an epoch's figure is the mean over its updates, as published curves print it
        book.in_epoch = (book.in_epoch[0] + float(metrics.loss.sum()), book.in_epoch[1] + stop - first)
        self._tick(first, train_s)
        yield Progress(
            step=stop,
            first_step=first,
            progress=self.pacer.progress(stop),
            loss=tuple(metrics.loss.tolist()),
            grad_norm=tuple(metrics.grad_norm.tolist()),
            learning_rate=learning_rate(self.config, self.pacer.knots, stop - 1),
            chars_per_s=chars / train_s if train_s > 0 else 0.0,
            time_left_s=self.pacer.time_left_s(stop),
        )
        yield from told
        yield from self._what_is_due(first)

    def _what_is_due(self, first: int) -> Iterator[Event]:
        step = self.book.step
        if step % self.plan.steps_per_epoch == 0:
            total, count = self.book.in_epoch
            self.book.in_epoch = (0.0, 0)
            yield EpochEnd(step, step // self.plan.steps_per_epoch, total / count)
        if self.held_out is not None and self._due(self.config.validate_every, VALIDATIONS, first):
            yield self._validate(self.held_out)
        every = self.config.sample_every
        if self._due(None, VALIDATIONS // 5, first) if every is None else step % every == 0:
            yield self._sample()
        if self.config.watch is not None and self._due(self.config.watch, 0, first):
            yield Watched(step, self.look(self.learner.model().parameters()))
        self._tick(step, 0.0)

    def _tick(self, first: int, train_s: float) -> None:
        if self.book.step > first:
            self.pacer.tick(first, self.book.step, train_s, self.elapsed_s())
        self.book.elapsed_s, self.book.knots = self.elapsed_s(), self.pacer.knots

    def _next_stop(self) -> int:
        """The nearest step at which something is due."""
        step, epoch = self.book.step, self.plan.steps_per_epoch
        stops = [step + self.pacer.stretch(), self.pacer.last_step, (step // epoch + 1) * epoch]
        stops += [
            (step // every + 1) * every
            for every in (self.config.validate_every, self.config.sample_every, self.config.watch)
            if every
        ]
        if self.config.validate_every is None:
            mark = self.pacer.marks(step, VALIDATIONS) + 1
            stops.append(self.pacer.first_step_at(mark / VALIDATIONS, step))
        return max(step + 1, min(stops))

    def _due(self, every: int | None, marks: int, first: int) -> bool:
        """Whether a multiple of `every`, or one of `marks` even shares of the run, lies in (first, step]."""
        step = self.book.step
        if every is not None:
            return step // every > first // every or step == self.pacer.last_step
        return self.pacer.crosses(first, step, marks)

    def _validate(self, held_out: Int[Array, "M"]) -> Validation:
        score = stream_estimate(
            self.learner.model(),
            held_out,
            max_chars=VALIDATION_CHARS,
            boundary_id=self.corpus.vocab.boundary_id,
        )
        nats, chars = self.book.since_validation
        self.book.since_validation = (0.0, 0)
        better = score.loss_nats < self.book.best_loss
        self.book.history = (*self.book.history, (self.book.step, score.loss_nats))
        if better:
            self._keep(score.loss_nats)
        else:
            self.book.worse_since_best += 1
        return Validation(self.book.step, score.loss_nats, nats / max(1, chars), better)

    def _keep(self, loss: float) -> None:
        self.book.best_loss, self.book.best_step, self.book.worse_since_best = loss, self.book.step, 0
        self._write_best()

    def _write_best(self) -> None:
        card = self.card | {"step": self.book.step, "chars_seen": self.book.chars_seen}
        vocab, parameters = self.corpus.vocab, self.learner.model().parameters()
        if not all(np.isfinite(p).all() for p in parameters.values()):  # a reader would refuse it
            return
        write_model(
            self.run.model_path, ModelFile(parameters, self.model_config, self.corpus.config, vocab, card)
        )

    def _unscored(self) -> bool:
        """Whether the last update was never validated, as where a budget in minutes ran out early."""
        return not self.book.history or self.book.history[-1][0] != self.book.step

    def _impatient(self) -> bool:
        return self.config.patience is not None and self.book.worse_since_best >= self.config.patience

    def _sample(self) -> Sampled:
        config = SampleConfig(length=SAMPLE_CHARS, temperature=0.7, seed=self.config.seed)
        empty = np.empty(0, np.int64)
        try:
            (written,) = sample(
                self.learner.model(), self.corpus.vocab, [empty], config, seed=self.config.seed
            )
        except DivergedError as error:  # it can be trained still, and that is what was asked for
            return Sampled(self.book.step, f"[no text: {error.what}]")
        return Sampled(self.book.step, written.text)

    def _save(self) -> Saved:
        self.book.elapsed_s, self.book.knots = self.elapsed_s(), self.pacer.knots
        tensors = dict(self.learner.tensors())
        for i, layer in enumerate(self.learner.export_state(self.state)):
            tensors |= {f"state.{i}.{key}": value for key, value in layer.items()}
        self.run.write_checkpoint(Checkpoint(self.book.step, tensors, dataclasses.asdict(self.book)))
        self.saved_at, self.saved_step = self.clock(), self.book.step
        return Saved(self.book.step, str(self.run.checkpoint_folder))


def extend(config: TrainConfig, more: int, taken: int) -> TrainConfig:
    """The settings of a run that goes on for `more` steps beyond the `taken` ones; progress becomes step / total.

    Raises:
        ConfigError: nothing would be added.
    """
    if more < 1:
        raise ConfigError(
            f"--steps +{more}", why="a run is extended by at least one step", fix="give --steps +100"
        )
    return dataclasses.replace(config, steps=taken + more, epochs=None, minutes=None, plan=None)
