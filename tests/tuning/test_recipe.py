"""A recipe that is written is read back as the same settings."""

import pytest

from charloom.config import ModelConfig, TextConfig, TrainConfig, to_dict
from charloom.recipes.files import parse_recipe
from charloom.tuning.recipe import recipe_toml


@pytest.mark.parametrize(
    "changed",
    [
        {"learning_rate": 0.016428116703766697, "clip_norm": None, "steps": 40},
        {"documents": '\\n"§"\x7f', "val_fraction": 1e-05, "drop_last": True},
        {"cell": "mingru", "block": "residual", "expansion": 2.0, "average_decay": 0.995},
    ],
)
def test_what_is_written_is_read_back(changed):
    defaults = {**to_dict(TextConfig()), **to_dict(ModelConfig()), **to_dict(TrainConfig())}
    toml = recipe_toml({**defaults, **changed, "device": "cuda:3"}, about='a "trial"\n', source="x")
    assert parse_recipe("best", toml).settings == changed
