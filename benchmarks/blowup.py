"""How system A blows up: five seeds each with and without clipping, to epoch 150, and one blow-up in detail.

Each training is system A's recipe on its small text, on the scratch engine, which exposes every gradient.
Training has blown up when the loss of a batch is more than `RISE` nats above the best epoch's mean. The
microscope returns to the epoch before the blow-up and repeats every step, recording for each parameter the
gradient norm, Adam's two moments and the resulting update.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, rounded, write_results
from charloom import threads
from charloom.engines import Learner, load_engine
from charloom.parameters import initial_parameters
from charloom.reproduce import find_systems
from charloom.reproduce.train import TrainedSystem, train_system
from charloom.text.batching import Plan

(SYSTEM,) = find_systems("arabic-rnn-small")
STEPS_PER_EPOCH = 49
SEEDS, EPOCHS = 5, 150
RISE = 1.0


class Watcher:
    """A probe that keeps the training state of the last two epochs and detects the first blow-up."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[str, np.ndarray]] = {}
        self.blew_up_at: int | None = None
        self.before: tuple[int, dict[str, np.ndarray]] | None = None

    def __call__(self, done: TrainedSystem, learner: Learner) -> None:
        step = len(done.losses)
        if self.blew_up_at is None:
            means = [mean for _, mean in done.epoch_means()]
            last = done.losses[-STEPS_PER_EPOCH:]
            high = np.flatnonzero(last > min(means) + RISE) if min(means) < 1 else np.array([])
            if len(high) and self.kept:
                self.blew_up_at = step - STEPS_PER_EPOCH + int(high[0])
                first = min(self.kept)
                self.before = (first, self.kept[first])
            self.kept = {s: t for s, t in self.kept.items() if s > step - 2 * STEPS_PER_EPOCH}
            self.kept[step] = learner.tensors()


def train(seed: int, clip_norm: float | None) -> tuple[dict[str, Any], Watcher, TrainedSystem]:
    """Train to epoch 150; return the losses, the watcher and the training."""
    watcher = Watcher()
    began = time.perf_counter()
    done = train_system(
        SYSTEM,
        seed=seed,
        settings={"engine": "scratch", "epochs": float(EPOCHS), "clip_norm": clip_norm},
        look_every=STEPS_PER_EPOCH,
        look=watcher,
    )
    means = [mean for _, mean in done.epoch_means()]
    at = watcher.blew_up_at
    row = {
        "seed": seed,
        "clip_norm": clip_norm,
        "lowest_epoch_mean": rounded(min(means)),
        "lowest_epoch": int(np.argmin(means)) + 1,
        "blew_up_at_step": at,
        "blew_up_in_epoch": None if at is None else at // STEPS_PER_EPOCH + 1,
        "highest_epoch_mean_after": None if at is None else rounded(max(means[at // STEPS_PER_EPOCH :])),
        "epoch_means": [rounded(mean) for mean in means],
        "wall_s": round(time.perf_counter() - began, 1),
    }
    return row, watcher, done


def microscope(watcher: Watcher, done: TrainedSystem) -> dict[str, Any]:
    """Repeat the steps around a blow-up, from the epoch before it: a list per quantity and parameter."""
    assert watcher.before is not None
    assert watcher.blew_up_at is not None
    first, tensors = watcher.before
    config, plan = done.train_config, Plan(done.corpus.train, done.train_config)
    engine = load_engine("scratch")
    params = initial_parameters(done.model_config, len(done.corpus.vocab), config.seed)
    learner: Any = engine.learner(params, done.model_config, config, device="cpu")
    learner.load_tensors(tensors)
    rows = []
    with threads.limit(None):
        for step in range(first, min(watcher.blew_up_at + 20, len(done.losses))):
            state = learner.initial_state(range(config.batch_size))
            total, count, gradients, _ = learner.gradients(step, plan.window(step, range(64)), state)
            before = {name: p.copy() for name, p in learner.params.items()}
            learner.advance(plan, step, 1, state)
            moments = learner.tensors()
            rows.append(
                {
                    "step": step,
                    "loss": rounded(total / count),
                    "parameters": {
                        name: _facts(name, gradients, before, learner, moments) for name in before
                    },
                }
            )
    return columns(rows)


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Combine rows of equal shape into one row of lists.

    Example:
        >>> columns([{"step": 1, "of": {"x": 2}}, {"step": 3, "of": {"x": 4}}])
        {'step': [1, 3], 'of': {'x': [2, 4]}}
    """
    return {
        key: columns([row[key] for row in rows]) if isinstance(value, dict) else [row[key] for row in rows]
        for key, value in rows[0].items()
    }


def _facts(name: str, gradients: Any, before: Any, learner: Any, moments: Any) -> dict[str, float]:
    facts = {
        "gradient": np.linalg.norm(gradients[name]),
        "first_moment": np.linalg.norm(moments[f"moment.{name}.exp_avg"]),
        "root_second_moment": np.sqrt(moments[f"moment.{name}.exp_avg_sq"].sum()),
        "move": np.linalg.norm(learner.params[name] - before[name]),
        "weights": np.linalg.norm(before[name]),
    }
    return {what: rounded(norm) for what, norm in facts.items()}


def main() -> None:
    """Run the missing trainings, print each result and write ``results/blowup.json``."""
    path = RESULTS / "blowup.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {"trainings": [], "microscope": {}}
    have = {(row["seed"], row["clip_norm"]) for row in found["trainings"]}
    for clip_norm in (None, 1.0):
        for seed in range(SEEDS):
            if (seed, clip_norm) in have:
                continue
            row, watcher, done = train(seed, clip_norm)
            found["trainings"].append(row)
            print({k: v for k, v in row.items() if k != "epoch_means"}, flush=True)
            if watcher.blew_up_at is not None and not found["microscope"]:
                found["microscope"] = microscope(watcher, done)
            write_results("blowup", {key: found[key] for key in ("trainings", "microscope")})


if __name__ == "__main__":
    sys.exit(main())
