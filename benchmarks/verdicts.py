"""Whether the judge is right, in two parts of ``results/verdicts.json``: its advice, and the faults it tells apart.

python -m benchmarks verdicts [--part advice|faults] [--only WORDS]

**advice**: labelled runs, in each of which the advice is followed (`benchmarks.advice`; half an hour on one core).
**faults**: whether `inspect` distinguishes four faults, and finds none in ten healthy networks:

    memorised   system A's small recipe on 3,296 characters, trained on nine tenths of them
    vanishing   an Elman network whose recurrent weights are drawn with spectral radius 0.3 and frozen
    exploding   the same with radius 3 and a ReLU, trained for a few steps
    healthy     a GRU trained for a minute

Four cases, three seeds, two texts: the verdict counts if it is memorised, and otherwise the finding on the memory.
Then ten healthy networks with all kinds of cells, for which the finding must be "healthy". Every case is written
when it is done, and a second call does the missing ones. A radius r is that of normal weights with standard
deviation r / √H (the circular law; Girko 1985).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import charloom
from benchmarks import advice
from benchmarks.harness import RESULTS, as_text, machine, rounded
from benchmarks.trials import data_file
from charloom.insight import Inspection

Tasks = Mapping[str, Callable[[], dict[str, Any]]]

TEXTS = ("tinyshakespeare", "arabic_wiki")
SEEDS = (0, 1, 2)
HIDDEN = 256
SMALL_CHARS = 3_296
FROZEN = {
    "freeze": "layers.0.cell.w_hh",
    "cell": "elman",
    "hidden_size": HIDDEN,
    "embedding_size": 32,
    "num_layers": 1,
}

CASES: Mapping[str, Mapping[str, Any]] = {
    "vanishing": {
        **FROZEN,
        "init": "normal",
        "init_scale": 0.3 / math.sqrt(HIDDEN),
        "steps": 600,
        "take_chars": 300_000,
    },
    "exploding": {
        **FROZEN,
        "activation": "relu",
        "init": "normal",
        "init_scale": 3.0 / math.sqrt(HIDDEN),
        "batching": "random",
        "bptt_length": 16,
        "learning_rate": 1e-4,
        "steps": 30,
        "take_chars": 300_000,
    },
    "memorised": {"recipe": "arabic-rnn-small", "take_chars": SMALL_CHARS, "val_fraction": 0.1},
    "healthy": {"cell": "gru", "hidden_size": HIDDEN, "num_layers": 1, "minutes": 1.0},
}

HEALTHY: tuple[Mapping[str, Any], ...] = (
    {"cell": "elman", "hidden_size": 256},
    {"cell": "lstm", "hidden_size": 256},
    {"cell": "lstm", "hidden_size": 128, "num_layers": 2, "dropout_output": 0.2},
    {"cell": "gru", "hidden_size": 128},
    {"cell": "gru", "hidden_size": 256, "num_layers": 2},
    {"cell": "gru", "hidden_size": 192, "block": "residual"},
    {"cell": "lstm", "hidden_size": 128, "block": "residual"},
    {"cell": "mingru", "hidden_size": 128, "num_layers": 2, "block": "residual"},
    {"cell": "mingru", "hidden_size": 256, "num_layers": 2},
    {"cell": "elman", "hidden_size": 128, "block": "residual"},
)
PLAIN = {"embedding_size": 64, "block": "plain", "num_layers": 1}


def inspected(text: str, settings: Mapping[str, Any]) -> tuple[Inspection, float]:
    """Train on a text and inspect the model: the inspection, and its seconds."""
    own = dict(settings)
    if "recipe" not in own and own.get("block", "plain") == "plain":
        own = {**PLAIN, **own}
    with tempfile.TemporaryDirectory() as folder:
        model = charloom.train(data_file(text), out=Path(folder) / "run", **own)
        began = time.perf_counter()
        return charloom.inspect(model), time.perf_counter() - began


def row_of(case: str, text: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train and inspect one network; return the expected verdict and the actual ones."""
    found, seconds = inspected(text, {**settings, "seed": seed})
    memorised = [one.kind for one in found.verdicts if one.kind == "memorised"]
    said = memorised or [found.memory.kind]
    expected = "healthy" if case.startswith("healthy") else case
    return {
        "case": case,
        "text": text,
        "seed": seed,
        "said": said,
        "right": said[0] == expected,
        "says": (found.verdicts[0] if memorised else found.memory).says,
        "memory_horizon_chars": found.memory_horizon_chars,
        "held_out_nats": rounded(found.held_out_nats),
        "train_nats": None if found.train_nats is None else rounded(found.train_nats),
        "inspect_s": rounded(seconds),
    }


def fault_tasks() -> Tasks:
    """Every case of the part on faults, by name."""
    tasks = [(case, text, seed, CASES[case]) for case in CASES for text in TEXTS for seed in SEEDS]
    tasks += [
        (f"healthy {i}", TEXTS[i % 2], 10 + i, {"minutes": 0.75, **settings})
        for i, settings in enumerate(HEALTHY)
    ]
    return {
        f"{case}, {text}, {seed}": partial(row_of, case, text, seed, own) for case, text, seed, own in tasks
    }


def fault_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many first verdicts were right, and how many healthy networks raised an alarm."""
    known = [row for row in rows if row["case"] in CASES]
    return {
        "right": sum(row["right"] for row in known),
        "of": len(known),
        "alarms_on_healthy": sum(not row["right"] for row in rows if row["case"].startswith("healthy ")),
        "healthy": sum(row["case"].startswith("healthy ") for row in rows),
    }


def measure(
    part: str, tasks: Tasks, summary: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]
) -> None:
    """Run the tasks that are not yet in a part of the results, writing them after each."""
    path = RESULTS / "verdicts.json"
    for name, task in tasks.items():
        kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
        rows = kept.get(part, {}).get("rows", [])
        if name in {row["name"] for row in rows}:
            continue
        rows.append({"name": name, **task()})
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
        kept[part] = {"machine": machine(), "summary": summary(rows), "rows": rows}
        path.write_text(as_text(kept), encoding="utf-8")


def main(options: Sequence[str] = ()) -> None:
    """Run every case that is not yet in the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks verdicts")
    parser.add_argument("--part", choices=("advice", "faults"))
    parser.add_argument("--only", help="cases whose name contains these words", default="")
    asked = parser.parse_args(options)
    parts = {
        "advice": ({case.name: partial(advice.row_of, case) for case in advice.CASES}, advice.summary),
        "faults": (fault_tasks(), fault_summary),
    }
    for part, (tasks, summary) in parts.items():
        if asked.part in (None, part):
            measure(part, {name: task for name, task in tasks.items() if asked.only in name}, summary)
    print(RESULTS / "verdicts.json")
