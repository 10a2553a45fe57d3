"""Sampling speed of the fused engine, compared with plain PyTorch programs and with cache bandwidth.

Each weight is read once per character, so a stream is as fast as its weights can be read: every row shows the
bytes read per second and what a plain read loop of the same size reaches in the same run. The baselines are
plain implementations of the published forms; if one runs more than a fifth slower here than when first
measured, the ratio uses the first figure.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.bandwidth import reader
from benchmarks.harness import interleave, median_ratio, write_results
from charloom import threads
from charloom.config import ModelConfig
from charloom.engines import SamplingParams, load_engine
from charloom.engines.fused.packing import Network
from charloom.generation.prefill import prefill_batch
from charloom.parameters import initial_parameters

ROUNDS = 7
SECONDS = 0.25
"""Approximate length of one timed run."""

FIRST_MEASURED = {"LSTM 1×128": 2_900, "LSTM 2×512": 440, "system A": 515}
"""Characters per second of the plain programs when first measured."""

SLOWER = 0.8

SMALL = ModelConfig(cell="lstm", hidden_size=128)
LARGE = ModelConfig(cell="lstm", hidden_size=512, num_layers=2)
GRU = ModelConfig(cell="gru", block="residual", hidden_size=256, num_layers=2)
MINGRU = ModelConfig(cell="mingru", block="residual", hidden_size=192, num_layers=2)
SYSTEM_A = ModelConfig(cell="elman", hidden_size=256)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: name of the network.
        config: the network.
        vocab_size: V.
        precision: float32 or int8.
        threads: for a single stream, or for several samples by rows.
        batch: samples generated in parallel.
        baseline: its name among the plain programs, or None.
        must: requirements: (quantity, minimum).
    """

    name: str
    config: ModelConfig
    vocab_size: int = 65
    precision: str = "float32"
    threads: int = 1
    batch: int = 1
    baseline: str | None = None
    must: Sequence[tuple[str, float]] = ()


C = "LSTM 2×512"
CASES = (
    Case("LSTM 1×128", SMALL, baseline="LSTM 1×128", must=(("chars_per_s", 90_000), ("ratio", 30))),
    Case("LSTM 1×128", SMALL, precision="int8", baseline="LSTM 1×128"),
    Case(C, LARGE, 83, baseline=C, must=(("share_of_bandwidth", 0.6),)),
    Case(C, LARGE, 83, threads=2, baseline=C, must=(("share_of_bandwidth", 0.6),)),
    Case(C, LARGE, 83, precision="int8", baseline=C, must=(("ratio", 12),)),
    Case(C, LARGE, 83, precision="int8", threads=2, baseline=C, must=(("ratio", 20),)),
    Case(C, LARGE, 83, threads=2, batch=64, baseline=C, must=(("chars_per_s", 20_000),)),
    Case(C, LARGE, 83, precision="int8", threads=2, batch=64, baseline=C, must=(("chars_per_s", 20_000),)),
    Case("residual GRU 2×256", GRU, must=(("share_of_bandwidth", 0.6),)),
    Case("residual GRU 2×256", GRU, precision="int8"),
    Case("residual minGRU 2×192", MINGRU, must=(("share_of_bandwidth", 0.6),)),
    Case("residual minGRU 2×192", MINGRU, precision="int8"),
    Case("system A", SYSTEM_A, 47, baseline="system A", must=(("ratio", 100),)),
)


def weight_bytes(net: Network) -> int:
    """Bytes of weights read per step of one row: every matrix, and one row of the table."""
    matrices = [layer[name] for layer in net.layers for name in ("w_ih", "w_hh", "proj", "gate_up", "down")]
    total = 0
    for matrix in [m for m in matrices if m["at"] >= 0] + [net.ends[0]["out"]]:
        size = 1 if matrix["scales"] >= 0 else net.numbers.itemsize
        total += int(matrix["panels"]) * 16 * int(matrix["columns"]) * size
    return total + net.table_width * net.numbers.itemsize


def writer(case: Case) -> tuple[Callable[[int], object], int]:
    """A function that generates `length` characters per sample, and the bytes of weights read for each."""
    params = initial_parameters(case.config, case.vocab_size, 0)
    model: Any = load_engine("fused").model(
        params, case.config, precision=case.precision, threads=case.threads
    )
    rows = prefill_batch(model, [np.zeros(1, np.int64)] * case.batch, range(case.batch), 0)
    return lambda length: model.decode(rows, SamplingParams(0), length), weight_bytes(model.net)


def long_enough(write: Callable[[int], object]) -> int:
    """The number of characters that takes about `SECONDS`."""
    import time

    length, took = 4, 0.0
    while took < SECONDS / 4:
        length *= 2
        began = time.perf_counter()
        write(length)
        took = time.perf_counter() - began
    return max(4, round(length * SECONDS / took))


def plain_programs() -> dict[str, Callable[[int], object]]:
    """The baselines by name: functions that generate a number of characters."""
    from benchmarks.baselines.plain_elman import WINDOW, PlainElman
    from benchmarks.baselines.plain_writer import PlainWriter

    window = np.zeros(WINDOW, np.int64)
    elman = PlainElman(47)
    return {
        "LSTM 1×128": PlainWriter(65, 128, 1).write,
        C: PlainWriter(83, 512, 2, dropout=0.5, top_k=5).write,
        "system A": lambda length: elman.write(window, length, 0.8),
    }


def measure(case: Case, plain: dict[str, Callable[[int], object]]) -> dict[str, Any]:
    """Measure one row: the case, its baseline and a plain read of as many bytes, taking turns."""
    write, num_bytes = writer(case)
    lengths = {"charloom": long_enough(write)}
    runs: dict[str, Callable[[], object]] = {"charloom": lambda: write(lengths["charloom"])}
    if case.baseline is not None:
        theirs = plain[case.baseline]
        lengths["plain"] = long_enough(theirs)
        runs["plain"] = lambda: theirs(lengths["plain"])
    if case.batch == 1:
        runs["reading"], bytes_read = reader(num_bytes, case.threads)
    with threads.limit(1):  # for the plain programs; the fused engine has its own threads
        seconds = interleave(runs, rounds=ROUNDS)
    each = [s / (lengths["charloom"] * case.batch) for s in seconds["charloom"]]
    speed = 1 / statistics.median(each)
    row = {
        "model": case.name,
        "precision": case.precision,
        "threads": case.threads,
        "samples": case.batch,
        "chars_per_s": round(speed),
        "weight_bytes_per_char": num_bytes,
    }
    if case.batch == 1:
        each_byte = [s / bytes_read for s in seconds["reading"]]
        row |= {
            "weights_read_gb_per_s": round(speed * num_bytes / 1e9, 1),
            "bandwidth_gb_per_s": round(1 / statistics.median(each_byte) / 1e9, 1),
            "share_of_bandwidth": round(median_ratio(each_byte, [s / num_bytes for s in each]), 2),
        }
    if case.baseline is not None:
        row |= _against_baseline(case, each, [s / lengths["plain"] for s in seconds["plain"]])
    row["reached"] = {f"{what} ≥ {least:g}": bool(row[what] >= least) for what, least in case.must}
    return row


def _against_baseline(case: Case, each: list[float], plain: list[float]) -> dict[str, Any]:
    first, measured = FIRST_MEASURED[str(case.baseline)], 1 / statistics.median(plain)
    against = "measured here"
    ratio = median_ratio(plain, each)
    if measured < SLOWER * first:
        against, ratio = f"first measured, {first}", 1 / statistics.median(each) / first
    return {"plain_chars_per_s": round(measured), "ratio": round(ratio, 1), "ratio_against": against}


START = """
import sys, time
began = time.perf_counter()
from charloom.engines import load_engine
load_engine("fused")
imported = time.perf_counter()
from charloom.kernels.library import library
library()
print(imported - began, time.perf_counter() - imported)
"""


def start() -> dict[str, float]:
    """Seconds before the first character of a second process: for imports, and to load the compiled loops."""
    found = [
        subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True).stdout
        for _ in range(ROUNDS)
    ]
    imports, loops = zip(*((float(x) for x in line.split()) for line in found), strict=True)
    return {
        "import_s": round(statistics.median(imports), 2),
        "compiled_loops_s": round(statistics.median(loops), 2),
    }


def main() -> None:
    """Measure, print the table and write ``results/generation.json``."""
    plain, rows = plain_programs(), []
    print(f"{'model':22} {'precision':9} thr  smp  characters/s    GB/s  of GB/s  share  ratio")
    for case in CASES:
        row = measure(case, plain)
        rows.append(row)
        read, top, share = (
            row.get(k, "") for k in ("weights_read_gb_per_s", "bandwidth_gb_per_s", "share_of_bandwidth")
        )
        missed = [what for what, reached in row["reached"].items() if not reached]
        print(
            f"{case.name:22} {case.precision:9} {case.threads:3} {case.batch:4} {row['chars_per_s']:13,} {read!s:>7} "
            f"{top!s:>8} {share!s:>6} {row.get('ratio', '')!s:>6}  {'missed: ' + ', '.join(missed) if missed else ''}",
            flush=True,
        )
    begin = start()
    print(f"second process: {begin}")
    print(write_results("generation", {"rounds": ROUNDS, "rows": rows, "start": begin}))


if __name__ == "__main__":
    main()
