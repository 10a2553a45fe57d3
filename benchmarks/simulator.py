"""How long a step takes on several machines, from the steps of one machine and a link: the arithmetic, and its measurement.

    step     = mean over trials of max over ranks of (sum of N draws of `compute`) / N + exchange / N
    exchange = 2 (latency + n (R − 1) / (R · speed))

for R ranks, n bytes of gradients, and an exchange after every N steps. `compute` has the seconds of many steps of one
machine: all ranks wait for the slowest, so a mean would be too small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.hosts import Hosts

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

LEVELS = (*np.arange(100) / 100, 0.995, 0.998, 0.999, 0.9995, 1.0)
"""Of `quantiles`: close at the end, as many machines wait for the slowest."""
TRIALS = 2_000


class Link(NamedTuple):
    """What connects two ranks, each way."""

    latency_s: float  # of half an exchange of a few bytes, with the work of both sides
    bytes_per_s: float


def exchange_s(link: Link, num_bytes: float, ranks: int) -> float:
    """Seconds to add vectors of `num_bytes` in `ranks` ranks: all-to-all, then all-gather, each (R − 1) / R of them.

    Example:
        >>> exchange_s(Link(0.01, 1e6), 1e6, 2)
        1.02
    """
    return 2 * (link.latency_s + num_bytes * (ranks - 1) / ranks / link.bytes_per_s)


def step_s(
    compute: Sequence[float], link: Link, num_bytes: float, ranks: int, *, sync_every: int = 1
) -> float:
    """Seconds a step: computing until the slowest is done, and an exchange in each step or after every `sync_every`.

    Args:
        compute: seconds of steps of one machine, from which those of every rank are drawn.
        link: between the ranks.
        num_bytes: of the gradients.
        ranks: how many.
        sync_every: steps between exchanges.

    Example:
        >>> round(step_s([0.5], Link(0.01, 1e6), 1e6, 2, sync_every=10), 9)
        0.602
        >>> round(step_s([0.0, 2.0], Link(0, 1e9), 0, 2), 1)
        1.5
    """
    rng = np.random.default_rng(0)
    values = np.asarray(compute)
    slowest = [rng.choice(values, (ranks, sync_every)).mean(axis=1).max() for _ in range(TRIALS)]
    return float(np.mean(slowest)) + exchange_s(link, num_bytes, ranks) / sync_every


def quantiles(seconds: Sequence[float]) -> list[float]:
    """The quantiles at `LEVELS`, which stand for all steps in a file."""
    return [float(value) for value in np.quantile(seconds, LEVELS)]


def steps_of(values: Sequence[float]) -> Float[Array, "10_000"]:
    """Steps that have these quantiles, for `step_s`.

    Example:
        >>> steps = steps_of(quantiles(np.arange(1_001)))
        >>> steps[:2].round(2).tolist(), float(steps[-1].round(2)), float(np.median(steps).round(1))
        ([0.05, 0.15], 999.95, 500.0)
    """
    return np.interp((np.arange(10_000) + 0.5) / 10_000, LEVELS, values)


TIMED = """
import json, sys, time
from pathlib import Path
from charloom.cli import main
from charloom.engines.torch.learner import TorchLearner
seconds, began = [], 0.0
real_advance, real_apply = TorchLearner.advance, TorchLearner.apply
def advance(*args, **kwargs):
    global began
    began = time.perf_counter()
    return real_advance(*args, **kwargs)
def apply(*args):
    global began
    real_apply(*args)
    seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
TorchLearner.advance, TorchLearner.apply = advance, apply
code = main(sys.argv[2:])
Path(sys.argv[1]).write_text(json.dumps(seconds))
sys.exit(code)
"""
"""`python -c TIMED FILE WORDS…`: charloom WORDS…, and the seconds of each step of a training in FILE."""


def compute_seconds(hosts: Hosts, folder: Path, words: Sequence[str], *, name: str) -> list[float]:
    """Seconds of the steps of `charloom WORDS`, which all hosts do at once, each by itself; without the first fifth.

    Args:
        hosts: where.
        folder: of the runs.
        words: a training, without ``--out``.
        name: begins those of the runs.

    Raises:
        RuntimeError: one has failed.
    """
    names = [f"{name}-{i}" for i in range(hosts.count)]
    begun = [
        hosts.start(i, ["-c", TIMED, f"{run}.json", *words, "--out", run], folder=folder)
        for i, run in enumerate(names)
    ]
    found: list[float] = []
    for run, process in zip(names, begun, strict=True):
        _, error = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(error)
        seconds = json.loads((folder / f"{run}.json").read_text("utf-8"))
        found += seconds[len(seconds) // 5 :]
    return found


PROBE = """
import json, statistics, sys, time, torch
from charloom.distributed import read_launch
from charloom.distributed.ranks import Ranks
from charloom.engines.torch.bucketed_sum import BucketedSum
from charloom.engines.torch.lane_sum import LaneSum
torch.set_num_threads(1)
with Ranks(read_launch()) as ranks:
    lane_sum = LaneSum(ranks, ranks.size)
    share = lane_sum.share(ranks.size)
    n, pause_s = int(sys.argv[1]), float(sys.argv[2])
    def once(n):
        tensor = torch.zeros(n)
        until = time.perf_counter() + pause_s
        while time.perf_counter() < until:
            pass
        began = time.perf_counter()
        with BucketedSum(lane_sum, share, [tensor]) as arriving:
            arriving.put(0, 0, tensor)
            arriving.result()
        return time.perf_counter() - began
    for size in (2, n):
        once(size)
    few = statistics.mean(once(2) for _ in range(100))
    all_of_it = statistics.mean(once(n) for _ in range(30))
    if ranks.rank == 0:
        print(json.dumps([few / 2, 4 * n / max(1e-9, all_of_it - few)]))
"""


def measured_link(hosts: Hosts, num_floats: int, pause_s: float) -> Link:
    """The link between two hosts, by the mean of the exchanges that a training makes.

    Args:
        hosts: two.
        num_floats: the parameters; the latency is that of two numbers.
        pause_s: how long both hosts compute before each exchange: a connection that rests behaves differently.

    Raises:
        RuntimeError: a rank has failed.
    """
    processes = [hosts.start_rank(i, ["-c", PROBE, str(num_floats), str(pause_s)]) for i in range(2)]
    texts = [process.communicate(timeout=600) for process in processes]
    if not texts[0][0]:
        raise RuntimeError(texts[0][1])
    return Link(*json.loads(texts[0][0]))
