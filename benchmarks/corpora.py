"""Corpora of any size: how fast and in how much memory `prepare` encodes, and what a training step costs.

python -m benchmarks corpora --text enwik8 [--times 10]

`prepare` runs as a user starts it, on the text and on the text repeated; speed is bytes by seconds of processor time
(user and system) of the whole process, which uses one core. Then training steps from a memory-mapped corpus of 1 MB
and of the repeated text, both of bytes, take turns; the ratio is the median over the rounds, for each way of batching.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import interleave, median_ratio, rounded, write_results
from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.parameters import initial_parameters
from charloom.text import open_prepared
from charloom.text.batching import Plan

SMALL_BYTES = 1_000_000
ROUNDS, STEPS, WINDOWS = 25, 20, 2_000
WAYS: dict[str, dict[str, Any]] = {
    "stream": {"batching": "stream"},
    "random": {"batching": "random"},
    "shuffled": {"batching": "sliding", "stride": 64, "order": "shuffled"},
}
CASES: dict[str, list[str]] = {
    "characters": [],
    "bytes": ["--unit", "byte"],
    "lines": ["--documents", "line"],
}


def repeated(text: Path, times: int, folder: Path) -> Path:
    """The text that many times in one file."""
    out = folder / f"{times}x.txt"
    with out.open("wb") as whole:
        for _ in range(times):
            with text.open("rb") as part:
                while block := part.read(1 << 24):
                    whole.write(block)
    return out


def prepared(text: Path, out: Path, options: list[str]) -> dict[str, float]:
    """Prepare a text in a process of its own; return its speed and its peak memory."""
    words = [sys.executable, "-m", "charloom", "prepare", str(text), "--out", str(out), "--quiet", *options]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "prepare failed"
    megabytes, cpu_s = text.stat().st_size / 1e6, usage.ru_utime + usage.ru_stime
    return {
        "megabytes": megabytes,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "mb_per_s_per_core": megabytes / cpu_s,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def stepper(path: Path, way: dict[str, Any]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Functions that take `STEPS` training steps, and that only read `WINDOWS` windows; each goes on from the last."""
    corpus = open_prepared(path)
    config = TrainConfig(batch_size=32, bptt_length=64, **way)
    model = ModelConfig(cell="lstm", block="plain", hidden_size=128)
    plan = Plan(corpus.train, config)
    learner = load_engine("torch").learner(
        initial_parameters(model, len(corpus.vocab), 0), model, config, device="cpu"
    )
    at: dict[str, Any] = {"step": 0, "state": learner.initial_state(range(plan.batch_size)), "window": 0}

    def steps() -> None:
        at["state"], _ = learner.advance(plan, at["step"], STEPS, at["state"])
        at["step"] += STEPS

    def windows() -> None:
        for step in range(at["window"], at["window"] + WINDOWS):
            plan.window(step, range(plan.batch_size))
        at["window"] += WINDOWS

    return steps, windows


def steps_by_size(small: Path, large: Path) -> dict[str, Any]:
    """For each way of batching, steps per second from both corpora, taking turns, and the ratio of their times."""
    rows = {}
    for name, way in WAYS.items():
        both = {"small": stepper(small, way), "large": stepper(large, way)}
        step_s = interleave({size: found[0] for size, found in both.items()}, rounds=ROUNDS)
        window_s = interleave({size: found[1] for size, found in both.items()}, rounds=5)
        rows[name] = {
            **{f"{size}_steps_per_s": STEPS / statistics.median(found) for size, found in step_s.items()},
            "large_to_small": median_ratio(step_s["large"], step_s["small"]),
            **{
                f"{size}_window_us": 1e6 * statistics.median(found) / WINDOWS
                for size, found in window_s.items()
            },
        }
        print(name, {key: rounded(value) for key, value in rows[name].items()}, flush=True)
    return rows


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, print and write ``results/corpora.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks corpora")
    parser.add_argument("--text", type=Path, required=True, help="a text of 100 MB, such as enwik8")
    parser.add_argument("--times", type=int, default=10)
    asked = parser.parse_args(list(arguments))
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = repeated(asked.text, asked.times, folder)
        with asked.text.open("rb") as file:
            (folder / "small.txt").write_bytes(file.read(SMALL_BYTES))
        for case, options in CASES.items():
            for times, text in ((1, asked.text), (asked.times, large)):
                out = folder / f"{case}-{times}.ids"
                rows[f"{case}, {times}×"] = found = prepared(text, out, options)
                print(case, times, {key: rounded(value) for key, value in found.items()}, flush=True)
                if (case, times) != ("bytes", asked.times):
                    out.unlink()
        prepared(folder / "small.txt", folder / "small.ids", CASES["bytes"])
        with threads.limit(1):
            steps = steps_by_size(folder / "small.ids", folder / f"bytes-{asked.times}.ids")
    results = {"text": asked.text.name, "times": asked.times, "prepare": rows, "steps": steps}
    print(write_results("corpora", _all_rounded(results)))


def _all_rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _all_rounded(inner) for key, inner in value.items()}
    return rounded(value) if isinstance(value, float) else value


if __name__ == "__main__":
    main(sys.argv[1:])
