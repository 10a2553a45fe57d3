"""Training speed of the online trainer and of pure NumPy, the latter also compared with torch.

    D   system D: 100 tanh units, windows of 25, Adagrad, batch 1, on tiny Shakespeare
    E   system E: 128 sigmoid units, one update per character, SGD, on the first 50,000 characters of Molière
    LSTM 1×256, batch 32 × 64, AdamW: scratch against torch

The baselines of D and E are plain implementations of the published forms. If a baseline runs more than a
fifth slower here than when the systems were first measured, the ratio uses the first figure.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleave, median_ratio, write_results
from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

DATA = Path(os.environ.get("CHARLOOM_DATA", "../shared/data"))
ROUNDS = 7
FIRST_MEASURED = {"D": 8_000, "E": 3_600}
"""Characters per second of the published forms on this kind of machine."""

SLOWER = 0.8

D_MODEL = ModelConfig(cell="elman", activation="tanh", hidden_size=100, init="normal", init_scale=0.01)
D_TRAIN = TrainConfig(
    batch_size=1,
    bptt_length=25,
    stream_offset="fixed",
    loss="sum",
    optimizer="adagrad",
    epsilon_inside_root=True,
    learning_rate=0.1,
    schedule="constant",
    clip_norm=None,
    clip_value=5.0,
    steps=10**9,
)
E_MODEL = ModelConfig(cell="elman", activation="sigmoid", hidden_size=128, init="pytorch")
E_TRAIN = TrainConfig(
    batch_size=1,
    bptt_length=1,
    stream_offset="fixed",
    optimizer="sgd",
    learning_rate=0.1,
    schedule="constant",
    clip_norm=None,
    initial_state="normal",
    steps=10**9,
)
LSTM = ModelConfig(cell="lstm", hidden_size=256)
LSTM_TRAIN = TrainConfig(batch_size=32, bptt_length=64, learning_rate=2e-3, schedule="constant", steps=10**9)


def ids_of(name: str, limit: int | None = None) -> np.ndarray:
    """The characters of a corpus as ids."""
    text = (DATA / name).read_text("utf-8")[:limit]
    known = {char: i for i, char in enumerate(sorted(set(text)))}
    return np.array([known[char] for char in text])


def own(
    engine: str, model: ModelConfig, config: TrainConfig, ids: np.ndarray, steps: int
) -> Callable[[], Any]:
    """A function that takes the next `steps` updates on one of our engines, with training's thread limits."""
    vocab_size, plan = int(ids.max()) + 1, Plan(ids, config)
    chosen = load_engine(engine)
    learner = chosen.learner(initial_parameters(model, vocab_size, 0), model, config, device="cpu")
    at = {"step": 0, "state": learner.initial_state(range(plan.batch_size))}

    def run() -> None:
        with threads.limit():
            at["state"], _ = learner.advance(plan, at["step"], steps, at["state"])
        at["step"] += steps

    return run


def published(trainer: Any, ids: np.ndarray, steps: int) -> Callable[[], Any]:
    """A function that takes `steps` updates with a plain implementation of the published form."""

    def run() -> None:
        with threads.limit(None, blas=None):
            trainer.train(ids, steps)

    return run


def compare(
    runs: dict[str, tuple[Callable[[], Any], int]], baseline: str, first_measured: int | None
) -> list[dict[str, Any]]:
    """Time contestants, taking turns; each is given with the characters read per run."""
    seconds = interleave({name: run for name, (run, _) in runs.items()}, rounds=ROUNDS)
    per_char = {name: [s / chars for s in seconds[name]] for name, (_, chars) in runs.items()}
    measured = 1 / statistics.median(per_char[baseline])
    slow = first_measured is not None and measured < SLOWER * first_measured
    rows = []
    for name, each in per_char.items():
        speed = 1 / statistics.median(each)
        ratio = speed / first_measured if slow and first_measured else median_ratio(per_char[baseline], each)
        rows.append({"contestant": name, "chars_per_s": round(speed), "ratio": round(ratio, 2)})
        print(f"  {name:34} {speed:10,.0f} characters/s   {ratio:7.2f} x", flush=True)
    if slow:
        print(f"  (ratios are to {first_measured:,} characters/s: the baseline ran slowly here)")
    return rows


def main() -> None:
    """Measure, print the ratios and write ``results/scratch.json``."""
    from benchmarks.baselines.plain_numpy_rnn import PlainNumpyRNN
    from benchmarks.baselines.plain_online_rnn import PlainOnlineRNN

    shakespeare, moliere = ids_of("tinyshakespeare.txt"), ids_of("moliere.txt", 50_000)
    V, W = int(shakespeare.max()) + 1, int(moliere.max()) + 1
    print("D, training, batch 1, windows of 25, Adagrad")
    d = compare(
        {
            "published form": (published(PlainNumpyRNN(V), shakespeare, 200), 200 * 25),
            "charloom, online trainer": (own("fused", D_MODEL, D_TRAIN, shakespeare, 4_000), 4_000 * 25),
            "charloom, pure NumPy": (own("scratch", D_MODEL, D_TRAIN, shakespeare, 1_000), 1_000 * 25),
        },
        "published form",
        FIRST_MEASURED["D"],
    )
    print("E, training, one update per character, SGD")
    e = compare(
        {
            "published form": (published(PlainOnlineRNN(W), moliere, 2_000), 2_000),
            "charloom, online trainer": (own("fused", E_MODEL, E_TRAIN, moliere, 45_000), 45_000),
        },
        "published form",
        FIRST_MEASURED["E"],
    )
    print("LSTM 1×256, batch 32 × 64, AdamW")
    lstm = compare(
        {
            "charloom, torch engine": (own("torch", LSTM, LSTM_TRAIN, shakespeare, 5), 5 * 32 * 64),
            "charloom, pure NumPy": (own("scratch", LSTM, LSTM_TRAIN, shakespeare, 5), 5 * 32 * 64),
        },
        "charloom, torch engine",
        None,
    )
    rows = {"D": d, "E": e, "lstm-256": lstm}
    print(write_results("scratch", {"threads": threads.available(), "rounds": ROUNDS, "rows": rows}))


if __name__ == "__main__":
    main()
