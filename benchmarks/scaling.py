"""Several machines: what a step sends, how fast two hosts are on three links, and what many machines would be on paper.

python -m benchmarks scaling [--part speed|overlap|loss|paper] [--seeds N]

speed   two hosts (network namespaces) train with links of 1000, 100 and 10 Mbit/s, with gradients in every step and
        with weights after every 100; the simulator predicts each from the compute of one host and the speed of the link
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

from benchmarks.harness import RESULTS, rounded, write_parts
from benchmarks.hosts import ROOT, Hosts, cannot

DATA = Path(os.environ.get("CHARLOOM_DATA", "../shared/data")).absolute()
TEXT = DATA / "tinyshakespeare.txt"
LINKS_MBIT = (1000.0, 100.0, 10.0)
SYNC_EVERY = 100
NETWORK = ["--cell", "gru", "--block", "plain", "--num-layers", "1"]
BATCH, LENGTH = 32, 64
HIDDEN, LOSS_HIDDEN = 96, 32
SHARED = ["--bptt-length", str(LENGTH), "--device", "cpu", "--threads", "1"]
STEPS, LOSS_STEPS, LOSS_SYNC_EVERY = 160, 3000, 64
NO_PAUSES = ["--validate-every", "1000000", "--sample-every", "1000000", "--peer-timeout-s", "600"]


class Link(NamedTuple):
    """What connects two ranks, each way."""

    latency_s: float  # of one exchange of a few bytes
    bytes_per_s: float


def exchange_s(link: Link, num_bytes: float, ranks: int) -> float:
    """Seconds to add vectors of `num_bytes` in `ranks` ranks: all-to-all, then all-gather, each (R − 1) / R of them.

    Example:
        >>> exchange_s(Link(0.01, 1e6), 1e6, 2)
        1.02
    """
    return 2 * (link.latency_s + num_bytes * (ranks - 1) / ranks / link.bytes_per_s)


def step_s(compute_s: float, link: Link, num_bytes: float, ranks: int, *, sync_every: int = 1) -> float:
    """Seconds a step: computing, and an exchange in each step or after every `sync_every`.

    Example:
        >>> step_s(0.5, Link(0.01, 1e6), 1e6, 2, sync_every=10)
        0.602
    """
    return compute_s + exchange_s(link, num_bytes, ranks) / sync_every


PROBE = """
import json, statistics, sys, time, torch
from charloom.distributed import read_launch
from charloom.distributed.ranks import Ranks
with Ranks(read_launch()) as ranks:
    def once(n):
        into, out = torch.zeros(2 * n), torch.zeros(2 * n)
        began = time.perf_counter()
        ranks.all_to_all(into, out, [n, n], [n, n])
        ranks.all_gather(into, out[:n])
        return time.perf_counter() - began
    n = int(sys.argv[1])
    for size in (1, n):
        once(size)
    small = statistics.median(once(1) for _ in range(20)) / 2
    large = statistics.median(once(n) for _ in range(7)) / 2
    if ranks.rank == 0:
        print(json.dumps([small, 4 * n / max(1e-9, large - small)]))
"""


def measured_link(hosts: Hosts, num_floats: int) -> Link:
    """The speed of a link, by the exchanges of a training: of one number, and of half a gradient each way."""
    processes = [hosts.start_rank(i, ["-c", PROBE, str(num_floats // 2)]) for i in range(2)]
    texts = [process.communicate(timeout=600) for process in processes]
    if not texts[0][0]:
        raise RuntimeError(texts[0][1])
    return Link(*json.loads(texts[0][0]))


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


def compute_s(hosts: Hosts, folder: Path) -> float:
    """Seconds a step of half the batch on the slower host, while both compute: a shared training without an exchange."""
    words = [
        "-m",
        "charloom",
        "train",
        str(TEXT),
        *NETWORK,
        *SHARED,
        *NO_PAUSES,
        "--steps",
        str(STEPS),
        "--json",
        "--quiet",
    ]
    words += ["--batch-size", str(BATCH // 2), "--lane-groups", "1", "--hidden-size", str(HIDDEN)]
    processes = [hosts.start(i, [*words, "--out", f"alone{i}"], folder=folder) for i in range(2)]
    return max(steps_s(folder / f"alone{i}", p.communicate(timeout=600)) for i, p in enumerate(processes))


def steps_s(run: Path, _output: object = None) -> float:
    """The mean seconds a step over a run's ranges of steps, without the first two."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text("utf-8").splitlines()]
    found = [e for e in events if e.get("event") == "progress"][2:]
    chars = BATCH * LENGTH if "alone" not in run.name else BATCH * LENGTH // 2
    total = sum(e["step"] - e["first_step"] for e in found)
    return sum((e["step"] - e["first_step"]) * chars / e["chars_per_s"] for e in found) / total


def speed() -> dict[str, Any]:
    """Measure two hosts on each link, in both ways, and compare with the simulator."""
    rows: list[dict[str, Any]] = []
    for mbit in LINKS_MBIT:
        with Hosts(2) as hosts, tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            alone = [compute_s(hosts, folder)]
            hosts.slow(mbit)
            num_params = 0
            for way, sync_every in (("gradients", 1), ("weights", SYNC_EVERY)):
                more = [] if sync_every == 1 else ["--sync-every", str(sync_every)]
                steps = str(STEPS if sync_every == 1 else 3 * SYNC_EVERY)
                done = train(
                    hosts,
                    folder,
                    way,
                    [*NO_PAUSES, "--steps", steps, "--lane-groups", "2" if sync_every == 1 else "1", *more],
                )
                num_params = done["num_params"]
                rows.append(
                    {
                        "mbit": mbit,
                        "way": way,
                        "sync_every": sync_every,
                        "num_params": num_params,
                        "measured_step_s": steps_s(folder / way),
                        "sent_bytes_a_step": done["sent_bytes"] / done["steps"],
                    }
                )
            for i in range(2):
                (folder / f"alone{i}").rename(folder / f"earlier{i}")
            alone.append(compute_s(hosts, folder))
            link = measured_link(hosts, num_params)
            for row in rows[-2:]:
                row |= {
                    "compute_s": statistics.mean(alone),
                    "latency_s": link.latency_s,
                    "bytes_per_s": link.bytes_per_s,
                }
                row["predicted_step_s"] = step_s(
                    row["compute_s"], link, 4 * num_params, 2, sync_every=row["sync_every"]
                )
                row["ratio"] = row["measured_step_s"] / row["predicted_step_s"]
                print({k: v if isinstance(v, str) else rounded(v) for k, v in row.items()}, flush=True)
    return {"rows": [{k: v if isinstance(v, str) else rounded(v) for k, v in row.items()} for row in rows]}


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
    gpu_s = batch / model["bfloat16_chars_per_s"]
    path = RESULTS / "scaling.json"
    measured = json.loads(path.read_text("utf-8"))["speed"]["rows"][0] if path.exists() else {}
    rows = []
    for name, (ranks, link, about) in ON_PAPER.items():
        is_gpu = "GPU" in name
        if not is_gpu and not measured:
            continue
        compute, params = (
            (gpu_s, model["num_params"]) if is_gpu else (measured["compute_s"], measured["num_params"])
        )
        for sync_every in (1, SYNC_EVERY):
            seconds = step_s(compute, link, 4 * params, ranks, sync_every=sync_every)
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
