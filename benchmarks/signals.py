"""What it costs a training to tell the signals of every parameter: the same training with them and without, in turn.

python -m benchmarks signals

Seconds of `advance` and of writing ``events.jsonl`` for the same steps; the difference is the price, as a share of the training. The must is
2 %.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import charloom.training.loop as loop
from benchmarks.harness import interleave, median_ratio, rounded, write_results
from benchmarks.trials import whole
from charloom import threads
from charloom.recipes import find_recipe, resolve
from charloom.runs import Run
from charloom.training import train

CASES: Mapping[str, Mapping[str, Any]] = {
    "flash, residual minGRU 2×128": {"recipe": "flash", "steps": 150},
    "LSTM 2×512 (system C's form)": {"recipe": "anna-lstm", "steps": 6},
    "GRU 1×256": {"cell": "gru", "block": "plain", "embedding_size": 64, "hidden_size": 256, "steps": 150},
    "online Elman 1×128": {"recipe": "moliere-elman", "steps": 20_000},
}
ROUNDS = 7


def main() -> None:
    """Measure and write ``results/signals.json``."""
    corpus, _ = whole("tinyshakespeare")
    told = {}
    for name, settings in CASES.items():
        flags = {key: value for key, value in settings.items() if key != "recipe"}
        recipe = find_recipe(settings["recipe"]) if "recipe" in settings else None
        resolved = resolve(recipe, {"patience": None, **flags}, num_chars=len(corpus.train))

        def run(signals: int, resolved: Any = resolved) -> None:
            kept, loop.SIGNALS = loop.SIGNALS, signals
            try:
                with tempfile.TemporaryDirectory() as folder:
                    run = Run.create(Path(folder) / "run", {})
                    for event in train(corpus, resolved.model_config, resolved.train_config, run):
                        if getattr(event, "progress", 0.0) >= 1.0:
                            break  # the closing measurements are no part of it
            finally:
                loop.SIGNALS = kept

        with threads.limit(None):
            seconds = interleave(
                {"with": lambda run=run: run(400), "without": lambda run=run: run(0)}, rounds=ROUNDS
            )
        share = median_ratio(seconds["with"], seconds["without"]) - 1
        told[name] = {
            "seconds_without": rounded(statistics.median(seconds["without"])),
            "seconds_with": rounded(statistics.median(seconds["with"])),
            "cost": rounded(share),
        }
        print(f"{name:32} {share:+.2%}", flush=True)
    print(write_results("signals", {"cases": told}))
