"""makemore's protocol on names: charloom's default recipe beside makemore's transformer and GRU.

python -m benchmarks makemore                     all, a quarter of an hour: three seeds of charloom's, one of each baseline
python -m benchmarks makemore --only charloom     one of charloom, pair, transformer and gru; the others' figures are kept
python -m benchmarks makemore --steps 8841        updates instead of a time, for a machine that is shared; not kept

1,000 names are drawn at random, the same ones that makemore draws, and held out. The loss is the mean over the
characters of these names and the end of each, in nats. makemore reports the lowest of the losses that it evaluates
every 500 updates on these same names; `best` is that figure. charloom keeps the model that is best on its validation
text, which is the same names, so its `best` is chosen in the same way. `last` is the loss after the last update.

The baselines (`baselines/plain_makemore.py`) take as many updates as fit into `BASELINE_SECONDS`; evaluation does not
count. charloom trains for two minutes through the command line, which sees nothing but two files. `pair` is the mean of
two networks that train at the same time, in the same two minutes.

The list holds some names more than once, so a held-out name can also be in the training part, here as in makemore;
`also_trained_on` is their share.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.harness import RESULTS, as_text, machine, mean_and_sd, rounded
from benchmarks.trials import data_file
from charloom import threads
from charloom.api import load
from charloom.engines import EngineModel
from charloom.text import Vocabulary

HELD_OUT, SPLIT_SEED = 1_000, 3407
"""How many names are held out, and makemore's seed, which draws the same names as makemore does."""
EVALUATE_EVERY = 500
BASELINE_SECONDS = 110.0
MINUTES = 2.0
SEEDS = 3
PADDING = -1
PAIR = ("--recipe", "names")
"""Settings of the two networks of `pair`: the default's with less dropout, since their mean smooths."""

PUBLISHED = {"transformer": 1.92}
"""What makemore's description quotes for its transformer, trained for longer, on another draw of the names."""


def split(
    names: Sequence[str], *, held_out: int = HELD_OUT, seed: int = SPLIT_SEED
) -> tuple[list[str], list[str]]:
    """Draw the names to hold out: (training names, held-out names), every line of the list in one of them."""
    import torch

    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    return [names[i] for i in order[:-held_out]], [names[i] for i in order[-held_out:]]


def encode(
    names: Sequence[str], ids: Mapping[str, int], end: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of names, (B, length) each.

    A row reads the end symbol and then the name; its targets are the name and the end, then `PADDING`.
    """
    inputs = np.full((len(names), length), end, np.int64)
    targets = np.full((len(names), length), PADDING, np.int64)
    for row, name in enumerate(names):
        chars = [ids[char] for char in name]
        inputs[row, 1 : len(chars) + 1] = chars
        targets[row, : len(chars) + 1] = [*chars, end]
    return inputs, targets


def mean_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy over the targets that are not padding, nats.

    Args:
        logits: (B, T, V).
        targets: (B, T).
    """
    values = logits.astype(np.float64)
    values -= values.max(axis=2, keepdims=True)
    log_sums = np.log(np.exp(values).sum(axis=2))
    counted = targets != PADDING
    chosen = np.take_along_axis(values, np.where(counted, targets, 0)[:, :, None], axis=2)[:, :, 0]
    return float((log_sums - chosen)[counted].mean())


def baseline(
    kind: Literal["transformer", "gru"],
    training: Sequence[str],
    held_out: Sequence[str],
    *,
    steps: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train one of makemore's networks and return its losses.

    Args:
        kind: which network.
        training: the names to train on.
        held_out: the names to evaluate.
        steps: number of updates; None means as many as fit into `BASELINE_SECONDS`.
        seed: seed of the weights and of the batches.
    """
    from benchmarks.baselines.plain_makemore import BATCH, PlainMakemore

    chars = sorted(set("".join([*training, *held_out])))
    ids, length = {char: i for i, char in enumerate(chars, 1)}, max(map(len, [*training, *held_out])) + 1
    inputs, targets = encode(training, ids, 0, length)
    test_inputs, test_targets = encode(held_out, ids, 0, length)
    trainer, rng = PlainMakemore(kind, len(chars) + 1, length, seed=seed), np.random.default_rng(seed)
    taken, train_time_s, losses = 0, 0.0, []

    def is_over() -> bool:
        return train_time_s >= BASELINE_SECONDS if steps is None else taken >= steps

    while not is_over():
        began = time.perf_counter()
        rows = rng.integers(0, len(inputs), BATCH)
        trainer.step(inputs[rows], targets[rows])
        taken, train_time_s = taken + 1, train_time_s + time.perf_counter() - began
        if taken % EVALUATE_EVERY == 0 or is_over():
            losses.append(mean_loss(trainer.logits(test_inputs), test_targets))
    return {
        "seed": seed,
        "num_params": trainer.num_params,
        "steps": taken,
        "train_time_s": rounded(train_time_s),
        "best": round(min(losses), 4),
        "last": round(losses[-1], 4),
    }


def default_recipe(
    training: Sequence[str], held_out: Sequence[str], *, steps: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Train charloom's default recipe through the command line and return its losses; arguments as `baseline`."""
    with tempfile.TemporaryDirectory() as folder:
        run, _ = _train(Path(folder), training, held_out, ["--seed", seed], steps)
        events = [json.loads(line) for line in (run / "events.jsonl").read_text("utf-8").splitlines()]
        results, model = json.loads((run / "config.json").read_text("utf-8"))["results"], load(run)
    best = loss_of_names(model.bound, model.vocab, held_out)
    return {
        "seed": seed,
        "num_params": sum(array.size for array in model.file.parameters.values()),
        "steps": results["steps"],
        "best_step": results["best_step"],
        "train_time_s": rounded(results["train_time_s"]),
        "wall_time_s": rounded(results["wall_time_s"]),
        "best": round(best, 4),
        "last": round([event["loss"] for event in events if event["event"] == "validation"][-1], 4),
    }


def pair(
    training: Sequence[str], held_out: Sequence[str], *, steps: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Train two networks of the recipe `names` at the same time, a core for each, and return the losses of their mean.

    Both have the two minutes that the default has, and keep their best states, as it does. `each` has their own losses;
    `wall_time_s` is that of the whole command. Arguments as `baseline`.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = ["--seed", 2 * seed, "--members", 2, *PAIR]
        began = time.perf_counter()
        _, found = _train(Path(folder), training, held_out, words, steps)
        wall_time_s = time.perf_counter() - began
        model, members = load(found["ensemble"]["model"]), [load(one["run"]) for one in found["runs"]]
    best = loss_of_names(model.bound, model.vocab, held_out)
    return {
        "seed": seed,
        "num_params": found["ensemble"]["num_params"],
        "steps": [one["steps"] for one in found["runs"]],
        "best_step": [one["best_step"] for one in found["runs"]],
        "wall_time_s": rounded(wall_time_s),
        "each": [round(loss_of_names(one.bound, one.vocab, held_out), 4) for one in members],
        "best": round(best, 4),
    }


def _train(
    folder: Path,
    training: Sequence[str],
    held_out: Sequence[str],
    words: Sequence[object],
    steps: int | None,
) -> tuple[Path, dict[str, Any]]:
    """Run ``charloom train``: (its --out, the object that it prints)."""
    text, val, run = (folder / name for name in ("training.txt", "held-out.txt", "run"))
    for path, names in ((text, training), (val, held_out)):
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
    budget = ["--minutes", MINUTES] if steps is None else ["--steps", steps]
    own = ["--val", val, "--documents", "line", "--out", run, "--json", "--quiet"]
    command = [sys.executable, "-m", "charloom", "train", text, *budget, *own, *words]
    said = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    return run, json.loads(said.stdout)


def loss_of_names(model: EngineModel, vocab: Vocabulary, names: Sequence[str]) -> float:
    """The protocol's loss of names for a model whose documents are lines, nats."""
    ids = {chr(code): i for i, code in enumerate(vocab.symbols)}
    assert vocab.boundary_id is not None
    inputs, targets = encode(names, ids, vocab.boundary_id, max(map(len, names)) + 1)
    logits, _ = model.forward(inputs, model.initial_state(len(names)))
    return mean_loss(logits, targets)


CONTESTANTS: dict[str, tuple[int, Callable[..., dict[str, Any]]]] = {
    "charloom": (SEEDS, default_recipe),
    "pair": (SEEDS, pair),
    "transformer": (1, partial(baseline, "transformer")),
    "gru": (1, partial(baseline, "gru")),
}
"""Seeds and function of each contestant."""


def main(arguments: Sequence[str] = ()) -> None:
    """Train the contestants and write ``results/makemore.json`` after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks makemore", description=__doc__)
    parser.add_argument("--only", choices=list(CONTESTANTS))
    parser.add_argument("--steps", type=int, help="updates, instead of a time; nothing is written")
    parser.add_argument("--seeds", type=int, help="seeds of each contestant")
    asked = parser.parse_args(arguments)
    names = [name for name in data_file("names").read_text("utf-8").split("\n") if name]
    training, held_out = split(names)
    path = RESULTS / "makemore.json"
    known = set(training)
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    found |= {
        "published": PUBLISHED,
        "training_names": len(training),
        "held_out_names": len(held_out),
        "also_trained_on": rounded(sum(name in known for name in held_out) / len(held_out)),
        "predictions": sum(len(name) + 1 for name in held_out),
    }
    for contestant in [asked.only] if asked.only else CONTESTANTS:
        seeds, train = CONTESTANTS[contestant]
        rows = []
        for seed in range(asked.seeds or seeds):
            with threads.limit(None):
                rows.append(train(training, held_out, steps=asked.steps, seed=seed))
            print(contestant, json.dumps(rows[-1]), flush=True)
        summary = {key: mean_and_sd([row[key] for row in rows]) for key in ("best", "last") if key in rows[0]}
        found[contestant] = {"machine": machine(), "summary": summary, "rows": rows}
        if asked.steps is None:
            path.write_text(as_text(found), encoding="utf-8")
