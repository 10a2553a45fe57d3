"""Speed of this tree against another commit of it, in one run: training and generation, new time : old time.

python -m benchmarks commits --against REV               REV's files are taken from git
python -m benchmarks commits --against REV --rounds 15   more rounds, for a noisy machine

Each commit has a process of its own. They take turns within a round, in changing order, and the median of the
round-by-round ratios is reported with its quartiles. Above 1 the new tree is slower.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import rounded, write_results

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).with_name("commit_worker.py")

PLAIN = {"batch_size": 64, "bptt_length": 64}
CASES: dict[str, list[Any]] = {
    "train GRU 1x256": ["training", "torch", {"cell": "gru", "hidden_size": 256}, PLAIN, 2],
    "train LSTM 1x256": ["training", "torch", {"cell": "lstm", "hidden_size": 256}, PLAIN, 2],
    "train LSTM 2x512": [
        "training",
        "torch",
        {"cell": "lstm", "hidden_size": 512, "num_layers": 2},
        PLAIN,
        1,
    ],
    "train residual LSTM 2x256": [
        "training",
        "torch",
        {"cell": "lstm", "block": "residual", "hidden_size": 256, "num_layers": 2},
        {**PLAIN, "optimizer": "muon"},
        1,
    ],
    "train residual minGRU 2x128": [
        "training",
        "torch",
        {"cell": "mingru", "block": "residual", "hidden_size": 128, "num_layers": 2},
        {**PLAIN, "optimizer": "muon"},
        2,
    ],
    "train scratch LSTM 1x128": ["training", "scratch", {"cell": "lstm", "hidden_size": 128}, PLAIN, 1],
    "train online Elman 1x128": [
        "training",
        "fused",
        {"cell": "elman", "hidden_size": 128},
        {"batch_size": 1, "bptt_length": 1, "optimizer": "sgd", "clip_norm": None},
        60_000,
    ],
    "generate LSTM 1x128": ["generation", {"cell": "lstm", "hidden_size": 128}, "float32", 1, 1, 40_000],
    "generate LSTM 2x512": [
        "generation",
        {"cell": "lstm", "hidden_size": 512, "num_layers": 2},
        "float32",
        1,
        1,
        2_000,
    ],
    "generate LSTM 2x512 int8": [
        "generation",
        {"cell": "lstm", "hidden_size": 512, "num_layers": 2},
        "int8",
        1,
        1,
        6_000,
    ],
    "generate LSTM 2x512, 64 at once": [
        "generation",
        {"cell": "lstm", "hidden_size": 512, "num_layers": 2},
        "float32",
        2,
        64,
        60,
    ],
}
"""Name → what `commit_worker` builds."""


class Worker:
    """A process that runs one commit."""

    def __init__(self, source: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(source)}
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(CASES)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, name: str) -> float:
        """Time one run of a case."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main(arguments: Sequence[str] = ()) -> None:
    """Compare, print and write ``results/commits.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks commits")
    parser.add_argument("--against", required=True, help="a commit of this repository")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    options = parser.parse_args(list(arguments))
    old_rev, new_rev = revision(options.against), revision("HEAD")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        old, new = Worker(extracted(old_rev, Path(folder))), Worker(ROOT / "src")
        for name in (name for name in CASES if options.only in name):
            seconds: dict[str, list[float]] = {"old": [], "new": []}
            for turn in range(options.rounds + 1):
                for side in ("old", "new") if turn % 2 else ("new", "old"):
                    seconds[side].append((old if side == "old" else new).seconds(name))
            pairs = list(zip(seconds["new"][1:], seconds["old"][1:], strict=True))
            low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
            rows.append(
                {"case": name, "new_to_old": rounded(middle), "quartiles": [rounded(low), rounded(high)]}
            )
            print(f"{name:34} new : old {middle:.3f}  ({low:.3f} to {high:.3f})", flush=True)
        old.close()
        new.close()
    print(write_results("commits", {"old": old_rev, "new": new_rev, "rounds": options.rounds, "rows": rows}))


def revision(name: str) -> str:
    """The full hash of a commit."""
    done = subprocess.run(["git", "rev-parse", name], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def extracted(rev: str, folder: Path) -> Path:
    """The ``src`` of a commit, as files."""
    done = subprocess.run(["git", "archive", rev, "src"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


if __name__ == "__main__":
    main(sys.argv[1:])
