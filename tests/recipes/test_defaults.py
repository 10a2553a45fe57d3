"""The default recipe: every text size on every device has a row that the engine can train."""

import pytest

import charloom
from charloom.config import ModelConfig, TrainConfig, with_settings
from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.parameters import initial_parameters
from charloom.recipes.defaults import choose_default, default_rows
from charloom.recipes.files import BUDGETS, Recipe, find_recipe
from charloom.recipes.resolve import check_settings, resolve

SIZES = [1, 10_000, 10_001, 100_000, 300_001, 5_000_000, 5_000_001, 10**11]


@pytest.mark.parametrize("engine", ["torch", "scratch", "fused"])
@pytest.mark.parametrize("minutes", [None, 0.5, 10, 600])
@pytest.mark.parametrize("num_chars", SIZES)
@pytest.mark.parametrize("device", ["cpu", "cuda:1", "mps"])
def test_every_text_size_has_a_row_that_the_engine_can_train(num_chars, minutes, engine, device):
    row, reason = choose_default(num_chars, device, engine, minutes)
    assert engine in row.engines
    assert num_chars <= row.up_to_chars
    assert (minutes or 0) >= row.from_minutes
    assert row.reason in reason
    assert row.measured in reason
    model = with_settings(ModelConfig(), row.settings)
    config = with_settings(TrainConfig(), {**row.settings, "steps": 1})
    load_engine(engine).learner(initial_parameters(model, 5, 0), model, config, device="cpu")


def test_auto_uses_the_rows_of_torch():
    assert choose_default(10**6, "cpu", "auto") == choose_default(10**6, "cpu", "torch")


def test_a_longer_budget_selects_a_row_that_needs_it():
    long = [row for row in default_rows() if row.from_minutes]
    assert long
    for row in long:
        enough = choose_default(row.up_to_chars, row.device, row.engines[0], row.from_minutes)
        assert enough[0] == row
        assert f"in {row.from_minutes:g} minutes" in enough[1]
        assert choose_default(row.up_to_chars, row.device, row.engines[0], row.from_minutes - 0.1)[0] != row


def test_a_row_may_be_for_short_budgets_and_for_one_device_only():
    short, _ = choose_default(500_000, "cpu", minutes=2)
    assert short.settings["dropout_branch"] == short.settings["dropout_output"] == 0.1
    assert choose_default(500_000, "cpu")[0] == short
    assert choose_default(700_000, "cpu", minutes=2)[0].settings.get("dropout_branch", 0) == 0
    assert choose_default(500_000, "cpu", minutes=4)[0].recipe == "best"
    assert choose_default(500_000, "cuda", minutes=2)[0].device == "cuda"


def test_the_time_allowed_is_set_by_a_flag_and_defaults_to_two_minutes():
    long = next(row for row in default_rows() if row.from_minutes)
    reason = {
        budget: resolve(None, flags, num_chars=long.up_to_chars).reason
        for budget, flags in {
            "long": {"minutes": long.from_minutes},
            "none": {},
            "steps": {"steps": 10**9},
            "epochs": {"epochs": 1000, "minutes": None},
        }.items()
    }
    assert long.reason in reason.pop("long")
    assert all(long.reason not in other for other in reason.values())


def test_a_row_may_be_a_recipe_without_its_budget():
    rows = [row for row in default_rows() if row.recipe]
    assert rows
    for row in rows:
        recipe = find_recipe(row.recipe)
        assert set(recipe.settings) & set(BUDGETS)
        assert not set(row.settings) & set(BUDGETS)
        kept = {name: value for name, value in recipe.settings.items() if name not in BUDGETS}
        assert {name: row.settings[name] for name in kept} == kept


def test_a_device_without_a_row_uses_the_cpus_and_says_so():
    assert "no row was measured on mps" in choose_default(10**6, "mps", "torch")[1]
    assert "no row was measured on cuda" in choose_default(10**3, "cuda:1", "torch")[1]
    assert choose_default(10**3, "cuda", "torch")[0] == choose_default(10**3, "cpu", "torch")[0]
    for device in ("cpu", "cuda"):
        row, reason = choose_default(10**6, device, "torch")
        assert row.device == device
        assert "no row" not in reason


def test_a_row_fits_an_engine_without_bfloat16():
    row, _ = choose_default(10_000, "cpu", "torch")
    assert row.settings["precision"] == "bfloat16"
    of_scratch, _ = choose_default(10_000, "cpu", "scratch")
    assert dict(of_scratch.settings) == {k: v for k, v in row.settings.items() if k != "precision"}


def test_every_row_was_measured():
    assert all("not measured" not in row.measured for row in default_rows())


def test_a_flag_valid_for_some_text_size_is_not_refused_before_the_size_is_known():
    check_settings(None, {"dropout_branch": 0.1})  # needs a residual block, as larger texts use
    check_settings(None, {"dropout_input": 0.1})  # needs a plain one, as smaller texts use
    with pytest.raises(ConfigError, match="hidden_size"):
        check_settings(None, {"hidden_size": 0})
    with pytest.raises(ConfigError, match="dropout_branch"):
        resolve(None, {"dropout_branch": 0.1}, num_chars=5_000)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_a_budget_that_is_none_is_refused_by_name(minutes):
    with pytest.raises(ConfigError, match="minutes"):
        resolve(None, {"minutes": minutes}, num_chars=10_000)


def test_a_weight_decay_is_left_out_if_a_flag_chooses_an_optimiser_with_the_other_kind():
    default = resolve(None, {}, num_chars=50_000).train_config
    assert (default.optimizer, default.weight_decay) == ("adamw", 0.05)
    for optimiser in ("adam", "sgd", "adagrad", "rmsprop"):
        found = resolve(None, {"optimizer": optimiser}, num_chars=50_000)
        assert found.train_config.weight_decay == 0.0
        note = found.notes[-1]
        assert note.startswith(
            "weight_decay 0.05 of the recipe is left out: it is for adamw, which decays the weights"
        )
        assert f"{optimiser} adds the decay to the gradient" in note
    for flags in ({"optimizer": "muon"}, {"optimizer": "adam", "weight_decay": 0.05}, {}):
        kept = resolve(None, flags, num_chars=50_000)
        assert (kept.train_config.weight_decay, kept.notes) == (0.05, ())
    of_sgd = Recipe("mine", settings={"optimizer": "sgd", "weight_decay": 1e-4})
    found = resolve(of_sgd, {"optimizer": "adamw"}, num_chars=50_000)
    assert (found.train_config.weight_decay, len(found.notes)) == (0.0, 1)
    assert resolve(of_sgd, {"optimizer": "rmsprop"}, num_chars=50_000).train_config.weight_decay == 1e-4


def test_the_learning_rate_of_other_optimisers_is_said_to_be_too_small_for_sgd():
    said = "learning_rate 0.012 of the recipe is for adamw, and too small for sgd: try --learning-rate 1"
    assert said in resolve(None, {"optimizer": "sgd"}, num_chars=50_000).notes
    for flags in ({"optimizer": "sgd", "learning_rate": 0.012}, {"optimizer": "muon"}, {}):
        assert not any("too small" in one for one in resolve(None, flags, num_chars=50_000).notes)
    of_sgd = Recipe("mine", settings={"optimizer": "sgd", "learning_rate": 1e-2})
    assert resolve(of_sgd, {"optimizer": "sgd"}, num_chars=50_000).notes == ()


def test_train_says_that_it_leaves_a_weight_decay_out(tmp_path, capsys):
    charloom.train(text="hello world\n" * 40, out=tmp_path / "run", optimizer="adam", steps=1)
    said = capsys.readouterr().err
    assert "note: weight_decay 0.05 of the recipe is left out" in said
    assert '"weight_decay": 0.0' in (tmp_path / "run" / "config.json").read_text("utf-8")
