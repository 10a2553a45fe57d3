"""The course of a training, from what it recorded: stages, blow-ups and clipping, each found by a rule.

A run is cut into `BINS` equal parts; m is the median training loss of a part, nats a character, and low the lowest m before it.

    blow-up      a step whose loss > max(3 low, low + 0.5), until a whole part is below it again             (1)
    memorising   held-out − m > 1 nat, and m under half of held-out; held-out between two validations is interpolated    (2)
    learning     m falls by 2 % or more from five parts before to five parts after                           (3)
    settled      none of these                                                                               (4)
    clipped      a step whose gradient norm was above the ceiling                                            (5)

A stage is a run of parts of one kind, three or more. The gradient's size decides nothing: it is told beside each stage, for a small
gradient means "nothing left to learn" where (2) or (4) holds and would mean "nothing comes back" only where the loss is still large.

Source: (2) as in `charloom.training.verdict`; the other thresholds are our choice.
Shapes: S steps, N points kept of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.training.verdict import MEMORISED_GAP, MEMORISED_SHARE

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

BINS = 100
POINTS = 600
"""Points kept of a curve: a page is some 600 pixels wide."""

BLOWN_FACTOR, BLOWN_NATS = 3.0, 0.5
LEARNING_FALL, LEARNING_PARTS = 0.02, 5
SHORTEST_STAGE = 3


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One number a step, thinned: every point stands for as many steps as its neighbour.

    Attributes:
        steps: the last step of each point, from 1, (N,).
        median: over the point's steps, (N,).
        top: the largest of them, (N,).
    """

    steps: Int[Array, "N"]
    median: Float[Array, "N"]
    top: Float[Array, "N"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run that has one name.

    Attributes:
        kind: learning, memorising, settled or blown up.
        first_step: from 1.
        last_step: of the stage.
        loss_from: median loss of its first part, nats.
        loss_to: of its last part.
        grad_norm_from: median gradient norm of its first part.
        grad_norm_to: of its last part.
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
    """The loss left what it had reached; (1).

    Attributes:
        first_step: from 1.
        last_step: the last one above the threshold.
        loss_before: low, nats.
        peak_loss: the highest.
        peak_grad_norm: the highest, before clipping.
        parameter: whose gradient had grown most, against its median before; None where none was observed.
    """

    first_step: int
    last_step: int
    loss_before: float
    peak_loss: float
    peak_grad_norm: float
    parameter: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What a run recorded of its training.

    Attributes:
        num_steps: updates taken.
        steps_per_epoch: updates that make one pass over the text.
        loss: training loss, nats, before each update.
        grad_norm: over all parameters, before clipping.
        parameters: of each parameter (step, gradient norm, update as a share of the weights) where it was observed.
        validations: (step, held-out loss in nats).
        clip_norm: the ceiling; None without one.
        clip_rate: share of the updates above it.
        stages: in order.
        blow_ups: in order.
    """

    num_steps: int
    steps_per_epoch: int
    loss: Curve
    grad_norm: Curve
    parameters: Mapping[str, tuple[tuple[int, float, float | None], ...]]
    validations: tuple[tuple[int, float], ...]
    clip_norm: float | None
    clip_rate: float | None
    stages: tuple[Stage, ...]
    blow_ups: tuple[BlowUp, ...]


def course(events: Iterable[Mapping[str, Any]], *, clip_norm: float | None) -> Course | None:
    """Read the course of a training from its events.

    Args:
        events: as `Run.events` gives them; what was repeated after a resume counts as it was repeated.
        clip_norm: the ceiling of the run's settings.

    Returns:
        The course; None where fewer than `BINS` updates were recorded.
    """
    found = list(events)
    loss, norm = _series(found, "loss"), _series(found, "grad_norm")
    if len(loss) < BINS or not np.isfinite(loss).any():
        return None
    by_step = {event["step"]: event["loss"] for event in found if event.get("event") == "validation"}
    validations = tuple(sorted(by_step.items()))
    parameters = _parameters(found)
    edges = np.linspace(0, len(loss), BINS + 1).astype(int)
    medians = _medians(loss, edges)
    blow_ups = _blow_ups(loss, norm, edges, medians, parameters)
    kinds = _kinds(medians, edges, validations, blow_ups)
    return Course(
        num_steps=len(loss),
        steps_per_epoch=next((e["steps_per_epoch"] for e in found if e.get("event") == "started"), len(loss)),
        loss=_thinned(loss),
        grad_norm=_thinned(norm),
        parameters=parameters,
        validations=validations,
        clip_norm=clip_norm,
        clip_rate=None if clip_norm is None else float((norm > clip_norm).mean()),
        stages=_stages(kinds, edges, medians, _medians(norm, edges)),
        blow_ups=blow_ups,
    )


def memorised_in(found: Course) -> tuple[int, float, float] | None:
    """Of the last stage of memorising, its first step and the training and held-out loss that it ended with; None without one."""
    stage = next((one for one in reversed(found.stages) if one.kind == "memorising"), None)
    if stage is None:
        return None
    steps, losses = np.array(found.validations, np.float64).T
    return stage.first_step, stage.loss_to, float(np.interp(stage.last_step, steps, losses))


def _series(events: Sequence[Mapping[str, Any]], key: str) -> Float[Array, "S"]:
    """One number a step, in the order of steps."""
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


def _thinned(values: Float[Array, "S"]) -> Curve:
    edges = np.unique(np.linspace(0, len(values), POINTS + 1).astype(int))
    pairs = list(pairwise(edges))
    top = np.array([np.nanmax(values[a:b]) for a, b in pairs])
    return Curve(edges[1:], _medians(values, edges), top)


def _blow_ups(
    loss: Float[Array, "S"],
    norm: Float[Array, "S"],
    edges: Int[Array, "E"],
    medians: Float[Array, "B"],
    parameters: Mapping[str, tuple[tuple[int, float, float | None], ...]],
) -> tuple[BlowUp, ...]:
    """Rule (1), part by part; the first part has nothing before it."""
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
            parameter = _grown_most(parameters, begun, last)
            stretch = slice(begun, last + 1)
            found.append(
                BlowUp(
                    begun + 1,
                    last + 1,
                    low,
                    float(loss[stretch].max()),
                    float(norm[stretch].max()),
                    parameter,
                )
            )
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
    """The kind of every part, by rules (1) to (4)."""
    blown = np.array(
        [any(one.first_step <= b and one.last_step > a for one in blow_ups) for a, b in pairwise(edges)]
    )
    # what a blow-up falls back to is no learning: across it the loss stays what it was before
    kept = np.maximum.accumulate(np.where(blown, 0, np.arange(len(medians))))
    kinds, medians = [], medians[kept]
    steps, losses = np.array(validations, np.float64).reshape(-1, 2).T
    held = np.interp(edges[1:], steps, losses) if validations else np.full(BINS, np.nan)
    for part, m in enumerate(medians):
        before, after = medians[max(0, part - LEARNING_PARTS)], medians[min(BINS - 1, part + LEARNING_PARTS)]
        if blown[part]:
            kinds.append("blown up")
        elif held[part] - m > MEMORISED_GAP and m < MEMORISED_SHARE * held[part]:
            kinds.append("memorising")
        elif before - after >= LEARNING_FALL * before:
            kinds.append("learning")
        else:
            kinds.append("settled")
    return kinds


def _stages(
    kinds: Sequence[str], edges: Int[Array, "E"], losses: Float[Array, "B"], norms: Float[Array, "B"]
) -> tuple[Stage, ...]:
    """Runs of parts of one kind; one that is too short joins what stands before it, but neither is a blow-up."""
    runs: list[list[Any]] = []
    for part, kind in enumerate(kinds):
        if runs and runs[-1][0] == kind:
            runs[-1][2] = part
        else:
            runs.append([kind, part, part])
    joined: list[list[Any]] = []
    for run in runs:
        short = run[2] - run[1] + 1 < SHORTEST_STAGE
        apart = "blown up" in (run[0], *(one[0] for one in joined[-1:]))
        if joined and (joined[-1][0] == run[0] or (short and not apart)):
            joined[-1][2] = run[2]
        else:
            joined.append(run)
    return tuple(
        Stage(
            kind,
            int(edges[first]) + 1,
            int(edges[last + 1]),
            float(losses[first]),
            float(losses[last]),
            float(norms[first]),
            float(norms[last]),
        )
        for kind, first, last in joined
    )
