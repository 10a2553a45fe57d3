"""The facts that a verdict is based on, measured once at the end of a run and kept with its results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, TrainConfig, parse_plan
from charloom.evaluation.overlap import overlap
from charloom.schedule import learning_rate

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

    from charloom.text.corpus import Corpus

KEPT_POINTS = 200
"""Validations kept of a run; the best and the last are always among them."""

TRAIN_LOSS_CHARS = 20_000
"""The training loss is measured on at most this many characters, from the end of the training part."""

OVERLAP_TRAIN_CHARS, OVERLAP_HELD_OUT_CHARS = 4_000_000, 1_000_000

ORDER0_TRAIN_CHARS = 32_000_000
"""Characters counted for the frequencies, from the end of the training part: a billion would take seconds to read."""

GROWTH_NOISE = 0.01
"""Nats of growth of the gap that are within the noise of the training loss."""

_BLOCK = 1 << 22  # ids counted at a time

History = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One run in numbers; losses are nats per character, on the same held-out text unless stated.

    Attributes:
        history: (step, loss) of each validation, in order.
        train_history: the loss of training text, with dropout, at each point of `history`; empty if not measured.
        last_step: updates taken.
        best_step: the step of the model that is kept.
        passes: passes over the training text.
        learning_rate_share: the last update's learning rate as a share of its peak.
        train_time_s: seconds in updates.
        stopped_early: whether patience ran out.
        train_chars: length of the training part.
        val_loss: the kept model; None if nothing was held out.
        standard_error: of `val_loss`, from blocks of the text; None if the text is shorter than two blocks.
        train_loss: the kept model on training text, without dropout; inf if not measured.
        gap_growth: how much held-out minus training loss grew in the second half of the run; None if not measured.
        uniform_loss: of guessing uniformly among the characters, ln V.
        order0_loss: of the characters' frequencies in the training part, or its last `ORDER0_TRAIN_CHARS`.
        ngram_loss: of the n-gram of the best order.
        xz_loss: of xz.
        overlap: share of the held-out characters inside verbatim copies of training text.
        repeats_from: the character after which the text repeats what precedes it; None if it does not.
        held_out_file: whether the held-out text is a file of its own.
        unit: the unit of one prediction, char or byte.
        model: the network.
        training: the settings of the training.
    """

    history: History
    train_history: tuple[float, ...] = ()
    last_step: int
    best_step: int
    passes: float
    learning_rate_share: float
    train_time_s: float = 0.0
    stopped_early: bool = False
    train_chars: int
    val_loss: float | None
    standard_error: float | None = None
    train_loss: float
    gap_growth: float | None = None
    uniform_loss: float
    order0_loss: float | None = None
    ngram_loss: float | None = None
    xz_loss: float | None = None
    overlap: float = 0.0
    repeats_from: int | None = None
    held_out_file: bool = False
    unit: str = "char"
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainConfig = field(default_factory=TrainConfig)

    @property
    def last_train_loss(self) -> float | None:
        """The last model on training text, with dropout; None if not measured."""
        return self.train_history[-1] if self.train_history else None

    @property
    def gap(self) -> float:
        """Held-out minus training loss, nats; −inf if the training loss was not measured."""
        return -math.inf if self.val_loss is None else self.val_loss - self.train_loss

    @property
    def rise(self) -> float:
        """How far the last validation is above the best, nats."""
        return self.history[-1][1] - min(loss for _, loss in self.history) if self.history else 0.0

    def fall_since(self, share: float) -> float:
        """Relative fall of the best validation loss after this share of the steps; inf if nothing was measured before."""
        early = [loss for step, loss in self.history if step <= share * self.last_step]
        best = min((loss for _, loss in self.history), default=0.0)
        return 1 - best / min(early) if early and min(early) > 0 else math.inf

    @property
    def wasted(self) -> float:
        """What the second half of the run learnt of the training text alone, for each nat it learnt of new text.

        0 if the gap did not grow, so that everything carried over; inf if nothing was learnt of new text, or if it was
        not measured.
        """
        if self.gap_growth is None:
            return math.inf
        relative = self.fall_since(0.5)
        best = min((loss for _, loss in self.history), default=0.0)
        fall = best * relative / (1 - relative) if 0 < relative < 1 else 0.0
        growth = self.gap_growth if self.gap_growth > GROWTH_NOISE else 0.0
        return 0.0 if growth == 0 else growth / fall if fall > 0 else math.inf

    def to_json(self) -> dict[str, Any]:
        """Everything but the settings, which a run records elsewhere."""
        values = {key: value for key, value in asdict(self).items() if key not in ("model", "training")}
        return values | {"train_loss": self.train_loss if math.isfinite(self.train_loss) else None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], model: ModelConfig, training: TrainConfig) -> Facts:
        """Restore what `to_json` made; keys of a newer version are left out."""
        known = {spec.name for spec in fields(cls)}
        own = {key: value for key, value in values.items() if key in known}
        own["history"] = tuple((int(step), float(loss)) for step, loss in own["history"])
        own["train_history"] = tuple(map(float, own.get("train_history", ())))
        own["train_loss"] = math.inf if own["train_loss"] is None else own["train_loss"]
        return cls(**own, model=model, training=training)


def bare_facts(val_loss: float, train_loss: float, model: ModelConfig) -> Facts:
    """The facts of a model without a record of its training: its losses, in nats."""
    return Facts(
        history=(),
        last_step=0,
        best_step=0,
        passes=math.inf,
        learning_rate_share=1.0,
        train_chars=0,
        val_loss=val_loss,
        train_loss=train_loss,
        uniform_loss=math.inf,
        model=model,
    )


def text_facts(corpus: Corpus) -> dict[str, Any]:
    """Measure the fields of `Facts` that depend on the text alone."""
    size = len(corpus.vocab)
    found: dict[str, Any] = {
        "train_chars": len(corpus.train),
        "uniform_loss": math.log(size),
        "unit": corpus.vocab.unit,
    }
    validation = corpus.validation
    if validation is None or len(validation) < 2:
        return found
    held_out = validation[:OVERLAP_HELD_OUT_CHARS]
    shared = overlap(corpus.train[-OVERLAP_TRAIN_CHARS:], held_out, boundary_id=corpus.vocab.boundary_id)
    whole = len(corpus.train) <= OVERLAP_TRAIN_CHARS
    return found | {
        "order0_loss": order0_loss(corpus.train[-ORDER0_TRAIN_CHARS:], held_out, size),
        "overlap": shared.share,
        "repeats_from": shared.repeats_from if whole else None,
    }


def gap_growth(gaps: Sequence[float]) -> float | None:
    """The mean of the last four gaps minus that of the four in the middle; None for fewer than eight.

    Example:
        >>> gap_growth([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
        0.2
    """
    if len(gaps) < 8:
        return None
    middle = len(gaps) // 2
    return float(np.round(np.mean(gaps[-4:]) - np.mean(gaps[middle - 2 : middle + 2]), 6))


def order0_loss(train: Int[Array, "N"], held_out: Int[Array, "M"], vocab_size: int) -> float:
    """The loss of predicting each character by its frequency in the training part, with one added to each count.

    Example:
        >>> round(order0_loss(np.array([0, 0, 1]), np.array([0]), 2), 4)  # ln 5/3
        0.5108
    """
    counts = _counts(train, vocab_size) + 1.0
    nats = -np.log(counts / counts.sum())
    if len(held_out) <= _BLOCK:
        return float(nats[held_out].mean())
    return float(nats @ _counts(held_out, vocab_size) / len(held_out))


def _counts(ids: Int[Array, "N"], size: int) -> Int[Array, "V"]:
    """How often each id occurs; in blocks, because NumPy takes eight bytes for each id that it counts."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), _BLOCK):
        counts += np.bincount(ids[start : start + _BLOCK], minlength=size)
    return counts


def run_facts(
    results: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    corpus: Corpus,
    model: ModelConfig,
    training: TrainConfig,
    *,
    plan: str,
    reason: str = "budget",
    held_out_file: bool = False,
) -> Facts:
    """Collect the facts of a finished run.

    Args:
        results: its results, as in ``config.json``.
        events: its events.
        corpus: the text it was trained on.
        model: the network.
        training: the settings, with the batch that fits the text.
        plan: the steps and progress as taken.
        reason: why it ended: budget or patience.
        held_out_file: whether the held-out text is a file of its own.
    """
    steps, validations, per_pass = results["steps"], {}, None
    for event in events:
        if event.get("event") == "validation":
            validations[event["step"]] = (event["loss"], event["train_loss"])
        elif event.get("event") == "started":
            per_pass = event["steps_per_epoch"]
    ngram, xz = results["ngram_bits_per_char"], results["xz_bits_per_char"]
    train_loss = results.get("train_loss_nats")
    course = [(step, *validations[step]) for step in sorted(validations)]
    points = thinned(course)
    return Facts(
        history=tuple((step, loss) for step, loss, _ in points),
        train_history=tuple(train for _, _, train in points),
        last_step=steps,
        best_step=results["best_step"],
        passes=steps / per_pass if per_pass else results["chars_seen"] / max(1, len(corpus.train)),
        learning_rate_share=learning_rate(training, parse_plan(plan), max(0, steps - 1))
        / training.learning_rate,
        train_time_s=results["train_time_s"],
        stopped_early=reason == "patience",
        val_loss=results["val_loss_nats"],
        standard_error=results.get("val_standard_error_nats"),
        train_loss=math.inf if train_loss is None else train_loss,
        gap_growth=gap_growth([held_out - train for _, held_out, train in course]),
        ngram_loss=None if ngram is None else ngram * math.log(2),
        xz_loss=None if xz is None else xz * math.log(2),
        held_out_file=held_out_file,
        model=model,
        training=training,
        **text_facts(corpus),
    )


def thinned(course: Sequence[tuple[int, float, float]]) -> Sequence[tuple[int, float, float]]:
    """At most `KEPT_POINTS` evenly spaced points (step, held-out loss, training loss), with the best and the last."""
    if len(course) <= KEPT_POINTS:
        return course
    best = min(range(len(course)), key=lambda i: course[i][1])
    kept = {*np.linspace(0, len(course) - 1, KEPT_POINTS - 1).astype(int).tolist(), best}
    return [course[i] for i in sorted(kept)]
