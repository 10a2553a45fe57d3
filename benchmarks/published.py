"""Training times of the published forms here: plain implementations of all five, timed for some steps each.

A system's total time is its number of updates times the median time of one. These are the budgets of
charloom's default recipe in ``charloom reproduce NAME --best``: ``train_time_s`` in ``published.toml`` was
printed by this program.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.baselines.plain_elman import PlainElman
from benchmarks.baselines.plain_numpy_rnn import PlainNumpyRNN
from benchmarks.baselines.plain_online_rnn import PlainOnlineRNN
from benchmarks.baselines.plain_torch import PlainTrainer
from benchmarks.harness import write_results
from charloom import threads

ROUNDS = 3
Steps = Callable[[], object]


def windows(vocab_size: int, batch: int, length: int, *, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Random text, as speed does not depend on the content: inputs (B, T), and targets (B, T) or (B,)."""
    ids = np.random.default_rng(0).integers(0, vocab_size, (batch, length + 1))
    return ids[:, :-1], ids[:, -1] if last else ids[:, 1:]


def on_windows(trainer: Any, window: tuple[np.ndarray, np.ndarray], steps: int) -> tuple[Steps, int]:
    """A function that takes `steps` updates on windows, and `steps`."""
    return lambda: [trainer.step(*window) for _ in range(steps)], steps


def on_text(trainer: Any, vocab_size: int, steps: int) -> tuple[Steps, int]:
    """A function that takes `steps` updates along a text, and `steps`."""
    ids = np.random.default_rng(0).integers(0, vocab_size, 50_000)
    return lambda: trainer.train(ids, steps), steps


def forms() -> dict[str, tuple[tuple[Steps, int], int]]:
    """For each system a function that takes some updates, their number, and the number of all updates."""
    adam = {"optimizer": torch.optim.Adam}
    b = PlainTrainer(
        "lstm", 47, 128, 1, embedding_size=32, learning_rate=3e-3, clip_norm=None, carry=False, **adam
    )
    c = PlainTrainer("lstm", 83, 512, 2, dropout=0.5, learning_rate=1e-3, clip_norm=5.0, **adam)
    return {
        "arabic-rnn-small": (on_windows(PlainElman(47), windows(47, 64, 100, last=True), 50), 4_900),
        "arabic-rnn": (on_windows(PlainElman(433), windows(433, 64, 100, last=True), 50), 5_180),
        "arabic-lstm": (on_windows(b, windows(47, 32, 64), 100), 2_000),
        "anna-lstm": (on_windows(c, windows(83, 128, 100), 3), 139),
        "shakespeare-scratch": (on_text(PlainNumpyRNN(65), 65, 500), 44_615),
        "moliere-elman": (on_text(PlainOnlineRNN(73), 73, 2_000), 450_000),
    }


def main() -> None:
    """Time the forms, taking turns, print their total training times and write ``results/published.json``."""
    chosen = forms()
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    with threads.limit(None, blas=None):
        for measured in range(-1, ROUNDS):
            for name, ((take, steps), _) in chosen.items():
                began = time.perf_counter()
                take()
                if measured >= 0:
                    seconds[name].append((time.perf_counter() - began) / steps)
    rows = [
        {"system": name, "train_time_s": round(statistics.median(seconds[name]) * total, 1)}
        for name, (_, total) in chosen.items()
    ]
    for row in rows:
        print(f"  {row['system']:20} {row['train_time_s']:7.1f} s", flush=True)
    print(write_results("published", {"threads": threads.available(), "rounds": ROUNDS, "rows": rows}))


if __name__ == "__main__":
    main()
