"""Spaces: every value in them is a setting that a run accepts, and what the user gives leaves them."""

import random

import pytest

from charloom.config import ModelConfig, TrainConfig, setting_names, with_settings
from charloom.errors import ConfigError
from charloom.tuning.spaces import SPACES, Numbers, OneOf, check_space, space_named


class Drawing:
    """Chooses at random, as a trial does."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def suggest_float(self, _name, low, high, **_how):
        return self.rng.uniform(low, high)

    def suggest_int(self, _name, low, high, *, step):
        return self.rng.randrange(low, high + 1, step)

    def suggest_categorical(self, _name, choices):
        return self.rng.choice(choices)


@pytest.mark.parametrize("name", SPACES)
def test_every_choice_is_a_network_and_a_training(name):
    space = SPACES[name]
    assert {*space.fixed, *space.ranges} <= set(setting_names())
    for seed in range(50):
        chosen = space.choose(Drawing(seed))
        with_settings(ModelConfig(), chosen)
        with_settings(TrainConfig(), chosen)
        assert chosen.keys() == {*space.fixed, *space.ranges}
        for setting, range_ in space.ranges.items():
            if isinstance(range_, OneOf):
                assert chosen[setting] in range_.values
            else:
                assert range_.low <= chosen[setting] <= range_.high


def test_every_cell_has_a_space():
    import typing

    cells = typing.get_args(typing.get_type_hints(ModelConfig)["cell"])
    assert {space.fixed["cell"] for space in SPACES.values() if space.fixed} == set(cells)


def test_what_is_given_leaves_the_space():
    space = SPACES["residual-gru"].without(["hidden_size", "block"])
    assert "hidden_size" not in space.ranges
    assert "block" not in space.fixed
    assert "learning_rate" in space.ranges


def test_a_space_with_nothing_left_is_refused():
    with pytest.raises(ConfigError, match="nothing left to vary"):
        SPACES["training"].without(SPACES["training"].ranges)


def test_the_nearest_space_is_suggested():
    with pytest.raises(ConfigError, match="did you mean residual-gru"):
        space_named("residual_gru")


def test_both_corners_are_checked():
    corners = []
    check_space(SPACES["lstm"], corners.append)
    low, high = corners
    for name, range_ in SPACES["lstm"].ranges.items():
        if isinstance(range_, Numbers):
            assert (low[name], high[name]) == (range_.low, range_.high)
