"""The cost of recording the statistics of every parameter during training.

python -m benchmarks signals

A short range of updates is run with the last one recorded to ``events.jsonl`` and without, alternately and in
alternating order; the median of the differences is the cost of one record. A run makes at most `OBSERVATIONS`
records, so their share of the training time is that cost times the records over the seconds of training. The
limit is 2 %. In the worst case, a run so short that every update is recorded.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import rounded, write_results
from benchmarks.trials import resolved, whole
from charloom import threads
from charloom.engines import load_engine
from charloom.parameters import initial_parameters
from charloom.runs import Run
from charloom.text.batching import Plan
from charloom.training.budget import Budget
from charloom.training.events import to_json
from charloom.training.parameter_stats import OBSERVATIONS, update_stats

CASES: Mapping[str, tuple[Mapping[str, Any], int, int]] = {
    "flash, residual minGRU 2×128": ({"recipe": "flash"}, 2, 100),
    "best, residual LSTM 2×256": ({"recipe": "best"}, 2, 30),
    "LSTM 2×512 (system C's form)": ({"recipe": "anna-lstm"}, 2, 12),
    "GRU 1×256": (
        {"cell": "gru", "block": "plain", "embedding_size": 64, "hidden_size": 256, "minutes": 2.0},
        2,
        100,
    ),
    "online Elman 1×128": ({"recipe": "moliere-elman"}, 500, 200),
    "GRU 1×128 in NumPy": (
        {"engine": "scratch", "cell": "gru", "block": "plain", "hidden_size": 128, "minutes": 2.0},
        2,
        100,
    ),
}
"""(settings, updates per range, pairs of ranges)."""


def price(settings: Mapping[str, Any], updates: int, pairs: int) -> dict[str, float]:
    """Seconds per update and per record, and the records' share of the training time."""
    corpus, _ = whole("tinyshakespeare")
    own = resolved(settings, len(corpus.train))
    plan = Plan(corpus.train, own.train_config)
    learner = load_engine(own.train_config.engine).learner(
        initial_parameters(own.model_config, len(corpus.vocab), 0),
        own.model_config,
        own.train_config,
        device="cpu",
    )
    pacer = Budget(own.train_config, plan.steps_per_epoch)
    learner.set_progress(pacer.knots)
    state, step = learner.initial_state(range(plan.batch_size)), 0
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        for pair in range(pairs + 2):
            for looks in (False, True) if pair % 2 else (True, False):
                began = time.perf_counter()
                if looks:
                    state, metrics = learner.advance(plan, step, updates, state, observe=True)
                    stats = update_stats(step + updates, metrics, clip_norm=own.train_config.clip_norm)
                    run.append(to_json(stats))
                else:
                    state, _ = learner.advance(plan, step, updates, state)
                step += updates
                if pair >= 2:
                    seconds[looks].append(time.perf_counter() - began)
    look_s = statistics.median(a - b for a, b in zip(seconds[True], seconds[False], strict=True))
    update_s = statistics.median(seconds[False]) / updates
    minutes = own.train_config.minutes
    training_s = 60 * minutes if minutes is not None else pacer.last_step * update_s
    looks = min(OBSERVATIONS, training_s / update_s)
    return {
        "update_s": rounded(update_s),
        "look_s": rounded(look_s),
        "training_s": rounded(training_s),
        "cost": rounded(looks * look_s / training_s),
        "cost_where_every_update_is_looked_at": rounded(look_s / update_s),
    }


def main() -> None:
    """Measure and write ``results/signals.json``."""
    found = {}
    for name, (settings, updates, pairs) in CASES.items():
        with threads.limit(None):
            found[name] = price(settings, updates, pairs)
        print(f"{name:32} {found[name]}", flush=True)
    print(write_results("signals", {"signals_a_run": OBSERVATIONS, "cases": found}))
