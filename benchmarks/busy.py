"""What other work on one core costs: the wall time of each verb beside a spinning process, as a multiple of idle.

python -m benchmarks busy               three rounds, about 15 minutes
python -m benchmarks busy --rounds 1    a quick look
python -m benchmarks busy --only eval   these verbs; the others keep their rows, each with its date

A process that only counts is pinned to core 0. Each verb then runs as a process of its own, as a user calls it, in turn
without and with it; the ratio is of the medians. Half of two cores is gone, so work that uses both cannot cost less
than a factor of 2, and a factor above it is time spent waiting for a core instead of computing.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, rounded, write_results
from benchmarks.overhead import head_of_text
from benchmarks.trials import data_file

LIMIT = 2.2
SMALL = ["--cell", "gru", "--hidden-size", "64"]
SPIN = """
import os
if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {0})
parent = os.getppid()
while os.getppid() == parent: sum(range(10_000))
"""

VERBS: dict[str, list[str]] = {
    "train, default network": ["train", "text.txt", "--steps", "60", "--out", "{new}"],
    "train, GRU 1x64": ["train", "text.txt", *SMALL, "--steps", "300", "--out", "{new}"],
    "train, scratch engine": ["train", "text.txt", *SMALL, "--engine", "scratch", "--steps", "100", "--out", "{new}"],
    "train, batch of one row": [
        "train", "text.txt", *SMALL, "--batch-size", "1", "--steps", "2000", "--out", "{new}",
    ],
    "sample": ["sample", "default", "--length", "20000", "--seed", "1"],
    "sample, 64 at once": ["sample", "default", "--count", "64", "--length", "1000", "--seed", "1"],
    "eval": ["eval", "default", "piece.txt"],
    "eval, windows": ["eval", "default", "--protocol", "windows", "--num-windows", "200"],
    "eval, dynamic": ["eval", "small", "piece.txt", "--protocol", "dynamic"],
    "score": ["score", "default", "piece.txt", "--json"],
    "inspect, GRU 1x64": ["inspect", "small", "--out", "{new}"],
    "compare, gradients": ["compare", "small", "--gradients"],
    "explain": ["explain", "small"],
    "reproduce, system E": ["reproduce", "moliere-elman", "--quick"],
}  # fmt: skip
"""Command lines; ``{new}`` is a fresh folder, `default` and `small` are runs, piece.txt has 12,000 characters."""


@contextmanager
def spinning() -> Iterator[None]:
    """A process that uses all of core 0."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    time.sleep(0.3)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def seconds(words: list[str], folder: Path, number: int) -> float:
    """The wall time of one command."""
    command = [word.replace("{new}", f"new-{number}") for word in words]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "charloom", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"MPLBACKEND": "agg", "CHARLOOM_DATA": str(data_file("moliere").parent)},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - began


def measured(verb: str, folder: Path, rounds: int, numbers: Iterator[int]) -> dict[str, Any]:
    """The row of one verb: medians of its wall times, idle and beside the spinning process."""
    idle, busy = [], []
    seconds(VERBS[verb], folder, next(numbers))  # what it reads from disk for the first time
    for _ in range(rounds):
        idle.append(seconds(VERBS[verb], folder, next(numbers)))
        with spinning():
            busy.append(seconds(VERBS[verb], folder, next(numbers)))
    idle_s, busy_s = statistics.median(idle), statistics.median(busy)
    print(f"{verb:26} idle {idle_s:7.4g} s  busy {busy_s:7.4g} s  {busy_s / idle_s:.2f}", flush=True)
    return {
        "verb": verb,
        "idle_s": rounded(idle_s),
        "busy_s": rounded(busy_s),
        "ratio": rounded(busy_s / idle_s),
        "within": busy_s / idle_s <= LIMIT,
        "rounds": rounds,
        "date": datetime.date.today().isoformat(),
    }


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, print and write ``results/busy.json`` after each verb."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks busy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", default="", help="verbs whose name holds this text; the others keep their rows"
    )
    options = parser.parse_args(list(arguments))
    path = RESULTS / "busy.json"
    kept = json.loads(path.read_text("utf-8"))["rows"] if options.only and path.exists() else []
    rows = {row["verb"]: row for row in kept}
    numbers = itertools.count(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = head_of_text(300_000)
        (folder / "text.txt").write_text(text, encoding="utf-8")
        (folder / "piece.txt").write_text(text[-12_000:], encoding="utf-8")
        seconds(["train", "text.txt", "--steps", "5", "--out", "default"], folder, 0)
        seconds(["train", "text.txt", *SMALL, "--steps", "100", "--out", "small"], folder, 0)
        for verb in VERBS:
            if options.only in verb:
                rows[verb] = measured(verb, folder, options.rounds, numbers)
                write_results("busy", {"limit": LIMIT, "rows": [rows[one] for one in VERBS if one in rows]})
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
