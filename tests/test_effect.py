"""A setting that is said to have no effect has none: the same bytes come out with another value."""

import numpy as np
import pytest

import charloom
from charloom.config import (
    ModelConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
    setting_names,
    with_settings,
    without_effect,
    without_effect_on_samples,
)

TEXT = "the cat sat on the mat, a dog ran to the sea\n" * 40
TINY = {"cell": "gru", "hidden_size": 4, "batch_size": 2, "bptt_length": 8, "steps": 3, "engine": "scratch"}

CASES = [
    ("activation", "relu", {}),
    ("forget_bias", 3.0, {}),
    ("dropout_layer", 0.5, {}),
    ("conv_width", 2, {}),
    ("expansion", 2.0, {}),
    ("mlp_ratio", 1.0, {}),
    ("init_scale", 0.5, {}),
    ("init_out_scale", 0.5, {}),
    ("min_count", 3, {"unit": "byte"}),
    ("vocab_from", "train", {"unit": "byte"}),
    ("split_seed", 3, {"documents": "line"}),
    ("stream_offset", "fixed", {"batching": "random"}),
    ("state_reset", "wrap", {"batching": "sliding"}),
    ("state_reset_probability", 0.9, {"batching": "random"}),
    ("stride", 3, {}),
    ("order", "shuffled", {"batching": "random"}),
    ("initial_state_scale", 3.0, {"state_reset_probability": 0.5}),
    ("beta1", 0.5, {"optimizer": "sgd"}),
    ("beta1", 0.5, {"optimizer": "rmsprop"}),
    ("beta2", 0.5, {"optimizer": "adagrad"}),
    ("momentum", 0.5, {"optimizer": "adamw"}),
    ("momentum", 0.5, {"optimizer": "adagrad"}),
    ("epsilon", 0.5, {"optimizer": "sgd"}),
    ("epsilon_inside_root", True, {"optimizer": "adam"}),
    ("final_lr_fraction", 0.9, {"schedule": "constant"}),
    ("decay_fraction", 0.9, {"schedule": "cosine"}),
    ("max_epochs", 0.01, {}),
    ("replicas", 2, {}),
    ("patience", 1, {"val_fraction": 0.0}),
    ("validate_every", 1, {"val_fraction": 0.0}),
]


def trained(folder, settings):
    model = charloom.train(text=TEXT, out=folder, quiet=True, **(TINY | settings))
    return model.file.parameters


@pytest.mark.parametrize(("name", "value", "base"), CASES, ids=lambda part: str(part))
def test_a_setting_without_effect_has_none_and_that_is_said(name, value, base, tmp_path):
    settings = base | {name: value}
    configs = [with_settings(cls(), settings) for cls in (TextConfig, ModelConfig, TrainConfig)]
    (said,) = without_effect(settings, *configs)
    assert said.startswith(f"{name} {value} has no effect: ")
    before, after = trained(tmp_path / "a", base), trained(tmp_path / "b", settings)
    for parameter, array in before.items():
        np.testing.assert_array_equal(after[parameter], array)


def test_settings_that_act_are_not_mentioned():
    settings = {
        "cell": "lstm",
        "forget_bias": 2.0,
        "num_layers": 2,
        "dropout_layer": 0.5,
        "optimizer": "sgd",
        "momentum": 0.5,
        "batching": "sliding",
        "stride": 3,
        "schedule": "wsd",
        "decay_fraction": 0.5,
        "minutes": 1.0,
        "max_epochs": 3.0,
        "patience": 3,
        "init": "normal",
        "init_scale": 0.1,
        "documents": "line",
        "split": "random",
        "split_seed": 4,
    }
    assert set(settings) <= set(setting_names())
    configs = [with_settings(cls(), settings) for cls in (TextConfig, ModelConfig, TrainConfig)]
    assert without_effect(settings, *configs) == ()


def test_a_held_out_file_makes_the_split_idle():
    settings = {"val_fraction": 0.3, "documents": "line", "split": "random"}
    configs = [with_settings(cls(), settings) for cls in (TextConfig, ModelConfig, TrainConfig)]
    said = without_effect(settings, *configs, validates_on_file=True)
    assert [one.split()[0] for one in said] == ["val_fraction", "split"]


def test_filters_are_idle_at_temperature_zero():
    settings = {"temperature": 0.0, "top_k": 3, "repetition_window": 5}
    said = without_effect_on_samples(settings, SampleConfig(**settings))
    assert [one.split()[0] for one in said] == ["top_k", "repetition_window"]
    acting = {"temperature": 0.5, "top_k": 3, "repetition_window": 5, "repetition_penalty": 1.2}
    assert without_effect_on_samples(acting, SampleConfig(**acting)) == ()


def test_train_says_that_dropout_between_layers_needs_two(tmp_path, capsys):
    charloom.train(text=TEXT, out=tmp_path / "run", dropout_layer=0.5, **TINY)
    assert "note: dropout_layer 0.5 has no effect: the network has one layer" in capsys.readouterr().err
