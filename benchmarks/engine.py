"""Training speed of the torch engine beside a plain PyTorch program, for the cells that both have.

Synthetic text of 65 symbols (speed does not depend on what it says), batch 32 × 64, median of interleaved rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.harness import interleave, median_ratio, write_results
from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.parameters import count_parameters, initial_parameters
from charloom.text.windows import Plan

V, B, T, STEPS = 65, 32, 64, 5
ROUNDS = 7
SHAPES = (("lstm", 256, 1), ("lstm", 512, 2), ("gru", 256, 1))
OWN = (("gru", "residual", 192, 1), ("mingru", "residual", 192, 2))


def charloom_run(config: ModelConfig, plan: Plan) -> Callable[[], object]:
    """A function that takes `STEPS` updates on the torch engine."""
    train_config = TrainConfig(
        steps=10**6, batch_size=B, bptt_length=T, schedule="constant", learning_rate=2e-3
    )
    learner = load_engine("torch").learner(
        initial_parameters(config, V, 0), config, train_config, device="cpu"
    )
    state = learner.initial_state(range(B))
    return lambda: learner.advance(plan, 0, STEPS, state)


def plain_run(kind: str, hidden_size: int, num_layers: int, plan: Plan) -> Callable[[], object]:
    """A function that takes `STEPS` updates in plain PyTorch."""
    from benchmarks.baselines.plain_torch import PlainTrainer

    trainer = PlainTrainer(kind, V, hidden_size, num_layers)
    windows = [plan.window(step, range(B)) for step in range(STEPS)]
    return lambda: [trainer.step(window.inputs, window.targets) for window in windows]


def main() -> None:
    """Measure, print and write ``results/engine.json``."""
    ids = np.random.default_rng(0).integers(0, V, 200_000).astype(np.uint8)
    plan = Plan(ids, TrainConfig(batch_size=B, bptt_length=T, stream_offset="fixed"))
    chars, rows = STEPS * B * T, []
    load_engine("torch")
    with threads.limit(None, blas=1) as num_threads:
        for kind, hidden_size, num_layers in SHAPES:
            config = ModelConfig(cell=kind, hidden_size=hidden_size, num_layers=num_layers)  # type: ignore[arg-type]
            runs = {
                "charloom": charloom_run(config, plan),
                "plain": plain_run(kind, hidden_size, num_layers, plan),
            }
            seconds = interleave(runs, rounds=ROUNDS)
            rows.append(
                {
                    "model": f"{kind} {num_layers}x{hidden_size}",
                    "charloom_chars_per_s": round(chars / statistics.median(seconds["charloom"])),
                    "plain_chars_per_s": round(chars / statistics.median(seconds["plain"])),
                    "ratio": round(median_ratio(seconds["plain"], seconds["charloom"]), 3),
                }
            )
            print(rows[-1], flush=True)
        for cell, block, hidden_size, num_layers in OWN:
            config = ModelConfig(cell=cell, block=block, hidden_size=hidden_size, num_layers=num_layers)  # type: ignore[arg-type]
            seconds = interleave({"charloom": charloom_run(config, plan)}, rounds=ROUNDS)
            rows.append(
                {
                    "model": f"{block} {cell} {num_layers}x{hidden_size}",
                    "num_params": count_parameters(config, V),
                    "charloom_chars_per_s": round(chars / statistics.median(seconds["charloom"])),
                }
            )
            print(rows[-1], flush=True)
    print(write_results("engine", {"threads": num_threads, "batch": [B, T], "rounds": ROUNDS, "rows": rows}))


if __name__ == "__main__":
    main()
