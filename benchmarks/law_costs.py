"""What a training step costs, and the seconds to a given loss: one setting varies at a time.

Times are processor seconds of one thread, which other programs on the machine hardly change. The text is made of random
ids where only speed and memory count; the loss is that of tiny Shakespeare.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import rounded
from benchmarks.law_fit import power_law
from benchmarks.law_texts import part, respelt
from charloom import threads
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.engines import load_engine
from charloom.forecast.forecast import memory_parts
from charloom.parameters import initial_parameters
from charloom.runs import Run
from charloom.text import Corpus, corpus_from_text
from charloom.text.batching import Plan
from charloom.training import train

BASE: Mapping[str, int] = {
    "hidden": 128,
    "layers": 2,
    "window": 64,
    "batch": 32,
    "vocabulary": 65,
    "corpus": 1_000_000,
}
VARIED: Mapping[str, tuple[int, ...]] = {
    "hidden": (64, 128, 256, 512),
    "layers": (1, 2, 4),
    "window": (16, 64, 256),
    "batch": (8, 32, 128),
    "vocabulary": (65, 650, 5_000, 20_000),
    "corpus": (10_000, 1_000_000, 50_000_000),
}
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "residual mingru": {"cell": "mingru", "block": "residual"},
    "plain lstm": {"cell": "lstm", "block": "plain", "embedding_size": 64},
}
SECONDS = 1.2
TARGET_BITS, TARGET_CHARS = 2.75, 420_000
TARGET_VARIED: Mapping[str, tuple[int, ...]] = {
    "hidden": (64, 128, 256),
    "layers": (1, 2, 4),
    "window": (16, 64, 128),
    "batch": (8, 32, 64),
    "vocabulary": (65, 650, 3_250),
    "corpus": (50_000, 200_000, 1_000_000),
}
MEMORY_CORPUS = 100_000
MEMORY_VARIED: Mapping[str, tuple[int, ...]] = {
    "hidden": (64, 256, 512),
    "layers": (4,),
    "window": (256,),
    "batch": (256,),
    "vocabulary": (5_000, 20_000),
    "corpus": (2_000_000,),
}


def configs(network: str, at: Mapping[str, int]) -> tuple[ModelConfig, TrainConfig]:
    """The network and the training of one point."""
    model = ModelConfig(**NETWORKS[network], hidden_size=at["hidden"], num_layers=at["layers"])
    training = TrainConfig(
        batch_size=at["batch"],
        bptt_length=at["window"],
        threads=1,
        engine="torch",
        device="cpu",
        optimizer="muon",
    )
    return model, training


def points(varied: Mapping[str, tuple[int, ...]]) -> list[tuple[str, dict[str, int]]]:
    """One setting at a time around the base."""
    return [(name, {**BASE, name: value}) for name, values in varied.items() for value in values]


def step_cost(network: str, at: Mapping[str, int]) -> dict[str, float]:
    """Processor seconds a character, on random ids."""
    model, training = configs(network, at)
    ids = np.random.default_rng(0).integers(0, at["vocabulary"], at["corpus"]).astype(np.uint16)
    with threads.limit(1):
        params = initial_parameters(model, at["vocabulary"], 0)
        learner = load_engine("torch").learner(params, model, training, device="cpu")
        plan = Plan(ids, training)
        state, _ = learner.advance(plan, 0, 2, learner.initial_state(range(plan.batch_size)))
        step, costs = 2, []
        began = time.perf_counter()
        while time.perf_counter() - began < SECONDS or len(costs) < 3:
            before = time.process_time()
            state, metrics = learner.advance(plan, step, 1, state)
            costs.append((time.process_time() - before) / int(metrics.chars.sum()))
            step += 1
    return {"chars_per_cpu_s": rounded(1 / statistics.median(costs))}


def speed() -> dict[str, Any]:
    """Characters a second against each setting, with the exponents."""
    found: dict[str, Any] = {}
    for network in NETWORKS:
        rows = [{"varied": name, **at, **step_cost(network, at)} for name, at in points(VARIED)]
        found[network] = {"rows": rows, "exponents": exponents(rows, "chars_per_cpu_s")}
        print(network, found[network]["exponents"], flush=True)
    return found


def exponents(rows: list[dict[str, Any]], figure: str) -> dict[str, Any]:
    """The exponent of a figure in each setting: over all values, and from the second largest to the largest."""
    found = {}
    for name in BASE:
        own = [row for row in rows if row["varied"] == name and row[figure] is not None]
        if len(own) >= 2:
            x, y = [row[name] for row in own], [row[figure] for row in own]
            whole, last = power_law(x, y), power_law(x[-2:], y[-2:])
            found[name] = {
                "exponent": rounded(whole.exponent),
                "r2": rounded(whole.r2),
                "exponent_at_the_end": rounded(last.exponent),
            }
    return found


PEAK = """
import json, sys
from pathlib import Path
from benchmarks.law_costs import train_some
train_some(*json.loads(sys.argv[1]))
status = dict(line.split(":") for line in Path("/proc/self/status").read_text("ascii").splitlines())
print(1024 * int(status["VmHWM"].split()[0]))
"""
"""Linux's high-water mark of this program alone; `ru_maxrss` would be that of the process that started it, too."""


def train_some(network: str, at: dict[str, int]) -> None:
    """A whole short training, from a file, as a user's command would run it."""
    model, training = configs(network, at)
    corpus = random_corpus(at)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        for _ in train(corpus, model, replace(training, steps=3), run):
            pass


def random_corpus(at: Mapping[str, int]) -> Corpus:
    """Random characters of a vocabulary."""
    draw = np.random.default_rng(0).integers(0x4E00, 0x4E00 + at["vocabulary"], at["corpus"])
    return corpus_from_text("".join(map(chr, draw.tolist())), TextConfig())


def memory() -> dict[str, Any]:
    """Peak resident memory of short trainings in processes of their own, against the estimate."""
    rows = []
    for network in NETWORKS:
        for name, at in points(MEMORY_VARIED):
            if name != "corpus":
                at["corpus"] = MEMORY_CORPUS
            done = subprocess.run(
                [sys.executable, "-c", PEAK, json.dumps([network, at])],
                capture_output=True,
                text=True,
                check=True,
                env=dict(os.environ),
            )
            model, training = configs(network, at)
            parts = memory_parts(random_corpus(at), model, training, 1)
            row = {"network": network, "varied": name, **at, "measured": int(done.stdout.split()[-1])}
            rows.append({**row, "estimated": sum(parts.values()), "parts": parts})
            print(row, sum(parts.values()), flush=True)
    ratios = sorted(row["measured"] / row["estimated"] for row in rows)
    return {"rows": rows, "measured_to_estimated": [rounded(ratio) for ratio in ratios]}


def seconds_to(target_bits: float, at: Mapping[str, int]) -> dict[str, Any]:
    """Processor seconds until the held-out loss of a training first is at most a target."""
    model, training = configs("residual mingru", at)
    spellings = max(1, at["vocabulary"] // 65)
    target = target_bits + np.log2(spellings)
    text = part("tinyshakespeare", 0.0, at["corpus"])
    assert text is not None
    corpus = corpus_from_text(respelt(text, spellings) if spellings > 1 else text, TextConfig())
    steps = TARGET_CHARS // (at["batch"] * at["window"])
    training = replace(training, steps=steps, learning_rate=1.2e-2, average_decay=0.9, warmup=5)
    training = replace(training, schedule="constant", validate_every=max(1, steps // 60))
    history, updates = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        before = time.process_time()
        for event in train(corpus, model, training, run):
            if type(event).__name__ == "Progress":
                updates += time.process_time() - before
            if type(event).__name__ == "Validation":
                history.append((updates, event.loss / np.log(2)))
                if history[-1][1] <= target:
                    break
            before = time.process_time()
    return {"target_bits": rounded(float(target)), "cpu_s": rounded(_crossing(history, target))}


def _crossing(history: list[tuple[float, float]], target: float) -> float:
    """When a falling curve reaches a value, interpolated; infinite if it does not."""
    earlier = None
    for seconds, bits in history:
        if bits <= target:
            if earlier is None:
                return seconds
            (s, b) = earlier
            return s + (seconds - s) * (b - target) / (b - bits)
        earlier = (seconds, bits)
    return float("inf")


def target() -> dict[str, Any]:
    """Seconds to a loss against each setting, with the exponents."""
    rows = []
    for name, at in points(TARGET_VARIED):
        rows.append({"varied": name, **at, **seconds_to(TARGET_BITS, at)})
        print(rows[-1], flush=True)
    for row in rows:
        row["cpu_s"] = None if row["cpu_s"] == float("inf") else row["cpu_s"]
    return {"bits_per_char": TARGET_BITS, "rows": rows, "exponents": exponents(rows, "cpu_s")}
