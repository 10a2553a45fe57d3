"""Shared by all benchmarks: interleaved timing, medians, and result files that name the machine."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charloom import threads
from charloom.jobs import versions

RESULTS = Path(__file__).parent / "results"

_ENVIRONMENT = dict(os.environ)
"""The environment from the user's shell, before a loaded engine sets shorter OpenMP waits in it."""


def interleave(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, warm: bool = False
) -> dict[str, list[float]]:
    """Time each contestant once per round, taking turns, after one unmeasured round; return seconds.

    Taking turns means that a slow phase of a shared machine affects all of them alike.

    Args:
        contestants: the functions to time, by name.
        rounds: measured runs of each.
        warm: start each turn with an unmeasured run. If programs in several processes take turns, the threads of the
            previous one keep spinning for some 20 ms after their last loop, and a processor left idle is slow for as
            long.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            if warm:
                run()
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


@contextmanager
def apart(make: Callable[..., Callable[[], object]], *arguments: object) -> Iterator[Callable[[], object]]:
    """Run a contestant for `interleave` in its own process, with its own memory and thread settings.

    `make` is an importable function that returns the function to run; modules that read the environment on
    import, such as torch, are imported inside it.

    Raises:
        EOFError: raised by a run if the other process failed; the cause is on its stderr.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, _ENVIRONMENT, make, arguments), daemon=True)
    process.start()
    there.close()

    def run() -> None:
        here.send("run")
        here.recv()

    try:
        yield run
    finally:
        here.close()
        process.join()


def _serve(
    pipe: Any,
    environment: Mapping[str, str],
    make: Callable[..., Callable[[], object]],
    arguments: Sequence[object],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with threads.limit(None):
        run = make(*arguments)
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            run()
            pipe.send("done")


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the ratios per round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


PRODUCTS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instructions that determine the speed of matrix products; the processor's name does not imply them."""


def machine() -> dict[str, Any]:
    """The machine, software and date of a measurement."""
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "multiplies_with": " ".join(found for found in PRODUCTS if found in _cpuinfo("flags").split()),
        **({} if (name := gpu()) is None else {"gpu": name}),
        "cores": threads.available(),
        "system": platform.platform(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }


def gpu() -> str | None:
    """The first CUDA device's name, or None."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def write_results(name: str, results: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` with the figures and the machine."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(as_text({"machine": machine(), **results}), encoding="utf-8")
    return path


def write_parts(name: str, parts: Mapping[str, Callable[[], Mapping[str, Any]]]) -> Path:
    """Measure parts, writing each with its machine to ``results/NAME.json`` when done; keep the other parts."""
    path = RESULTS / f"{name}.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for part, measure in parts.items():
        kept[part] = {"machine": machine(), **measure()}
        path.write_text(as_text(kept), encoding="utf-8")
    return path


def as_text(results: Mapping[str, Any]) -> str:
    """JSON with one line per value and one line per list of numbers.

    Example:
        >>> print(as_text({"seed": 0, "means": [2.5, None]}), end="")
        {
         "seed": 0,
         "means": [2.5, null]
        }
    """
    text = json.dumps(results, ensure_ascii=False, indent=1)
    numbers = re.compile(
        r"\[\s+((?:-?[\d.]+(?:[eE][-+]?\d+)?|null)(?:,\s+(?:-?[\d.]+(?:[eE][-+]?\d+)?|null))*)\s+\]"
    )
    return numbers.sub(lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text) + "\n"


def mean_and_sd(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation over the seeds; a single seed has no deviation.

    Example:
        >>> mean_and_sd([1.0, 2.0, 3.0]), mean_and_sd([1.5])
        ({'mean': 2.0, 'sd': 1.0}, {'mean': 1.5, 'sd': None})
    """
    sd = rounded(statistics.stdev(values)) if len(values) > 1 else None
    return {"mean": rounded(statistics.fmean(values)), "sd": sd}


def rounded(value: float) -> float:
    """Round to the four significant digits used in result files.

    Example:
        >>> rounded(0.0123456)
        0.01235
    """
    return float(f"{value:.4g}")


def _cpuinfo(key: str) -> str:
    """A field of the first processor in /proc/cpuinfo, empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
