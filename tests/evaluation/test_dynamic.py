"""Dynamic evaluation of a single network and of an ensemble, whose members each train on their own loss."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.engines import load_engine
from charloom.engines.ensemble import EnsembleModel
from charloom.errors import ConfigError
from charloom.evaluation.dynamic import dynamic_score
from charloom.evaluation.protocols import stream_loss
from charloom.modelfile import ModelFile
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary

pytest.importorskip("torch")

VOCAB = Vocabulary.from_text("abcdef")
V = len(VOCAB)
NETWORKS = (
    ModelConfig(cell="lstm", hidden_size=6, num_layers=2, dropout_output=0.5),
    ModelConfig(cell="gru", hidden_size=4, block="residual"),
)
SETTINGS = {"learning_rate": 0.3, "bptt_length": 16}
EXACT = {"precision": "float64"}


def network(seed):
    config = NETWORKS[seed]
    return ModelFile(initial_parameters(config, V, seed), config, TextConfig(), VOCAB)


@pytest.fixture
def ids(rng):
    return rng.integers(0, V, 101)


def losses_of_characters(member, ids, boundary_id=None):
    """Nats of each character, each window scored before the network trains on it: one short text after another."""
    totals = [
        dynamic_score([member], ids[:n], settings=SETTINGS, boundary_id=boundary_id, **EXACT).loss_nats
        * (n - 1)
        for n in range(2, len(ids) + 1)
    ]
    return np.diff([0.0, *totals])


def test_an_ensemble_is_scored_by_the_mean_of_probabilities(ids):
    members = [network(0), network(1)]
    probabilities = np.mean([np.exp(-losses_of_characters(one, ids)) for one in members], axis=0)
    score = dynamic_score(members, ids, settings=SETTINGS, **EXACT)
    assert (score.protocol, score.chars) == ("dynamic", 100)
    assert score.loss_nats == pytest.approx(-np.log(probabilities).mean(), rel=1e-9)


@pytest.mark.parametrize("number", [1, 2])
def test_the_losses_of_every_window_are_reported(number, ids):
    members, found = [network(seed) for seed in range(number)], []
    score = dynamic_score(members, ids, on_losses=lambda losses: found.append(losses.copy()))
    each = np.concatenate([losses.ravel() for losses in found])
    assert len(each) == len(ids) - 1 == score.chars
    assert each.mean(dtype=np.float64) == pytest.approx(score.loss_nats, rel=1e-6)
    assert score.loss_nats == pytest.approx(dynamic_score(members, ids).loss_nats, rel=1e-5)


def test_documents_begin_from_zero_in_every_member(ids):
    members = [network(0), network(1)]
    boundary = int(ids[40])
    probabilities = np.mean([np.exp(-losses_of_characters(one, ids, boundary)) for one in members], axis=0)
    score = dynamic_score(members, ids, settings=SETTINGS, boundary_id=boundary, **EXACT)
    assert score.loss_nats == pytest.approx(-np.log(probabilities).mean(), rel=1e-9)


def test_an_ensemble_that_does_not_learn_is_the_stream(ids):
    members = [network(0), network(1)]
    engine = load_engine("torch")
    together = EnsembleModel(
        [engine.model(one.parameters, one.model_config, precision="float64") for one in members]
    )
    score = dynamic_score(members, ids, settings={"learning_rate": 1e-300}, **EXACT)
    assert score.loss_nats == pytest.approx(stream_loss(together, ids).loss_nats, rel=1e-10)


def test_the_networks_are_not_changed(ids):
    member = network(0)
    before = {name: array.copy() for name, array in member.parameters.items()}
    dynamic_score([member, member], ids, settings=SETTINGS)
    for name, array in before.items():
        np.testing.assert_array_equal(member.parameters[name], array)


def test_a_precision_that_cannot_train_is_refused(ids):
    with pytest.raises(ConfigError, match="precision is 'int8'"):
        dynamic_score([network(0)], ids, precision="int8")
