"""On a GPU: training speed of each cell compared with cuDNN, time to reach 1.4697, and losses of the recipes.

    speed     characters per second of charloom's step, in float32 and with bfloat16, and of the same network in
              plain PyTorch (cuDNN in TF32, PyTorch's default), taking turns; minGRU, which has no plain program,
              is compared with cuDNN's GRU of the same width and depth
    target    `flash` with more and more updates, each a complete training of three seeds, until the loss on
              windows of 256 reaches 1.4697, which nanoGPT reaches in three minutes on an A100
    recipes   `flash` with as many updates as two cores make in its time, `best` and `record` to their last pass,
              three seeds each

python -m benchmarks gpu         runs all three
python -m benchmarks.gpu speed   runs one of them and keeps the others' figures
python -m benchmarks.gpu show    prints the results as Markdown

Losses are on the last tenth of tiny Shakespeare, in nats per character, over 200 × 64 random windows.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, gpu, interleave, mean_and_sd, median_ratio, rounded, write_parts
from benchmarks.table import UPDATES_A_MINUTE
from benchmarks.training import V, charloom_run, plain_run
from benchmarks.trials import judged, trained, whole
from charloom.config import ModelConfig, TrainConfig
from charloom.engines.torch.cuda_graphs import WARM_UP
from charloom.parameters import count_parameters
from charloom.text.batching import Plan

ROUNDS, STEPS, BATCH, WINDOW = 7, 20, 64, 64
CASES: Mapping[str, dict[str, Any]] = {
    "elman 2x512": {"cell": "elman", "hidden_size": 512, "num_layers": 2},
    "lstm 2x512": {"cell": "lstm", "hidden_size": 512, "num_layers": 2},
    "gru 2x512": {"cell": "gru", "hidden_size": 512, "num_layers": 2},
    "mingru 2x512": {"cell": "mingru", "hidden_size": 512, "num_layers": 2},
    "residual lstm 2x256": {"cell": "lstm", "block": "residual", "hidden_size": 256, "num_layers": 2},
    "residual mingru 2x128": {"cell": "mingru", "block": "residual", "hidden_size": 128, "num_layers": 2},
    "residual mingru 3x384": {"cell": "mingru", "block": "residual", "hidden_size": 384, "num_layers": 3},
}
TARGET, LADDER, SEEDS, WINDOWS = 1.4697, (600, 800, 1_000, 1_300, 1_600), 3, 200 * 64
KINDS = ("float32", "bfloat16")
PROTOCOLS = ("windows_64", "windows_256")


def speed() -> dict[str, Any]:
    """Measure every case and its plain PyTorch program."""
    ids = np.random.default_rng(0).integers(0, V, 400_000).astype(np.uint8)
    rows = []
    for name, network in CASES.items():
        config = ModelConfig(**network)
        runs: dict[str, Callable[[], object]] = {}
        for precision in KINDS:
            own = TrainConfig(
                steps=10**6,
                batch_size=BATCH,
                bptt_length=WINDOW,
                schedule="constant",
                stream_offset="fixed",
                precision=precision,
            )
            plan = Plan(ids, own)
            runs[precision] = charloom_run(config, plan, own, steps=STEPS, device="cuda")
        plain = ModelConfig(
            cell="gru" if config.cell == "mingru" else config.cell,
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
        )
        runs["plain"] = plain_run(plain, plan, steps=STEPS, device="cuda")
        for run in [*runs.values()] * (WARM_UP + 1):
            run()  # the first window, which starts a text, is recorded in the last of these
        seconds = interleave(runs, rounds=ROUNDS)
        row: dict[str, Any] = {
            "model": name,
            "beside": plain.cell,
            "num_params": count_parameters(config, V),
        }
        for kind, times in seconds.items():
            row[f"{kind}_chars_per_s"] = round(STEPS * BATCH * WINDOW / statistics.median(times))
            if kind != "plain":
                row[f"{kind}_times_plain"] = rounded(median_ratio(seconds["plain"], times))
        rows.append(row)
        print(json.dumps(row), flush=True)
    return {"batch": [BATCH, WINDOW], "rounds": ROUNDS, "rows": rows}


def several(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train three seeds on the GPU with the same settings."""
    corpus, _ = whole("tinyshakespeare")
    runs = []
    for seed in range(SEEDS):
        done = trained(corpus, {**settings, "seed": seed, "device": "cuda"})
        runs.append((done, judged(done.model, corpus, num_windows=WINDOWS, protocols=PROTOCOLS)))
    losses = {p: [found[p] for _, found in runs] for p in PROTOCOLS}
    figures = {
        "num_params": runs[0][0].num_params,
        "updates": runs[0][0].finished.step,
        "epochs": rounded(runs[0][0].finished.chars_seen / len(corpus.train)),
        "train_time_s": [rounded(done.finished.train_time_s) for done, _ in runs],
        **{p: {**mean_and_sd(own), "seeds": [rounded(loss) for loss in own]} for p, own in losses.items()},
    }
    print(json.dumps({**settings, **figures}), flush=True)
    return figures


def target() -> dict[str, Any]:
    """The smallest number of updates of `flash` that is enough, and its training time."""
    rows = []
    for steps in LADDER:
        rows.append(several({"recipe": "flash", "steps": steps, "minutes": None}))
        if rows[-1]["windows_256"]["mean"] <= TARGET:
            break
    return {"windows_256": TARGET, "seeds": SEEDS, "rows": rows}


def recipes() -> dict[str, Any]:
    """Measure the three recipes."""
    steps = round(1.5 * UPDATES_A_MINUTE)
    return {
        "flash": several({"recipe": "flash", "steps": steps, "minutes": None}),
        "best": several({"recipe": "best"}),
        "record": several({"recipe": "record"}),
    }


def speeds_shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of `speed`.

    Example:
        >>> row = {"model": "lstm 1x8", "beside": "lstm", "plain_chars_per_s": 2000}
        >>> row |= {f"{kind}_chars_per_s": 3000 for kind in KINDS} | {f"{kind}_times_plain": 1.5 for kind in KINDS}
        >>> print(speeds_shown([row]).splitlines()[2])
        | lstm 1×8 | 3,000 | 3,000 | 2,000 (lstm) | 1.50 | 1.50 |
    """
    lines = [
        "| network | characters/s, float32 | with bfloat16 | plain PyTorch | float32 : plain | bfloat16 : plain |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        speeds = [f"{row[f'{kind}_chars_per_s']:,}" for kind in KINDS]
        speeds.append(f"{row['plain_chars_per_s']:,} ({row['beside']})")
        ratios = [f"{row[f'{kind}_times_plain']:.2f}" for kind in KINDS]
        lines.append("| " + " | ".join([row["model"].replace("x", "×"), *speeds, *ratios]) + " |")
    return "\n".join(lines) + "\n"


def losses_shown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of `recipes` or `target`: mean ± standard deviation over the seeds.

    Example:
        >>> loss = {"mean": 1.4, "sd": 0.01}
        >>> row = {"updates": 100, "epochs": 2.04, "train_time_s": [3, 1, 2], "windows_64": loss, "windows_256": loss}
        >>> print(losses_shown({"flash": row}).splitlines()[2])
        | flash | 100 | 2.0 | 2.0 | 1.400 ± 0.010 | 1.400 ± 0.010 |
    """
    lines = [
        "| recipe | updates | passes | training s | windows of 64 | windows of 256 |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        losses = [f"{row[p]['mean']:.3f} ± {row[p]['sd']:.3f}" for p in PROTOCOLS]
        seconds = f"{statistics.median(row['train_time_s']):.1f}"
        cells = [name, f"{row['updates']:,}", f"{row['epochs']:.1f}", seconds, *losses]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(results: Mapping[str, Any]) -> list[str]:
    """Markdown of all three parts."""
    found = {name: row for name, row in results["recipes"].items() if name != "machine"}
    tried = {f"flash, {row['updates']:,} updates": row for row in results["target"]["rows"]}
    return [speeds_shown(results["speed"]["rows"]), losses_shown(found), losses_shown(tried)]


PARTS: Mapping[str, Callable[[], dict[str, Any]]] = {"speed": speed, "target": target, "recipes": recipes}


def main(parts: Sequence[str] = tuple(PARTS)) -> None:
    """Measure the named parts and write them to ``results/gpu.json``, keeping the others."""
    if "show" in parts:
        print(*shown(json.loads((RESULTS / "gpu.json").read_text("utf-8"))), sep="\n")
        return
    assert gpu() is not None, "there is no CUDA device"
    print(write_parts("gpu", {part: PARTS[part] for part in parts}))


if __name__ == "__main__":
    main(sys.argv[1:] or tuple(PARTS))
