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
from charloom.kernels.library import library

_LIBRARIES = {"torch": "torch", "scratch": "numpy"}
"""The library that each engine needs; fused needs the compiled kernels."""

Task = Literal["training", "scoring", "writing"]

_AUTO: dict[Task, tuple[str, ...]] = {
    "training": ("torch", "scratch"),
    "scoring": ("fused", "torch", "scratch"),
    "writing": ("fused", "scratch"),
}
"""The engines that ``auto`` tries for each task, in order."""


def auto_engine(task: Task = "training") -> str:
    """The engine that ``auto`` selects on this machine; nothing is imported."""
    return next(engine for engine in _AUTO[task] if _is_installed(engine))


def _is_installed(engine: str) -> bool:
    return library() is not None if engine == "fused" else find_spec(_LIBRARIES[engine]) is not None


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
    if name not in (*_LIBRARIES, "fused"):
        raise ConfigError(
            f"engine is {name!r}",
            why="no engine has that name",
            fix=f"use --engine auto, {', '.join(_LIBRARIES)}, fused",
        )
    if not _is_installed(name):
        if name == "torch":
            raise missing_extra("torch", "train", "the torch engine")
        raise ConfigError(
            f"engine is {name!r} and the compiled kernels are not here",
            why="they were not built for this platform, or CHARLOOM_CPU=none leaves them out",
            fix="use --engine auto, or install charloom's wheel for this platform",
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
