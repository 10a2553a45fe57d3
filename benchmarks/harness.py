"""What every benchmark shares: interleaved timing, medians, and a result file that says where it was measured."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from charloom import threads
from charloom.launch import versions

RESULTS = Path(__file__).parent / "results"


def interleave(contestants: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Time each contestant once a round, in turn, after one unmeasured round: seconds.

    Taking turns lets a slow spell of a shared machine hit all of them alike.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the round-by-round ratios."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def machine() -> dict[str, Any]:
    """Where a figure was measured."""
    return {
        "processor": _processor(),
        "cores": threads.available(),
        "system": platform.platform(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }


def write_results(name: str, results: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the machine beside the figures."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
