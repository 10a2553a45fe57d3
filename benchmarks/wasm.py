"""Generation in WebAssembly under Node, compared with the native library: one stream, one core.

The module has the portable kernels, 128-bit vectors and no fused multiply-add; the native ones are as wide as the
processor allows. Both generate in turns, and the ratio is the median over the rounds.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generation import LARGE, SMALL
from benchmarks.harness import median_ratio, rounded, write_results
from charloom.config import ModelConfig
from charloom.engines import SamplingParams
from charloom.engines.fused.image import to_image
from charloom.engines.fused.model import FusedModel
from charloom.engines.fused.packing import pack
from charloom.generation.prefill import prefill_batch
from charloom.kernels.library import library
from charloom.parameters import initial_parameters

ROUNDS = 9
SECONDS = 0.3
ROOT = Path(__file__).parent.parent
RUN = ROOT / "tests" / "kernels" / "wasm" / "run.mjs"
MUST, WISH = 0.2, 0.5
"""Shares of the native speed."""

CASES: tuple[tuple[str, ModelConfig, int], ...] = (("LSTM 1×128", SMALL, 65), ("LSTM 2×512", LARGE, 83))


def native_speed(model: FusedModel, flavour: str) -> float:
    """Characters per second of one stream, with log-probabilities as in the module."""
    compiled = library()
    assert compiled is not None
    model._decode = compiled.function("decode", flavour)
    rows, written, began = prefill_batch(model, [np.zeros(1, np.int64)], [0], 0), 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        model.decode(rows, SamplingParams(0), 512, log_probs=True)
        written += 512
    return written / took


def measure(name: str, config: ModelConfig, vocab_size: int, precision: str, folder: Path) -> dict[str, Any]:
    """One row: the native library, its portable kernels and the module, in turns."""
    params = initial_parameters(config, vocab_size, 0)
    model = FusedModel(params, config, precision=precision, threads=1)
    image = folder / "image"
    image.write_bytes(to_image(pack(params, config, dtype=np.dtype(np.float32), int8=precision == "int8")))
    command = ["node", str(RUN), str(folder / "charloom.wasm"), "speed", str(image), str(SECONDS)]
    speeds: dict[str, list[float]] = {"float32": [], "portable": [], "wasm": []}
    for _ in range(ROUNDS):
        for flavour in ("float32", "portable"):
            speeds[flavour].append(native_speed(model, flavour))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        speeds["wasm"].append(float(done.stdout))
    ratio = rounded(median_ratio(speeds["wasm"], speeds["float32"]))
    return {
        "model": name,
        "precision": precision,
        "image_bytes": image.stat().st_size,
        "native_chars_per_s": round(statistics.median(speeds["float32"])),
        "native_portable_chars_per_s": round(statistics.median(speeds["portable"])),
        "wasm_chars_per_s": round(statistics.median(speeds["wasm"])),
        "wasm_ratio": ratio,
        "portable_ratio": rounded(median_ratio(speeds["portable"], speeds["float32"])),
        "reached": {f"wasm_ratio ≥ {least:g}": ratio >= least for least in (MUST, WISH)},
    }


def main() -> None:
    """Measure, print the table and write ``results/wasm.json``."""
    if shutil.which("node") is None:
        raise SystemExit("node is not installed, and it runs the WebAssembly module")
    node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        builder = [
            sys.executable,
            str(ROOT / "tools" / "build_kernels.py"),
            "--target",
            "wasm",
            "--out",
            name,
        ]
        subprocess.run(builder, check=True, capture_output=True)
        rows = []
        for title, config, vocab_size in CASES:
            for precision in ("float32", "int8"):
                row = measure(title, config, vocab_size, precision, folder)
                rows.append(row)
                print(
                    f"{title} {precision:8} native {row['native_chars_per_s']:8,} wasm {row['wasm_chars_per_s']:7,}"
                    f" ratio {row['wasm_ratio']}",
                    flush=True,
                )
        size = (folder / "charloom.wasm").stat().st_size
    print(write_results("wasm", {"rounds": ROUNDS, "node": node, "module_bytes": size, "rows": rows}))


if __name__ == "__main__":
    main()
