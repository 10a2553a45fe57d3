"""Several machines: what a step sends, how fast two hosts are on three links, and what many machines would be on paper.

python -m benchmarks scaling [--part speed|overlap|loss|paper] [--seeds N]

speed   two hosts (network namespaces) train with links of 1000, 100 and 10 Mbit/s, with gradients in every step and
        with weights after every 100; `simulator` predicts each from the steps of a host alone and from the link
overlap three layers on 1000 and 100 Mbit/s: gradients sent in buckets while the rest is computed, and all at the end, in turns
loss    the two ways on 10 Mbit/s, two seeds each by default: held-out loss and bytes sent
paper   the simulator for 8 GPUs and for 64 CPU machines

Needs Linux, root and iproute2; the text is tiny Shakespeare in CHARLOOM_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import RESULTS, rounded, write_parts
from benchmarks.hosts import ROOT, Hosts, cannot
from benchmarks.simulator import Link, compute_seconds, measured_link, quantiles, step_s, steps_of

DATA = Path(os.environ.get("CHARLOOM_DATA", "../shared/data")).absolute()
TEXT = DATA / "tinyshakespeare.txt"
LINKS_MBIT = (1000.0, 100.0, 10.0)
SYNC_EVERY = 100
WAYS = (("gradients", 1), ("weights", SYNC_EVERY))
"""What two hosts send, and after how many steps."""
NETWORK = ["--cell", "gru", "--block", "plain", "--num-layers", "1"]
BATCH, LENGTH = 32, 64
HIDDEN, LOSS_HIDDEN = 96, 32
SHARED = ["--bptt-length", str(LENGTH), "--device", "cpu", "--threads", "1"]
STEPS, ROUNDS = 160, 3
LOSS_STEPS, LOSS_SYNC_EVERY = 3000, 64
NO_PAUSES = ["--validate-every", "1000000", "--sample-every", "1000000", "--peer-timeout-s", "600"]


def train(
    hosts: Hosts,
    folder: Path,
    name: str,
    words: Sequence[str],
    *,
    hidden_size: int = HIDDEN,
    network: Sequence[str] = NETWORK,
    program: Sequence[str] = ("-m", "charloom"),
) -> dict[str, Any]:
    """Train on both hosts; rank 0's results, with the bytes that host 1 sent."""
    before = hosts.sent_bytes(1)
    shared = [*program, "train", str(TEXT), *network, *SHARED, "--batch-size", str(BATCH)]
    shared += ["--out", name, "--json", "--quiet", "--hidden-size", str(hidden_size)]
    processes = [hosts.start_rank(i, [*shared, *words], folder=folder) for i in range(2)]
    texts = [process.communicate(timeout=1400) for process in processes]
    if processes[0].returncode:
        raise RuntimeError(texts[0][1] + texts[0][0])
    return json.loads(texts[0][0]) | {"sent_bytes": hosts.sent_bytes(1) - before}


def steps_s(run: Path) -> float:
    """The mean seconds a step over a run's ranges of steps, without the first two."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text("utf-8").splitlines()]
    found = [e for e in events if e.get("event") == "progress"][2:]
    total = sum(e["step"] - e["first_step"] for e in found)
    return sum((e["step"] - e["first_step"]) * BATCH * LENGTH / e["chars_per_s"] for e in found) / total


class Trained(NamedTuple):
    """Two hosts that have trained together, in some rounds."""

    step_s: float  # mean over the rounds
    sent_bytes: float  # by host 1, a step
    num_params: int


def speed() -> dict[str, Any]:
    """Measure two hosts on each link, in both ways, and compare with the simulator."""
    rows: list[dict[str, Any]] = []
    pooled: list[float] = []
    for mbit in LINKS_MBIT:
        ways, alone, link = measured(mbit)
        pooled += alone
        for (way, sync_every), done in ways.items():
            predicted = step_s(alone, link, 4 * done.num_params, 2, sync_every=sync_every)
            row = {"mbit": mbit, "way": way, "sync_every": sync_every, "num_params": done.num_params}
            row |= {"measured_step_s": done.step_s, "sent_bytes_a_step": done.sent_bytes}
            row |= {"compute_s": statistics.mean(alone), **link._asdict()}
            row |= {"predicted_step_s": predicted, "ratio": done.step_s / predicted}
            rows.append({k: v if isinstance(v, str | int) else rounded(v) for k, v in row.items()})
            print(rows[-1], flush=True)
    return {"rounds": ROUNDS, "compute_quantiles_s": [rounded(x) for x in quantiles(pooled)], "rows": rows}


def measured(mbit: float) -> tuple[dict[tuple[str, int], Trained], list[float], Link]:
    """Rounds of two hosts that train alone, together in both ways, and probe their link.

    Returns:
        What came of each of `WAYS`, seconds of steps of a host alone, and the link: means over the rounds.
    """
    found: dict[tuple[str, int], list[Trained]] = {way: [] for way in WAYS}
    alone: list[float] = []
    links: list[Link] = []
    words = ["train", str(TEXT), *NETWORK, *SHARED, *NO_PAUSES, "--steps", str(STEPS), "--json", "--quiet"]
    words += ["--batch-size", str(BATCH // 2), "--lane-groups", "1", "--hidden-size", str(HIDDEN)]
    for _ in range(ROUNDS):
        with Hosts(2, has_own_core=True) as hosts, tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            hosts.slow(mbit)
            for way, sync_every in WAYS:
                alone += compute_seconds(hosts, folder, words, name=f"before-{way}")
                together = ["--steps", str(STEPS if sync_every == 1 else 3 * SYNC_EVERY), "--lane-groups"]
                together += ["2"] if sync_every == 1 else ["1", "--sync-every", str(sync_every)]
                done = train(hosts, folder, way, [*NO_PAUSES, *together])
                sent = done["sent_bytes"] / done["steps"]
                found[way, sync_every].append(Trained(steps_s(folder / way), sent, done["num_params"]))
            links.append(measured_link(hosts, done["num_params"], statistics.median(alone)))
    ways = {
        way: Trained(
            statistics.mean(one.step_s for one in rounds),
            statistics.mean(one.sent_bytes for one in rounds),
            rounds[0].num_params,
        )
        for way, rounds in found.items()
    }
    return ways, alone, Link(*(statistics.mean(values) for values in zip(*links, strict=True)))


AT_THE_END = """
import sys
from charloom.cli import main
from charloom.engines.torch import bucketed_sum
bucketed_sum.BUCKET_BYTES = 1 << 60
sys.exit(main(sys.argv[1:]))
"""
OVERLAP_STEPS, OVERLAP_ROUNDS, OVERLAP_LINKS = 24, 3, (1000.0, 100.0)


def overlap() -> dict[str, Any]:
    """Measure a network of three layers on two links, with the gradients in buckets and all at the end, in turns."""
    ways = {"buckets": ("-m", "charloom"), "at the end": ("-c", AT_THE_END)}
    words = [*NO_PAUSES, "--steps", str(OVERLAP_STEPS), "--lane-groups", "2"]
    network = ["--cell", "lstm", "--block", "plain", "--num-layers", "3"]
    rows: list[dict[str, Any]] = []
    for mbit in OVERLAP_LINKS:
        found: dict[str, list[float]] = {way: [] for way in ways}
        num_params = 0
        with Hosts(2) as hosts, tempfile.TemporaryDirectory() as place:
            hosts.slow(mbit)
            for number in range(OVERLAP_ROUNDS):
                for way, program in ways.items():
                    name, folder = f"{way[:2]}{number}", Path(place)
                    how: dict[str, Any] = {"hidden_size": 256, "network": network, "program": program}
                    num_params = train(hosts, folder, name, words, **how)["num_params"]
                    found[way].append(steps_s(folder / name))
        medians = {way: statistics.median(times) for way, times in found.items()}
        row = {"mbit": mbit, **{f"{way} (s a step)": rounded(median) for way, median in medians.items()}}
        rows.append(row | {"ratio": rounded(medians["buckets"] / medians["at the end"])})
        print(rows[-1], flush=True)
    return {"model": "LSTM 3×256", "num_params": num_params, "rounds": OVERLAP_ROUNDS, "rows": rows}


def loss(seeds: int = 2) -> dict[str, Any]:
    """Compare the losses of the two ways, and the bytes, on 10 Mbit/s."""
    rows = []
    ways = {"weights": ["--sync-every", str(LOSS_SYNC_EVERY)], "gradients": ["--lane-groups", "2"]}
    for seed in range(seeds):
        for way, more in ways.items():
            with Hosts(2) as hosts, tempfile.TemporaryDirectory() as place:
                hosts.slow(10)
                words = ["--steps", str(LOSS_STEPS), "--seed", str(seed), "--peer-timeout-s", "600", *more]
                done = train(hosts, Path(place), way, words, hidden_size=LOSS_HIDDEN)
            row = {"seed": seed, "way": way, "steps": done["steps"], "num_params": done["num_params"]}
            row |= {name: rounded(done[name]) for name in ("val_loss_nats", "train_time_s")}
            rows.append(row | {"sent_bytes": done["sent_bytes"]})
            print(rows[-1], flush=True)
    sent = {way: sum(row["sent_bytes"] for row in rows if row["way"] == way) for way in ways}
    ratio = rounded(sent["gradients"] / sent["weights"])
    return {"mbit": 10, "sync_every": LOSS_SYNC_EVERY, "bytes_ratio": ratio, "rows": rows}


ON_PAPER = {
    "NVLink, 8 GPUs": (8, Link(10e-6, 200e9), "a GPU's 450 GB/s each way, less than half of it used"),
    "100 Gbit/s, 64 machines": (64, Link(30e-6, 10e9), "a data centre"),
    "1 Gbit/s, 64 machines": (64, Link(200e-6, 0.11e9), "an office"),
    "100 Mbit/s, 64 machines": (64, Link(10e-3, 0.011e9), "homes"),
}
"""Ranks, link of each, and what it stands for; latencies and speeds are assumed, not measured."""


def paper() -> dict[str, Any]:
    """The simulator for machines that are not here, from the compute measured on one GPU and on one host."""
    gpu = json.loads((RESULTS / "gpu.json").read_text("utf-8"))["speed"]
    model = next(row for row in gpu["rows"] if row["model"] == "lstm 2x512")
    batch = gpu["batch"][0] * gpu["batch"][1]
    on_gpu = [batch / model["bfloat16_chars_per_s"]], model["num_params"]
    path = RESULTS / "scaling.json"
    measured = json.loads(path.read_text("utf-8"))["speed"] if path.exists() else None
    rows = []
    for name, (ranks, link, about) in ON_PAPER.items():
        is_gpu = "GPU" in name
        if measured is None and not is_gpu:
            continue
        here = (
            (steps_of(measured["compute_quantiles_s"]), measured["rows"][0]["num_params"])
            if measured
            else on_gpu
        )
        steps, params = on_gpu if is_gpu else here
        compute = float(np.mean(steps))
        for sync_every in (1, SYNC_EVERY):
            seconds = step_s(steps, link, 4 * params, ranks, sync_every=sync_every)
            rows.append(
                {
                    "machines": name,
                    "about": about,
                    "ranks": ranks,
                    "sync_every": sync_every,
                    "num_params": params,
                    "compute_s": rounded(compute),
                    "step_s": rounded(seconds),
                    "bytes_a_step": round(2 * 4 * params * (ranks - 1) / ranks / sync_every),
                    "times_one": rounded(ranks * compute / seconds),
                }
            )
    return {"assumed": "each rank trains on a batch as large as the one measured", "rows": rows}


PARTS = {"speed": speed, "overlap": overlap, "loss": loss, "paper": paper}


def main(arguments: Sequence[str] = ()) -> None:
    """Run one part or all, and write ``results/scaling.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS))
    parser.add_argument("--seeds", type=int, default=2, help="of the part loss")
    asked = parser.parse_args(arguments)
    wanted = [asked.part] if asked.part else list(PARTS)
    if (why := cannot()) is not None and wanted != ["paper"]:
        raise SystemExit(f"scaling needs hosts: {why}")
    os.chdir(ROOT)
    parts = {**PARTS, "loss": lambda: loss(asked.seeds)}
    print(write_parts("scaling", {name: parts[name] for name in wanted}))
