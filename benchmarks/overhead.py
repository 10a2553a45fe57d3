"""What a training spends its time on: updates, start-up, validations and samples, and the final report; and help.

python -m benchmarks overhead

Each training is a process of its own, as a user starts it, on the first 300,000 characters of Molière; medians of three.
Modules are kept compiled, as they are where charloom is installed.
A budget in minutes promises the wall time of the whole command. The time of help is compared with that of starting
Python and doing nothing, in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import interleave, rounded, write_results
from benchmarks.trials import data_file

ROUNDS = 3
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
CASES: dict[str, dict[str, Any]] = {
    "--minutes 0.5": {"flags": ["--minutes", "0.5"], "promise_s": 30.0},
    "--minutes 1": {"flags": ["--minutes", "1"], "promise_s": 60.0},
    "--steps 60": {"flags": ["--steps", "60"]},
    "--steps 5": {"flags": ["--steps", "5"]},
}


def head_of_text(num_chars: int) -> str:
    """The first characters of Molière's plays."""
    with data_file("moliere").open(encoding="utf-8") as file:
        return file.read(num_chars)


def one(flags: list[str], folder: Path, number: int) -> dict[str, float]:
    """Train once; return the wall time of the command and the time in updates."""
    run = folder / f"run-{number}"
    words = [sys.executable, "-m", "charloom", "train", str(folder / "text.txt"), *flags, "--out", str(run)]
    began = time.perf_counter()
    subprocess.run(words, check=True, env=COMPILED, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s = time.perf_counter() - began
    results = json.loads((run / "config.json").read_text("utf-8"))["results"]
    return {"wall_s": wall_s, "updates_s": results["train_time_s"], "loop_s": results["wall_time_s"]}


HELP = {
    "python": ["-c", "pass"],
    "--help": ["-m", "charloom", "--help"],
    "train --help": ["-m", "charloom", "train", "--help"],
}


def help_times() -> dict[str, Any]:
    """Median wall times of help and of an empty program, taking turns."""

    def starting(words: list[str]) -> Callable[[], object]:
        words = [sys.executable, *words]
        return lambda: subprocess.run(words, check=True, env=COMPILED, stdout=subprocess.DEVNULL)

    seconds = interleave({name: starting(words) for name, words in HELP.items()}, rounds=5)
    return {f"{name} (s)": rounded(statistics.median(times)) for name, times in seconds.items()}


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, print and write ``results/overhead.json``."""
    del arguments
    rows, number = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text(head_of_text(300_000), encoding="utf-8")
        one(["--steps", "5"], folder, 0)  # compiled loops are on disk from here on
        for case, how in CASES.items():
            runs = [one(how["flags"], folder, number := number + 1) for _ in range(ROUNDS)]
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            row: dict[str, Any] = {"case": case, **{key: rounded(x) for key, x in median.items()}}
            if "promise_s" in how:
                row["wall_to_promise"] = rounded(median["wall_s"] / how["promise_s"])
                row["updates_to_promise"] = rounded(median["updates_s"] / how["promise_s"])
            rows.append(row)
            print(row, flush=True)
    found = help_times()
    print(found)
    print(write_results("overhead", {"rounds": ROUNDS, "rows": rows, "help": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
