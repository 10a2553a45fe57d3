"""Training curve of a recorded run: stages, blow-ups and clipping, each found by a rule.

A run is split into `BINS` equal parts; m is the median training loss of a part, nats per character, and low the
lowest m before it.

    blow-up      a step whose loss > max(3 low, low + 0.5), until a whole part is below it again     (1)
    memorising   held-out − m > 1 nat, and m under half of held-out, interpolated between validations     (2)
    unstable     held-out > 0.02 nats above its lowest so far, and m, the median of five parts, > 0.05 above what
                 it was then                                                                         (3)
    overfitting  held-out > 0.02 nats above its lowest so far, and > 0.1 nats above m              (4)
    learning     m falls by 2 % or more from five parts before to five parts after                   (5)
    settled      none of these                                                                       (6)
    clipped      a step whose gradient norm was above the clipping threshold                         (7)

A stage is three or more consecutive parts of one kind. The gradient's size does not decide the kind, it is only
reported: a small gradient means "nothing left to learn" in (2) and (6), and could mean "vanished" only if the
loss were still large.

Source: (2) to (4) as in `charloom.training.verdict`; the other thresholds are our choice.
Shapes: S steps, N points kept of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.summary import short_fields
from charloom.training.verdict import OVERFITTED, OVERFITTED_GAP, UNSTABLE, is_memorised

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

BINS = 100
POINTS = 600
"""Points kept of a curve: a page is about 600 pixels wide."""

BLOWN_FACTOR, BLOWN_NATS = 3.0, 0.5
LEARNING_FALL, LEARNING_PARTS = 0.02, 5
UNSTABLE_PARTS = 5
SHORTEST_STAGE = 3


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One value per step, downsampled: last step of each point (from 1), and median and maximum over its steps."""

    steps: Int[Array, "N"]
    median: Float[Array, "N"]
    top: Float[Array, "N"]

    __repr__ = short_fields


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """A range of steps of one kind: learning, overfitting, memorising, unstable, settled or blown up.

    Steps count from 1; losses (nats) and gradient norms are the medians of the first and last part of the stage.
    """

    kind: str
    first_step: int
    last_step: int
    loss_from: float
    loss_to: float
    grad_norm_from: float
    grad_norm_to: float


@dataclass(frozen=True, slots=True)
class BlowUp:
    """A sudden rise of the loss far above its previous low, (1); steps count from 1, losses are in nats.

    The gradient norm is before clipping; `parameter` has the gradient that grew most relative to its earlier median,
    None if none was observed.
    """

    first_step: int
    last_step: int
    loss_before: float
    peak_loss: float
    peak_grad_norm: float
    parameter: str | None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCurve:
    """The recorded training of a run.

    Attributes:
        num_steps: updates.
        steps_per_epoch: updates per pass over the text.
        loss: training loss before each update, nats.
        grad_norm: over all parameters, before clipping.
        parameters: (step, gradient norm, update as a share of the weights) of each parameter at the steps observed.
        validations: (step, held-out loss in nats).
        clip_norm: the clipping threshold; None without one.
        clip_rate: share of the updates above the threshold.
    """

    num_steps: int
    steps_per_epoch: int
    loss: Curve
    grad_norm: Curve
    parameters: Mapping[str, tuple[tuple[int, float, float | None], ...]]
    validations: tuple[tuple[int, float], ...]
    clip_norm: float | None
    clip_rate: float | None
    stages: tuple[TrainingStage, ...]
    blow_ups: tuple[BlowUp, ...]

    __repr__ = short_fields


def training_curve(events: Iterable[Mapping[str, Any]], *, clip_norm: float | None) -> TrainingCurve | None:
    """Reconstruct a training curve from the events of a run; None if fewer than `BINS` updates were recorded.

    Args:
        events: as yielded by `Run.events`; steps repeated after a resume replace the earlier ones.
        clip_norm: the clipping threshold in the run's settings.
    """
    recorded = list(events)
    loss, norm = _series(recorded, "loss"), _series(recorded, "grad_norm")
    if len(loss) < BINS or not np.isfinite(loss).any():
        return None
    by_step = {event["step"]: event["loss"] for event in recorded if event.get("event") == "validation"}
    validations = tuple(sorted(by_step.items()))
    parameters = _parameters(recorded)
    edges = np.linspace(0, len(loss), BINS + 1).astype(int)
    medians = _medians(loss, edges)
    blow_ups = _blow_ups(loss, norm, edges, medians, parameters)
    kinds = _kinds(medians, edges, validations, blow_ups)
    started = next((event for event in recorded if event.get("event") == "started"), {})
    return TrainingCurve(
        num_steps=len(loss),
        steps_per_epoch=started.get("steps_per_epoch", len(loss)),
        loss=_downsampled(loss),
        grad_norm=_downsampled(norm),
        parameters=parameters,
        validations=validations,
        clip_norm=clip_norm,
        clip_rate=None if clip_norm is None else float((norm > clip_norm).mean()),
        stages=_stages(kinds, edges, medians, _medians(norm, edges)),
        blow_ups=blow_ups,
    )


def _series(events: Sequence[Mapping[str, Any]], key: str) -> Float[Array, "S"]:
    """One value per step, in order of steps."""
    parts = [event for event in events if event.get("event") == "progress"]
    values: Array = np.full(max((part["step"] for part in parts), default=0), np.nan)
    for part in parts:
        values[part["first_step"] : part["step"]] = part[key]
    return values


def _parameters(
    events: Sequence[Mapping[str, Any]],
) -> dict[str, tuple[tuple[int, float, float | None], ...]]:
    observed: dict[str, dict[int, tuple[int, float, float | None]]] = {}
    for event in events:
        if event.get("event") == "signals":
            for name, one in event["parameters"].items():
                at = observed.setdefault(name, {})
                at[event["step"]] = (event["step"], one["grad_norm"], one["update_ratio"])
    return {name: tuple(at[step] for step in sorted(at)) for name, at in observed.items()}


def _medians(values: Float[Array, "S"], edges: Int[Array, "E"]) -> Float[Array, "B"]:
    return np.array([np.nanmedian(values[a:b]) for a, b in pairwise(edges)])


def _downsampled(values: Float[Array, "S"]) -> Curve:
    edges = np.unique(np.linspace(0, len(values), POINTS + 1).astype(int))
    top = np.array([np.nanmax(values[a:b]) for a, b in pairwise(edges)])
    return Curve(edges[1:], _medians(values, edges), top)


def _blow_ups(
    loss: Float[Array, "S"],
    norm: Float[Array, "S"],
    edges: Int[Array, "E"],
    medians: Float[Array, "B"],
    parameters: Mapping[str, tuple[tuple[int, float, float | None], ...]],
) -> tuple[BlowUp, ...]:
    """Rule (1), for each part after the first."""
    found: list[BlowUp] = []
    begun: int | None = None
    low, lowest = float(medians[0]), float(medians[0])
    for part in range(1, len(medians)):
        a, b = int(edges[part]), int(edges[part + 1])
        if begun is None:
            low = lowest = min(lowest, float(medians[part - 1]))
        above = np.flatnonzero(loss[a:b] > max(BLOWN_FACTOR * low, low + BLOWN_NATS))
        if len(above):
            begun = a + int(above[0]) if begun is None else begun
            last = a + int(above[-1])
        if begun is not None and (not len(above) or part == len(medians) - 1):
            peak_loss, peak_norm = (float(values[begun : last + 1].max()) for values in (loss, norm))
            parameter = _grown_most(parameters, begun, last)
            found.append(BlowUp(begun + 1, last + 1, low, peak_loss, peak_norm, parameter))
            begun = None
    return tuple(found)


def _grown_most(
    parameters: Mapping[str, tuple[tuple[int, float, float | None], ...]], begun: int, last: int
) -> str | None:
    growth = {}
    for name, seen in parameters.items():
        before = [norm for step, norm, _ in seen if step <= begun]
        during = [norm for step, norm, _ in seen if begun < step <= last + 1]
        if before and during and np.median(before) > 0:
            growth[name] = max(during) / float(np.median(before))
    return max(growth, key=growth.__getitem__) if growth else None


def _kinds(
    medians: Float[Array, "B"],
    edges: Int[Array, "E"],
    validations: Sequence[tuple[int, float]],
    blow_ups: Sequence[BlowUp],
) -> list[str]:
    """The kind of each part, by rules (1) to (6)."""
    blown = np.array(
        [any(one.first_step <= b and one.last_step > a for one in blow_ups) for a, b in pairwise(edges)]
    )
    # recovering from a blow-up is not learning, so its parts keep the loss from before it
    kept = np.maximum.accumulate(np.where(blown, 0, np.arange(len(medians))))
    kinds, medians = [], medians[kept]
    steps, losses = np.array(validations, np.float64).reshape(-1, 2).T
    held = np.interp(edges[1:], steps, losses) if validations else np.full(BINS, np.nan)
    lowest = np.minimum.accumulate(held)
    smooth = [float(np.median(medians[max(0, part - UNSTABLE_PARTS + 1) : part + 1])) for part in range(BINS)]
    for part, m in enumerate(medians):
        before, after = medians[max(0, part - LEARNING_PARTS)], medians[min(BINS - 1, part + LEARNING_PARTS)]
        rose = held[part] - lowest[part] > OVERFITTED
        if blown[part]:
            kinds.append("blown up")
        elif is_memorised(m, held[part]):
            kinds.append("memorising")
        elif rose and smooth[part] - smooth[int(np.argmin(held[: part + 1]))] > UNSTABLE:
            kinds.append("unstable")
        elif rose and held[part] - m > OVERFITTED_GAP:
            kinds.append("overfitting")
        elif before - after >= LEARNING_FALL * before:
            kinds.append("learning")
        else:
            kinds.append("settled")
    return kinds


def _stages(
    kinds: Sequence[str], edges: Int[Array, "E"], losses: Float[Array, "B"], norms: Float[Array, "B"]
) -> tuple[TrainingStage, ...]:
    """Merge parts of one kind; too short a run joins the previous one unless either is a blow-up."""
    joined: list[list[Any]] = []
    for kind, run in groupby(range(len(kinds)), key=kinds.__getitem__):
        parts = list(run)
        apart = "blown up" in (kind, *(one[0] for one in joined[-1:]))
        if joined and (joined[-1][0] == kind or (len(parts) < SHORTEST_STAGE and not apart)):
            joined[-1][2] = parts[-1]
        else:
            joined.append([kind, parts[0], parts[-1]])
    return tuple(
        TrainingStage(
            kind,
            int(edges[a]) + 1,
            int(edges[b + 1]),
            *(float(values[part]) for values in (losses, norms) for part in (a, b)),
        )
        for kind, a, b in joined
    )
