"""Settings that the online trainer refuses, and the engines it suggests."""

import re

import pytest

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.errors import ConfigError

from ...cases import random_parameters
from .settings import elman, make, settings_of

REFUSED_NETWORKS = {
    "cell is 'lstm'": {"cell": "lstm"},
    "block is 'residual'": {"block": "residual"},
    "num_layers is 2": {"num_layers": 2},
    "tie_embeddings is on": {"embedding_size": 9, "tie_embeddings": True},
}
REFUSED_TRAINING = {
    "batch_size is 2": {"batch_size": 2},
    "bias is 'pair'": {"bias": "pair"},
    "optimizer is 'muon'": {"optimizer": "muon"},
    "precision is 'bfloat16'": {"precision": "bfloat16"},
    "freeze is 'out.*'": {"freeze": "out.*"},
    "wrap_targets is on": {"wrap_targets": True},
}


@pytest.mark.parametrize(("what", "settings"), REFUSED_NETWORKS.items(), ids=REFUSED_NETWORKS.keys())
def test_unsupported_networks_are_refused_with_an_alternative(what, settings, rng):
    config = elman(**settings)
    with pytest.raises(ConfigError, match=f"{what}: .*one layer.*--engine auto or scratch"):
        make("fused", random_parameters(config, rng), config, settings_of())


@pytest.mark.parametrize(("what", "settings"), REFUSED_TRAINING.items(), ids=REFUSED_TRAINING.keys())
def test_unsupported_training_is_refused_with_an_alternative(what, settings, rng):
    config = elman()
    with pytest.raises(ConfigError, match=f"{re.escape(what)}: .*one stream.*--engine auto or scratch"):
        make("fused", random_parameters(config, rng), config, settings_of(**settings))


def test_dropout_is_refused(rng):
    config = ModelConfig(cell="elman", hidden_size=9, dropout_output=0.1)
    with pytest.raises(ConfigError, match=r"dropout_output is 0\.1: .*--engine auto or scratch"):
        make("fused", random_parameters(config, rng), config, settings_of())


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu:1", ""])
def test_other_devices_are_refused(device, rng):
    config, engine = elman(), load_engine("fused")
    params = random_parameters(config, rng)
    for refuse in (
        lambda: engine.resolve_device(device),
        lambda: engine.model(params, config, device=device),
        lambda: engine.learner(params, config, settings_of(), device=device),
    ):
        with pytest.raises(ConfigError, match=r"device is .*CPU only.*--device auto"):
            refuse()
