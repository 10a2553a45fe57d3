"""The events of a training run: one frozen dataclass per kind, yielded by the loop, which prints nothing.

Every event can be written as one JSON line (`to_json`); `events.jsonl` is the list of them. In each, `step` is the
number of updates taken so far; losses are in nats per character.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

from charloom.steps import mapped
from charloom.training.verdict import Verdict

Announced = TypeVar("Announced")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Started:
    """Training starts, or continues after a resume.

    Attributes:
        steps_per_epoch: updates per pass over the text.
        threads: of each rank.
        notes: one sentence for each setting that was reduced or guessed and each checkpoint that was skipped.
        ranks: processes that share the batch.
        lane_groups: parts of the batch, or of each replica's, whose gradients are added in order.
        replicas: sets of weights that train alone between averages (setting `sync_every`).
        kernels: the processor level of the compiled kernels, or none.
        memory: bytes that the training takes by its settings, by parts; see `training.memory_need`.
    """

    step: int
    num_params: int
    steps_per_epoch: int
    device: str
    threads: int
    notes: tuple[str, ...]
    ranks: int = 1
    lane_groups: int = 1
    replicas: int = 1
    kernels: str = ""
    memory: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """The updates from `first_step` up to `step` are done.

    Attributes:
        first_step: updates taken before this range.
        progress: share of the budget used, 0 … 1.
        loss: before each update.
        grad_norm: of each update, before clipping.
        learning_rate: of the last update.
        chars_per_s: training speed in this range.
        time_left_s: seconds to the end at the measured speed.
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
class ParameterStats:
    """One parameter in one update; norms are L2.

    Attributes:
        grad_norm: before clipping.
        weight_norm: before the update.
        update_ratio: norm of the update divided by `weight_norm`; None if that is zero.
    """

    grad_norm: float
    weight_norm: float
    update_ratio: float | None


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """The effect of the last update of a range on each parameter.

    Attributes:
        clip_rate: share of the updates in the range whose gradient was scaled down; None without clipping.
        parameters: statistics by parameter name.
    """

    step: int
    clip_rate: float | None
    parameters: Mapping[str, ParameterStats]


@dataclass(frozen=True, slots=True)
class Watched:
    """The current network was measured by the monitor (setting `watch`); see `charloom.insight.monitor`."""

    step: int
    numbers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """`epoch` passes over the training text are complete; `loss` is the mean over the last one's updates."""

    step: int
    epoch: int
    loss: float


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation part was scored (an estimate over evenly spaced, primed segments).

    Attributes:
        loss: on held-out text, dropout off.
        train_loss: mean over the characters trained on since the last validation.
        best: whether the loss is the lowest so far.
    """

    step: int
    loss: float
    train_loss: float
    best: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """The current model generated a short sample."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: str


@dataclass(frozen=True, slots=True)
class Preparing:
    """A teacher writes or reads before the first step; not recorded in `events.jsonl`.

    Attributes:
        what: what it does.
        share: how much of it is done, 0 … 1.
        step: 0, before anything is loaded.
    """

    what: str
    share: float
    step: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """The kept model or the baselines are being measured; not recorded in `events.jsonl`.

    Attributes:
        what: what is measured.
        share: how much of it is done, 0 … 1.
    """

    step: int
    what: str
    share: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Training has ended and the best model is measured.

    Attributes:
        reason: budget, patience or diverged.
        best_step: the step of the model that is kept.
        chars_seen: characters predicted in training.
        train_time_s: time in optimiser steps only.
        wall_time_s: time of the loop, including validations and checkpoints.
        val_loss_nats: the kept model on held-out text, stream protocol; None without one.
        val_chars: predictions that `val_loss_nats` is the mean of: the validation part, or its beginning if that is
            more than a tenth of the characters trained on.
        train_loss_nats: the kept model on training text, by the same protocol, dropout off.
        ngram_bits_per_char: the n-gram of the best order, primed with the training part, on the same text.
        xz_bits_per_char: xz, primed with the training part, on the same text.
        baseline_train_chars: characters of the training part that primed both, from its end.
        verdicts: conclusions from these numbers, the most important first.
        steps_plan: the learning-rate plan as executed, to repeat the run by steps.
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
    baseline_train_chars: int
    verdicts: tuple[Verdict, ...]
    steps_plan: str


Event = (
    Preparing
    | Started
    | Progress
    | UpdateStats
    | Watched
    | EpochEnd
    | Validation
    | Sampled
    | Saved
    | Closing
    | Finished
)


def announced(
    what: str,
    steps: Generator[float, None, Result],
    kind: Callable[[str, float], Announced],
) -> Generator[Announced, None, Result]:
    """Take steps that yield the share done; yield an event for each, and return their result."""
    yield kind(what, 0.0)
    return (yield from mapped(steps, partial(kind, what)))


def to_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object with its kind under ``event``; arrays are rounded to six significant digits."""
    kind = "signals" if isinstance(event, UpdateStats) else type(event).__name__.lower()
    values = {key: _rounded(value) for key, value in asdict(event).items()}
    return {"event": kind, **values}


def _rounded(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_six(x) for x in value]
    if isinstance(value, dict):
        return {key: _six(x) if isinstance(x, float) else _rounded(x) for key, x in value.items()}
    return value


def _six(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
