"""Checks shared by the engines: unsupported settings, frozen parameters, non-finite numbers."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import TrainConfig
from charloom.errors import ConfigError, DivergedError

if TYPE_CHECKING:
    from numpy import ndarray as Array


def diverged(
    step: int, loss: float, non_finite: Mapping[str, int], params: Mapping[str, Array]
) -> DivergedError:
    """The error for an update that was not taken.

    Args:
        step: its number.
        loss: its mean loss, in nats.
        non_finite: the number of non-finite elements in each gradient.
        params: the parameters before it, the first of which that is not finite is named.
    """
    bad = {name: count for name, count in non_finite.items() if count}
    worst = next((name for name, count in count_non_finite(params).items() if count), None)
    first = next(iter(bad), None)
    found = f"the loss is {loss}" if first is None else f"the gradient of {first} is not finite"
    error = DivergedError(
        f"step {step}: {found if worst is None else f'the parameter {worst} is not finite'}",
        why="training cannot continue from a non-finite loss or gradient",
        fix="lower --learning-rate, or set --clip-norm 1; earlier checkpoints are kept",
    )
    error.non_finite = bad
    return error


def count_non_finite(arrays: Mapping[str, Array]) -> dict[str, int]:
    """How many elements of each array are not finite."""
    return {name: int(np.size(array) - np.isfinite(array).sum()) for name, array in arrays.items()}


def cpu_only(name: str, engine: str) -> str:
    """Return ``cpu``, the only device of an engine, also for ``auto``; refuse other names with a ConfigError."""
    if name not in ("auto", "cpu"):
        raise ConfigError(
            f"device is {name!r} and engine is {engine}",
            why=f"the {engine} engine runs on the CPU only",
            fix="use --device auto, or --engine torch",
        )
    return "cpu"


def refuse_fused_only(name: str, precision: str, threads: int | None, *, portable: bool) -> None:
    """Refuse with a ConfigError what only the fused engine supports: int8, a number of threads, portable sums."""
    asked = {
        f"precision is {precision!r}": precision == "int8",
        f"threads is {threads}": threads is not None,
        "portable is on": portable,
    }
    what = next((what for what, is_asked in asked.items() if is_asked), None)
    if what is not None:
        raise ConfigError(
            f"{what} and engine is {name}",
            why="int8 matrices, several threads for one stream and portable sums are of the fused engine only",
            fix="use --engine fused, or leave the setting out",
        )


def refuse_ranks(engine: str, config: TrainConfig, num_ranks: int = 1) -> None:
    """Refuse with a ConfigError what only the torch engine divides: a batch among ranks, lane groups or replicas."""
    values = {"lane_groups": config.lane_groups, "sync_every": config.sync_every}
    asked = [f"{name} is {value}" for name, value in values.items() if value is not None]
    what = f"there are {num_ranks} ranks" if num_ranks > 1 else next(iter(asked), None)
    if what is not None:
        raise ConfigError(
            f"{what} and engine is {engine}",
            why="only the torch engine divides a batch among processes, groups of lanes or replicas",
            fix="use --engine torch (pip install 'charloom[train]'), or train in one process without them",
        )


def frozen_parameters(config: TrainConfig, names: Iterable[str]) -> frozenset[str]:
    """The parameters that `freeze` names.

    Raises:
        ConfigError: a pattern matches no parameter, or every parameter is frozen.
    """
    names, frozen = list(names), set()
    for pattern in (part.strip() for part in (config.freeze or "").split(",") if part.strip()):
        found = fnmatch.filter(names, pattern)
        if not found:
            raise ConfigError(
                f"freeze is {config.freeze!r}",
                why=f"no parameter matches {pattern}: this network has {', '.join(names)}",
                fix="use one of these names, or a pattern such as 'layers.0.*'",
            )
        frozen.update(found)
    if names and len(frozen) == len(names):
        raise ConfigError(
            f"freeze is {config.freeze!r}", why="nothing is left to train", fix="leave some parameters free"
        )
    return frozenset(frozen)
