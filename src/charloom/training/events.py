"""What a training run tells the world: one frozen dataclass an event, yielded by the loop, printed by nobody here.

Every event can be written as one JSON line (`to_json`); `events.jsonl` is the list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from charloom.training.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Started:
    """Training begins, or goes on after a resume.

    Attributes:
        step: updates already taken.
        num_params: numbers in the model.
        steps_per_epoch: updates a pass over the text.
        device: where it computes.
        threads: processor threads.
        notes: what was shrunk, guessed or passed over, a sentence each.
    """

    step: int
    num_params: int
    steps_per_epoch: int
    device: str
    threads: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """A stretch of updates was taken.

    Attributes:
        step: updates taken so far.
        first_step: the stretch's first.
        progress: share of the budget used, 0 … 1.
        loss: nats a character, before each update.
        grad_norm: before clipping, of each update.
        learning_rate: of the last update.
        chars_per_s: of the stretch.
        time_left_s: by the watched speed.
    """

    step: int
    first_step: int
    progress: float
    loss: tuple[float, ...]
    grad_norm: tuple[float, ...]
    learning_rate: float
    chars_per_s: float
    time_left_s: float


@dataclass(frozen=True, slots=True)
class ParameterSignal:
    """One parameter in one update; norms are L2.

    Attributes:
        grad_norm: before clipping.
        weight_norm: before the update.
        update_ratio: norm of what the update added, as a share of `weight_norm`; None where that is zero.
    """

    grad_norm: float
    weight_norm: float
    update_ratio: float | None


@dataclass(frozen=True, slots=True)
class Signals:
    """The last update of a stretch, parameter by parameter.

    Attributes:
        step: updates taken so far.
        clip_rate: share of the stretch's updates whose gradient was scaled down; None without a ceiling.
        parameters: under their names.
    """

    step: int
    clip_rate: float | None
    parameters: Mapping[str, ParameterSignal]


@dataclass(frozen=True, slots=True)
class Watched:
    """The network as it stands was looked at (`watch`).

    Attributes:
        step: updates taken.
        numbers: what was measured; see `charloom.insight.watching`.
    """

    step: int
    numbers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """A pass over the training text is complete.

    Attributes:
        step: updates taken.
        epoch: passes taken.
        loss: mean over the epoch's updates, nats a character, each scored before it was learnt from.
    """

    step: int
    epoch: int
    loss: float


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation part was scored (an estimate over evenly spaced, primed stretches).

    Attributes:
        step: updates taken.
        loss: nats a character on held-out text, dropout off.
        train_loss: mean over the updates since the last validation.
        best: whether it is the best so far.
    """

    step: int
    loss: float
    train_loss: float
    best: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """The model as it stands wrote a few words."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint stands on the disk."""

    step: int
    path: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Training is over and the best model is measured.

    Attributes:
        step: updates taken.
        reason: budget, patience or diverged.
        best_step: the step of the model that was kept.
        chars_seen: characters predicted in training.
        train_time_s: time in optimiser steps alone.
        wall_time_s: time of the loop with validations and checkpoints.
        val_loss_nats: the kept model on the whole validation part, stream protocol; None without one.
        val_chars: predictions in it.
        train_loss_nats: the kept model on training text, by the same protocol, dropout off.
        ngram_bits_per_char: the n-gram of the best order, primed with the training part, on the same text.
        ngram_order: that order.
        xz_bits_per_char: xz, primed with the training part, on the same text.
        verdicts: what the numbers say, the most important first.
        steps_plan: the learning-rate plan as taken, to repeat the run by steps.
    """

    step: int
    reason: str
    best_step: int
    chars_seen: int
    train_time_s: float
    wall_time_s: float
    val_loss_nats: float | None
    val_chars: int
    train_loss_nats: float
    ngram_bits_per_char: float | None
    ngram_order: int | None
    xz_bits_per_char: float | None
    verdicts: tuple[Verdict, ...]
    steps_plan: str


Event = Started | Progress | Signals | Watched | EpochEnd | Validation | Sampled | Saved | Finished


def to_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object, its class under ``event``; long arrays keep six significant digits."""
    values = {key: _rounded(value) for key, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **values}


def _rounded(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_six(x) for x in value]
    if isinstance(value, dict):
        return {key: _six(x) if isinstance(x, float) else _rounded(x) for key, x in value.items()}
    return value


def _six(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
