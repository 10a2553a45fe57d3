"""Training on the CPU against the machine's limit and plain PyTorch, and the time to reach a small GPT's loss.

    speed    characters per second of charloom's step and of the same network in plain PyTorch, which runs in its
             own process, and the share of the float32 matrix peak reached by the matrix products; all take turns,
             including the peak; on a processor with bfloat16 tiles also with ``precision="bfloat16"``, against the
             same float32 program
    gpt      nanoGPT's setting for a laptop, trained here, and the recipe ``flash`` in the same time, an eighth and
             a twelfth of it

python -m benchmarks training          both, in ten minutes
python -m benchmarks.training speed    one of them, keeping the other's figures
python -m benchmarks.training show     the tables of docs/explanation/training.md

Speed is measured on random characters, as it does not depend on the content. Losses are on the last tenth of
tiny Shakespeare, in nats per character, over 200 × 64 random windows.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, apart, interleave, median_ratio, rounded, write_parts
from benchmarks.trials import judged, trained, whole
from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.evaluation.protocols import windows_loss
from charloom.parameters import count_parameters, initial_parameters, parameter_shapes
from charloom.text.batching import Plan

V = 65
ROUNDS, STEPS = 7, 2
PEAK_SIZE = 1_024
WINDOWS = 200 * 64
DOCUMENTED_STEP_S = 0.036
"""A step of the small GPT in nanoGPT's program on two cores with AVX-512; used if a step is slower here."""

CASES: dict[str, tuple[dict[str, Any], int, int, bool]] = {
    "residual minGRU 3x192": (
        {"cell": "mingru", "block": "residual", "hidden_size": 192, "num_layers": 3},
        32,
        64,
        False,
    ),
    "residual minGRU 2x128": (
        {"cell": "mingru", "block": "residual", "hidden_size": 128, "num_layers": 2},
        32,
        64,
        False,
    ),
    "residual GRU 2x256": (
        {"cell": "gru", "block": "residual", "hidden_size": 256, "num_layers": 2},
        64,
        64,
        False,
    ),
    "GRU 1x256": ({"cell": "gru", "hidden_size": 256}, 64, 64, True),
    "LSTM 1x256": ({"cell": "lstm", "hidden_size": 256}, 64, 64, True),
    "LSTM 2x512": ({"cell": "lstm", "hidden_size": 512, "num_layers": 2}, 64, 64, True),
    "system C: LSTM 2x512, dropout 0.5": (
        {
            "cell": "lstm",
            "hidden_size": 512,
            "num_layers": 2,
            "dropout_layer": 0.5,
            "dropout_output": 0.5,
        },
        128,
        100,
        True,
    ),
}
"""(network, batch, window, whether there is a plain program for it)."""


def products_a_char(config: ModelConfig) -> int:
    """Multiplications per character in forward matrix products; look-ups (embedding, one-hot) do not count."""
    shapes = parameter_shapes(config, V)
    looked_up = {"embedding"} if "embedding" in shapes else {"layers.0.cell.w_ih"}
    return sum(
        rows * columns
        for name, (rows, columns) in ((name, s) for name, s in shapes.items() if len(s) == 2)
        if name not in looked_up and "conv" not in name
    )


def charloom_run(
    config: ModelConfig,
    plan: Plan,
    train_config: TrainConfig,
    *,
    vocab_size: int = V,
    steps: int = STEPS,
    device: str = "cpu",
) -> Callable[[], object]:
    """A function that takes `steps` updates on the torch engine."""
    learner = load_engine("torch").learner(
        initial_parameters(config, vocab_size, 0), config, train_config, device=device
    )
    state = learner.initial_state(range(plan.batch_size))
    return lambda: learner.advance(plan, 0, steps, state)


def plain_run(
    config: ModelConfig, plan: Plan, *, steps: int = STEPS, device: str = "cpu"
) -> Callable[[], object]:
    """A function that takes `steps` updates in plain PyTorch."""
    from benchmarks.baselines.plain_torch import PlainTrainer

    trainer = PlainTrainer(
        config.cell,
        V,
        config.hidden_size,
        config.num_layers,
        dropout=config.dropout_output,
        device=device,
    )
    windows = [plan.window(step, range(plan.batch_size)) for step in range(steps)]
    return lambda: [trainer.step(window.inputs, window.targets) for window in windows]


def matrix_peak() -> Callable[[], object]:
    """A function that multiplies two square matrices of `PEAK_SIZE` four times."""
    import torch

    a, out = torch.randn(PEAK_SIZE, PEAK_SIZE), torch.empty(PEAK_SIZE, PEAK_SIZE)
    return lambda: [torch.mm(a, a, out=out) for _ in range(4)]


def speed() -> dict[str, Any]:
    """Measure every case, its plain program and the matrix peak in the same rounds."""
    from charloom.engines.torch.precision import fast_way

    ids = np.random.default_rng(0).integers(0, V, 400_000).astype(np.uint8)
    rows = []
    for name, (network, batch, window, has_plain) in CASES.items():
        config = ModelConfig(**network)
        train_config = TrainConfig(
            steps=10**6, batch_size=batch, bptt_length=window, schedule="constant", stream_offset="fixed"
        )
        plan = Plan(ids, train_config)
        runs = {"peak": matrix_peak(), "charloom": charloom_run(config, plan, train_config)}
        if fast_way():
            runs["bfloat16"] = charloom_run(config, plan, replace(train_config, precision="bfloat16"))
        with apart(plain_run, config, plan) if has_plain else nullcontext() as plain:
            seconds = interleave(runs | ({"plain": plain} if plain else {}), rounds=ROUNDS, warm=True)
        chars = STEPS * batch * window
        peak = 4 * 2 * PEAK_SIZE**3 / statistics.median(seconds["peak"])
        made = 6 * products_a_char(config) * chars / statistics.median(seconds["charloom"])
        row: dict[str, Any] = {
            "model": name,
            "batch": [batch, window],
            "num_params": count_parameters(config, V),
            "chars_per_s": round(chars / statistics.median(seconds["charloom"])),
            "gflops": rounded(made / 1e9),
            "peak_gflops": rounded(peak / 1e9),
            "share_of_peak": rounded(made / peak),
        }
        if "bfloat16" in runs:
            row["bfloat16_chars_per_s"] = round(chars / statistics.median(seconds["bfloat16"]))
            row["bfloat16_times_float32"] = rounded(median_ratio(seconds["charloom"], seconds["bfloat16"]))
        if has_plain:
            row["plain_chars_per_s"] = round(chars / statistics.median(seconds["plain"]))
            row["times_plain"] = rounded(median_ratio(seconds["plain"], seconds["charloom"]))
            if "bfloat16" in runs:
                row["bfloat16_times_plain"] = rounded(median_ratio(seconds["plain"], seconds["bfloat16"]))
        rows.append(row)
        print(row, flush=True)
    return {"threads": threads.available(), "rounds": ROUNDS, "rows": rows}


def gpt() -> dict[str, Any]:
    """Train the small GPT to its end, then ``flash`` in the same time and in fractions of it."""
    from benchmarks.baselines.plain_gpt import CONTEXT, STEPS, taught

    corpus, _ = whole("tinyshakespeare")
    model, steps_s = taught(corpus.train, len(corpus.vocab))
    loss = windows_loss(model, corpus.validation, window=CONTEXT, num_windows=WINDOWS).loss_nats
    total_s = min(sum(steps_s), STEPS * DOCUMENTED_STEP_S)
    rows = []
    for part in (1, 8, 12):
        minutes = total_s / part / 60
        done = trained(corpus, {"recipe": "flash", "minutes": minutes})
        row = {
            "part_of_its_time": f"1/{part}",
            "train_time_s": rounded(done.finished.train_time_s),
            "wall_time_s": rounded(done.finished.wall_time_s),
            "chars_per_s": round(done.finished.chars_seen / done.finished.train_time_s),
            "num_params": done.num_params,
            **{key: rounded(value) for key, value in judged(done.model, corpus, num_windows=WINDOWS).items()},
        }
        row["as_good"] = row["windows_64"] <= loss
        rows.append(row)
        print(row, flush=True)
    return {
        "num_params": model.num_params,
        "step_s": rounded(statistics.median(steps_s)),
        "documented_step_s": DOCUMENTED_STEP_S,
        "train_time_s": rounded(sum(steps_s)),
        "counted_s": rounded(total_s),
        "windows_64": rounded(loss),
        "flash": rows,
    }


Column = tuple[str, Callable[[Mapping[str, Any]], str]]


def _number(key: str, form: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: f"{row[key]:{form}}" if key in row else "–"


SPEED_COLUMNS: tuple[Column, ...] = (
    (
        "network, batch × window",
        lambda r: f"{r['model'].replace('x', '×')}, {' × '.join(map(str, r['batch']))}",
    ),
    ("characters/s", _number("chars_per_s", ",")),
    ("share of the matrix peak", _number("share_of_peak", ".2f")),
    ("plain PyTorch", _number("plain_chars_per_s", ",")),
    ("times plain", _number("times_plain", ".2f")),
)
TILES_COLUMNS: tuple[Column, ...] = (
    ("in bfloat16", _number("bfloat16_chars_per_s", ",")),
    ("times float32", _number("bfloat16_times_float32", ".2f")),
    ("times plain", _number("bfloat16_times_plain", ".2f")),
)
GPT_COLUMNS: tuple[Column, ...] = (
    ("`flash` for … of the GPT's time", lambda r: r["part_of_its_time"].removesuffix("/1")),
    ("training s", _number("train_time_s", ".1f")),
    ("windows of 64", _number("windows_64", ".3f")),
    ("windows of 256", _number("windows_256", ".3f")),
)


def shown(results: Mapping[str, Any]) -> list[str]:
    """Both parts as Markdown."""
    rows = results["speed"]["rows"]
    columns = SPEED_COLUMNS + (TILES_COLUMNS if "bfloat16_chars_per_s" in rows[0] else ())
    return [_table(columns, rows), _table(GPT_COLUMNS, results["gpt"]["flash"])]


def _table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    head = [" | ".join(name for name, _ in columns), "|".join(["---", *["--:"] * (len(columns) - 1)])]
    lines = [" | ".join(show(row) for _, show in columns) for row in rows]
    return f"| {head[0]} |\n|{head[1]}|\n" + "".join(f"| {line} |\n" for line in lines)


PARTS: Mapping[str, Callable[[], dict[str, Any]]] = {"speed": speed, "gpt": gpt}


def main(parts: Sequence[str] = tuple(PARTS)) -> None:
    """Measure the named parts and write them to ``results/training.json``, keeping the others."""
    if "show" in parts:
        print(*shown(json.loads((RESULTS / "training.json").read_text("utf-8"))), sep="\n")
        return
    with threads.limit(None, blas=1):
        print(write_parts("training", {part: PARTS[part] for part in parts}))


if __name__ == "__main__":
    main(sys.argv[1:] or tuple(PARTS))
