"""What other work on one core costs: the wall time of each verb beside a spinning process, as a multiple of idle.

python -m benchmarks busy               three rounds, about 15 minutes
python -m benchmarks busy --rounds 1    a quick look

A process that only counts is pinned to core 0. Each verb then runs as a process of its own, as a user calls it, in turn
without and with it; the ratio is of the medians. Half of two cores is gone, so work that uses both cannot cost less
than a factor of 2, and a factor above it is time spent waiting for a core instead of computing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import rounded, write_results
from benchmarks.overhead import head_of_text

LIMIT = 2.2
SMALL = ["--cell", "gru", "--hidden-size", "64"]
SPIN = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {0})\nwhile True: pass"

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
    "reproduce, system E": ["reproduce", "text-predictor", "--quick"],
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
    subprocess.run(
        [sys.executable, "-m", "charloom", *command],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MPLBACKEND": "agg"},
    )
    return time.perf_counter() - began


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write ``results/busy.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks busy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="verbs whose name holds this text")
    options = parser.parse_args(arguments)
    rows, number = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = head_of_text(300_000)
        (folder / "text.txt").write_text(text, encoding="utf-8")
        (folder / "piece.txt").write_text(text[-12_000:], encoding="utf-8")
        seconds(["train", "text.txt", "--steps", "5", "--out", "default"], folder, 0)
        seconds(["train", "text.txt", *SMALL, "--steps", "100", "--out", "small"], folder, 0)
        for verb, words in VERBS.items():
            if options.only not in verb:
                continue
            idle, busy = [], []
            seconds(words, folder, number := number + 1)  # what it compiles and reads from disk
            for _ in range(options.rounds):
                idle.append(seconds(words, folder, number := number + 1))
                with spinning():
                    busy.append(seconds(words, folder, number := number + 1))
            ratio = statistics.median(busy) / statistics.median(idle)
            rows.append(
                {
                    "verb": verb,
                    "idle_s": rounded(statistics.median(idle)),
                    "busy_s": rounded(statistics.median(busy)),
                    "ratio": rounded(ratio),
                    "within": ratio <= LIMIT,
                }
            )
            print(
                f"{verb:26} idle {rows[-1]['idle_s']:7} s  busy {rows[-1]['busy_s']:7} s  {ratio:.2f}",
                flush=True,
            )
    print(write_results("busy", {"limit": LIMIT, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
