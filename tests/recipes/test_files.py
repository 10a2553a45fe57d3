"""Recipe files: their legal contents, and the validity of every built-in recipe."""

import json

import pytest

from charloom.config import ModelConfig, TrainConfig, with_settings
from charloom.errors import ConfigError
from charloom.recipes import find_recipe
from charloom.recipes.files import named_recipes, parse_recipe
from charloom.recipes.resolve import resolve

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


def test_several_names_point_to_the_members_of_an_ensemble():
    with pytest.raises(ConfigError, match="is several names") as caught:
        find_recipe("flash,best,record")
    assert "--members 3" in caught.value.fix


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "mine.toml").write_bytes('cell = "lstm"\r\nsteps = 3\r\n'.encode(encoding))
    assert find_recipe(str(tmp_path / "mine.toml")).settings == {"cell": "lstm", "steps": 3}


def test_a_configuration_used_as_a_recipe_may_too(tmp_path):
    config = {"text": {"unit": "byte"}, "model": {"cell": "gru"}, "train": {"steps": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8-sig")
    settings = find_recipe(str(tmp_path / "config.json")).settings
    assert (settings["cell"], settings["steps"]) == ("gru", 3)
    assert settings["clean_bytes"]  # what unit byte meant when this run was made


@pytest.mark.parametrize(
    "setting",
    ["epochs = 1e308", "epochs = 1e400", "max_epochs = 1e300", "minutes = 1e30", f"steps = {10**30}"],
)
def test_a_budget_beyond_any_use_is_refused(setting, tmp_path):
    path = tmp_path / "endless.toml"
    path.write_text(setting + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=setting.split()[0]):
        find_recipe(str(path))


@pytest.mark.parametrize("budget", ["epochs = 1000", "minutes = 1000", "steps = 1000"])
def test_the_budget_of_a_flag_replaces_that_of_a_recipe(budget):
    recipe = parse_recipe("mine", budget)
    training = resolve(recipe, {"steps": 2}, num_chars=1000).train_config
    assert (training.steps, training.epochs, training.minutes) == (2, None, None)
