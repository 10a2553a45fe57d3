"""A corpus, a network, settings and a plain softmax for the tests of the tour."""

import math

from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.text import corpus_from_text

TEXT = "سارق الخبز\nكان يا ما كان في قديم الزمان، " * 40
NETWORK = ModelConfig(cell="lstm", hidden_size=6)
TRAINING = TrainConfig(batch_size=5, bptt_length=8, stream_offset="fixed", seed=3)
CLOSE = 1e-12  # float64; the plain computation adds in another order
CORPUS = corpus_from_text(TEXT, TextConfig(val_fraction=0.2))


def softmax(logits, temperature=1.0):
    weights = [math.exp(one / temperature) for one in logits]
    return [one / sum(weights) for one in weights]
