"""Settings that the scratch engine refuses, and the messages."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.scratch import ENGINE
from charloom.errors import ConfigError
from charloom.parameters import initial_parameters

REFUSALS = {
    "residual": (
        {"block": "residual"},
        {},
        r"block is residual and engine is scratch.*runs residual blocks but trains plain ones only"
        r".*--block plain, or pip install 'charloom\[train\]'",
    ),
    "bfloat16": (
        {},
        {"precision": "bfloat16"},
        r"precision is bfloat16 and engine is scratch.*NumPy has no bfloat16.*--precision float32, or --engine torch",
    ),
    "muon": (
        {},
        {"optimizer": "muon"},
        r"optimizer is muon and engine is scratch.*has sgd, adagrad, rmsprop, adam, adamw"
        r".*--optimizer adamw, or --engine torch",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_unsupported_training_is_refused_with_an_alternative(name):
    model, train, message = REFUSALS[name]
    config = ModelConfig(hidden_size=4, **model)
    with pytest.raises(ConfigError, match=message):
        ENGINE.learner(initial_parameters(config, 5, 0), config, TrainConfig(**train), device="auto")


@pytest.mark.parametrize("device", ["cuda", "mps", "cuda:0", "tpu"])
def test_other_devices_are_refused(device):
    message = rf"device is '{device}' and engine is scratch.*scratch engine runs on the CPU only.*--device auto, or --engine torch"
    config = ModelConfig(hidden_size=4)
    params = initial_parameters(config, 5, 0)
    for bind in (
        lambda: ENGINE.resolve_device(device),
        lambda: ENGINE.model(params, config, device=device),
        lambda: ENGINE.learner(params, config, TrainConfig(), device=device),
    ):
        with pytest.raises(ConfigError, match=message):
            bind()


def test_a_residual_model_runs_forward():
    config = ModelConfig(hidden_size=4, block="residual")
    model = ENGINE.model(initial_parameters(config, 5, 0), config)
    logits, _ = model.forward(np.zeros((1, 2), int), model.initial_state(1))
    assert logits.shape == (1, 2, 5)
