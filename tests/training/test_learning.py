"""Every cell, on every engine that trains it, learns a known bigram source to within a stated margin in seconds."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.evaluation.protocols import stream_loss
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

from .small import SYMBOLS, bigram_source, bigram_text, entropy_rate_bits

MARGIN_BITS = 0.02
"""The maximum excess over the entropy, in bits.

Estimating 56 free probabilities from 60,000 characters costs 56 / (2 · 60,000 · ln 2), 0.0007 bits; scoring them on as
many, 0.005 at one standard deviation; the rest is the network's.
"""

NETWORKS = {
    "elman": ModelConfig(cell="elman", hidden_size=24),
    "lstm": ModelConfig(cell="lstm", hidden_size=24),
    "gru": ModelConfig(cell="gru", hidden_size=24),
    "mingru": ModelConfig(cell="mingru", hidden_size=48),
    "gru-residual": ModelConfig(cell="gru", hidden_size=16, block="residual", expansion=1.0, mlp_ratio=1.0),
    "mingru-residual": ModelConfig(
        cell="mingru", hidden_size=16, block="residual", expansion=1.0, mlp_ratio=1.0
    ),
}


@pytest.fixture(scope="module")
def source():
    matrix = bigram_source(5)
    text = bigram_text(matrix, 120_000)
    ids = np.array([SYMBOLS.index(char) for char in text])
    return matrix, ids[:60_000], ids[60_000:]


def test_the_entropy_rate_is_that_of_the_source(source):
    matrix, _, held_out = source
    exact = -np.log2(matrix[held_out[:-1], held_out[1:]])
    assert exact.mean() == pytest.approx(
        entropy_rate_bits(matrix), abs=5 * exact.std() / math.sqrt(len(exact))
    )
    coin = np.full((2, 2), 0.5)
    assert entropy_rate_bits(coin) == pytest.approx(1.0)
    assert 1.0 < entropy_rate_bits(matrix) < 3.0


@pytest.mark.parametrize(
    ("engine", "name"),
    [("torch", name) for name in NETWORKS]
    + [("scratch", name) for name, config in NETWORKS.items() if config.block == "plain"],
)
def test_a_bigram_source_is_learnt_to_within_a_fiftieth_of_a_bit(engine, name, source):
    matrix, train, held_out = source
    rate = 0.05 if name == "mingru" else 0.02  # its gates must open fully before it can forget
    config = TrainConfig(batch_size=32, bptt_length=32, steps=300, learning_rate=rate, final_lr_fraction=0.02)
    params = initial_parameters(NETWORKS[name], 8, 0)
    learner = load_engine(engine).learner(params, NETWORKS[name], config, device="cpu")
    plan = Plan(train, config)
    learner.advance(plan, 0, 300, learner.initial_state(range(32)))
    measured = stream_loss(learner.model(), held_out).bits_per_char
    known = float(-np.log2(matrix[held_out[:-1], held_out[1:]]).mean())  # under the source itself
    assert measured - known < MARGIN_BITS
    assert measured - known > -0.001  # no model can beat the source itself
