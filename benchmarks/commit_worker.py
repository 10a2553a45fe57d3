"""One commit's side of `benchmarks.commits`: a process that imports that commit's charloom and times what it is asked to.

It runs as a script with the commit's ``src`` first on its path, reads one case name per line, and answers
with seconds. Names that have moved since are looked up in both places.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, SampleConfig, TrainConfig
from charloom.engines import load_engine
from charloom.parameters import initial_parameters
from charloom.text.vocabulary import Vocabulary

try:
    from charloom.generation import sample
    from charloom.text.batching import Plan
except ImportError:
    from charloom.text.windows import Plan  # type: ignore[no-redef,import-not-found]

V = 65


def training(
    engine: str, network: dict[str, Any], settings: dict[str, Any], steps: int
) -> Callable[[], object]:
    """A function that takes some updates on random characters."""
    config = ModelConfig(**network)
    train_config = TrainConfig(engine=engine, steps=10_000, **settings)
    learner = load_engine(engine).learner(
        initial_parameters(config, V, 0), config, train_config, device="cpu"
    )
    plan = Plan(np.random.default_rng(0).integers(0, V, 400_000).astype(np.uint8), train_config)
    state = learner.initial_state(range(plan.batch_size))
    return lambda: learner.advance(plan, 0, steps, state)


def generation(
    network: dict[str, Any], precision: str, num_threads: int, count: int, length: int
) -> Callable[[], object]:
    """A function that generates some characters."""
    config = ModelConfig(**network)
    params = initial_parameters(config, V, 0)
    model = load_engine("fused").model(params, config, precision=precision, threads=num_threads)
    vocab = Vocabulary("char", tuple(range(32, 32 + V)))
    sampling = SampleConfig(length=length, count=count, batch=count)
    return lambda: sample(model, vocab, [np.zeros(1, np.int64)], sampling, seed=1)


def main() -> None:
    """Answer until the input ends."""
    cases = json.loads(sys.argv[1])
    runs: dict[str, Callable[[], object]] = {}
    with threads.limit(None):
        for line in sys.stdin:
            name = line.strip()
            if name not in runs:
                kind, *arguments = cases[name]
                runs[name] = {"training": training, "generation": generation}[kind](*arguments)
            runs[name]()  # a processor that was idle is slow at first
            began = time.perf_counter()
            runs[name]()
            print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
