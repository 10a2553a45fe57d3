"""One rank of a training, for the tests of ranks: python -m tests.training.rank_worker FOLDER CASES.

CASES is JSON: {name: [settings, how]}, or [settings, how, settings of the network]; how may be "resume" or a step to stop
at. Rank 0 writes the run FOLDER/name.
"""

import json
import sys
from pathlib import Path

from charloom.config import ModelConfig
from charloom.distributed import read_launch
from charloom.distributed.ranks import Ranks
from charloom.runs import Run
from charloom.training import baselines, loop, train
from charloom.training.ranks import follow
from tests.training import small

DROPPED = ModelConfig(cell="lstm", hidden_size=8, num_layers=2, embedding_size=4, dropout_layer=0.2)


def no_baselines(*_):
    yield
    return baselines.Baselines()


def main(folder, cases):
    """Train every case, one after the other."""
    loop.SAMPLE_CHARS, baselines._measure = 3, no_baselines
    corpus = small.small_corpus()
    with Ranks(read_launch(), timeout_s=60) as ranks, ranks.reporting():
        ranks.failures.announce()
        for name, (changes, how, *network) in cases.items():
            model = ModelConfig(**network[0]) if network else DROPPED
            ranks.released = False
            if ranks.rank > 0:
                follow(ranks, corpus)
                continue
            resume = how == "resume"
            run = Run.open(Path(folder) / name) if resume else Run.create(Path(folder) / name, {})
            for event in train(corpus, model, small.settings(**changes), run, resume=resume, ranks=ranks):
                if isinstance(how, int) and event.step >= how:
                    break


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
