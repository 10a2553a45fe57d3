"""Whether a resumed run can end with the bytes of an uninterrupted one: on what it ran before, and on what now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charloom.config import TrainConfig
from charloom.kernels.library import level_in_use
from charloom.runs import Run
from charloom.versions import versions


def lapse_of_exactness(run: Run, config: TrainConfig, *, num_threads: int, device: str) -> tuple[str, ...]:
    """A note if the run continues on other versions, another processor or level of it, device or number of threads.

    Sums are divided among threads and rounded in another order, unless `lane_groups` fixes it (Muon's products are
    divided too), and other versions may round differently.
    """
    started = [event for event in run.events() if event.get("event") == "started"]
    before: dict[str, Any] = dict(run.config().get("versions", {}))
    if started:
        before |= {name: started[-1].get(name) or None for name in ("threads", "device", "kernels")}
    now: dict[str, Any] = {**versions(), "device": device, "kernels": level_in_use()}
    if config.lane_groups is None or config.optimizer == "muon":
        now["threads"] = num_threads
    changes = _changes(before, now)
    if not changes:
        return ()
    return (
        f"the run continues with {', '.join(changes)}: the result will be as good, "
        "but not byte-identical to an uninterrupted run",
    )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each recorded value that is another one now, as ``1 thread instead of 2``."""
    different = {name: now[name] for name in now if before.get(name) not in (None, now[name])}
    return [_named(name, value, before[name]) for name, value in different.items()]


def _named(name: str, value: Any, before: Any) -> str:
    if name == "threads":
        return f"{value} {'thread' if value == 1 else 'threads'} instead of {before}"
    if name == "kernels":
        return f"kernels of the processor level {value} instead of {before}"
    if name in ("device", "processor", "machine"):
        return f"the {name} {value} instead of {before}"
    return f"{name} {value} instead of {before}"
