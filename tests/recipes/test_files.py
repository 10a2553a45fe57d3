"""Recipe files: what they may hold, and that each that comes with charloom is one."""

import pytest

from charloom.config import ModelConfig, TrainConfig, with_settings
from charloom.errors import ConfigError
from charloom.recipes import find_recipe
from charloom.recipes.files import named_recipes, parse_recipe

NAMES = [recipe.name for recipe in named_recipes()]


def test_none_switches_off_what_can_be_off_and_is_a_word_elsewhere():
    settings = parse_recipe("mine", '[train]\nclip_norm = "none"\n[text]\ndocuments = "none"').settings
    assert settings == {"clip_norm": None, "documents": "none"}


def test_none_where_a_value_is_needed_is_refused():
    with pytest.raises(ConfigError, match="batch_size is 'none'"):
        parse_recipe("mine", '[train]\nbatch_size = "none"')


@pytest.mark.parametrize("name", NAMES)
def test_every_named_recipe_says_what_it_is_and_holds_legal_settings(name):
    recipe = find_recipe(name)
    assert recipe.about
    assert recipe.source
    with_settings(ModelConfig(), recipe.settings)
    with_settings(TrainConfig(), recipe.settings)
