"""Load an engine by name; its library is imported only then."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from charloom import threads
from charloom.engines.contract import Engine
from charloom.errors import ConfigError, missing_extra

_LIBRARIES = {"torch": "torch", "scratch": "numpy", "fused": "numba"}
"""The library that each engine needs."""

Task = Literal["training", "scoring", "writing"]

_AUTO: dict[Task, tuple[str, ...]] = {
    "training": ("torch", "scratch"),
    "scoring": ("fused", "torch", "scratch"),
    "writing": ("fused", "scratch"),
}
"""The engines that ``auto`` tries for each task, in order."""


def auto_engine(task: Task = "training") -> str:
    """The engine that ``auto`` selects on this machine; nothing is imported."""
    return next(engine for engine in _AUTO[task] if find_spec(_LIBRARIES[engine]) is not None)


def load_engine(name: str, *, task: Task = "training") -> Engine:
    """Import an engine: torch, scratch, fused or auto.

    ``auto`` is torch for training, and fused for scoring and writing, which it does on a CPU only; without the
    library that one needs, it is the next that can do the task.

    Raises:
        ConfigError: the engine does not exist, or its library does not support this Python.
        MissingExtraError: its library is not installed.
    """
    if name == "auto":
        name = auto_engine(task)
    if name not in _LIBRARIES:
        raise ConfigError(
            f"engine is {name!r}",
            why="no engine has that name",
            fix=f"use --engine auto, {', '.join(_LIBRARIES)}",
        )
    if find_spec(_LIBRARIES[name]) is None:
        if name == "torch":
            raise missing_extra("torch", "train", "the torch engine")
        raise ConfigError(
            f"engine is {name!r} and {_LIBRARIES[name]} is not installed",
            why="the compiled loops need it; it may not support a new Python yet",
            fix=f"pip install {_LIBRARIES[name]}, or use --engine auto",
        )
    threads.wait_briefly()
    with _without_collection():
        engine: Engine = import_module(f"charloom.engines.{name}").ENGINE
    return engine


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Pause Python's collector: an import makes little garbage, and looking for it takes a seventh of torch's."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
