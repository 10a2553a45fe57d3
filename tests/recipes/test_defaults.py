"""The default recipe: every size of text, on every device, has a row that its engine can train."""

import pytest

from charloom.config import ModelConfig, TrainConfig, with_settings
from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.parameters import initial_parameters
from charloom.recipes.defaults import choose_default, default_rows
from charloom.recipes.resolve import check_settings, resolve

SIZES = [1, 10_000, 10_001, 100_000, 300_001, 5_000_000, 5_000_001, 10**11]


@pytest.mark.parametrize("engine", ["torch", "scratch", "fused"])
@pytest.mark.parametrize("num_chars", SIZES)
def test_every_size_of_text_has_a_row_that_its_engine_trains(num_chars, engine):
    row, reason = choose_default(num_chars, "cpu", engine)
    assert engine in row.engines
    assert num_chars <= row.up_to_chars
    assert row.reason in reason
    assert row.measured in reason
    model = with_settings(ModelConfig(), row.settings)
    config = with_settings(TrainConfig(), {**row.settings, "steps": 1})
    load_engine(engine).learner(initial_parameters(model, 5, 0), model, config, device="cpu")


def test_auto_takes_the_rows_of_torch():
    assert choose_default(10**6, "cpu", "auto") == choose_default(10**6, "cpu", "torch")


def test_a_device_without_rows_borrows_the_cpus_and_says_so():
    assert "no row was measured on mps" in choose_default(10**6, "mps", "torch")[1]
    assert "no row" not in choose_default(10**6, "cpu", "torch")[1]


def test_every_row_was_measured():
    assert all("not measured" not in row.measured for row in default_rows())


def test_a_flag_that_fits_the_base_of_some_size_is_not_refused_before_the_size_is_known():
    check_settings(None, {"dropout_branch": 0.1})  # residual, as larger texts have it
    check_settings(None, {"dropout_input": 0.1})  # plain, as smaller ones
    with pytest.raises(ConfigError, match="hidden_size"):
        check_settings(None, {"hidden_size": 0})
    with pytest.raises(ConfigError, match="dropout_branch"):
        resolve(None, {"dropout_branch": 0.1}, num_chars=5_000)
