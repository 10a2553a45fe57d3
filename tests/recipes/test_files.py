"""Recipe files: their legal contents, and the validity of every built-in recipe."""

import pytest

from charloom.config import ModelConfig, TrainConfig, with_settings
from charloom.errors import ConfigError
from charloom.recipes import find_recipe
from charloom.recipes.files import named_recipes, parse_recipe

NAMES = [recipe.name for recipe in named_recipes()]


def test_none_switches_a_setting_off_if_possible_and_is_a_string_otherwise():
    settings = parse_recipe("mine", '[train]\nclip_norm = "none"\n[text]\ndocuments = "none"').settings
    assert settings == {"clip_norm": None, "documents": "none"}


def test_none_is_refused_for_a_setting_that_needs_a_value():
    with pytest.raises(ConfigError, match="batch_size is 'none'"):
        parse_recipe("mine", '[train]\nbatch_size = "none"')


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_recipe_is_described_and_has_legal_settings(name):
    recipe = find_recipe(name)
    assert recipe.about
    assert recipe.source
    with_settings(ModelConfig(), recipe.settings)
    with_settings(TrainConfig(), recipe.settings)
