"""Flags are derived from the settings: none is missing, and only those given are passed on."""

from dataclasses import fields

import cyclopts
import pytest

from charloom.cli.flags import MoreSteps
from charloom.cli.verbs import build_app
from charloom.config import ModelConfig, SampleConfig, TextConfig, TrainConfig


def parsed(line):
    verb, *words = line.split()
    _, bound, _ = build_app(verb).parse_args([verb, *words], exit_on_error=False, print_error=False)
    return bound.kwargs


def arguments(verb):
    app = build_app(verb)[verb]
    return {name: argument for argument in app.assemble_argument_collection() for name in argument.names}


@pytest.mark.parametrize(
    ("verb", "config"),
    [
        ("train", TextConfig),
        ("train", ModelConfig),
        ("train", TrainConfig),
        ("sample", SampleConfig),
        ("prepare", TextConfig),
    ],
)
def test_every_field_is_a_flag_with_its_help_and_default(verb, config):
    known = arguments(verb)
    for spec in fields(config):
        flag = known[f"--{spec.name.replace('_', '-')}"]
        assert flag.parameter.help == spec.metadata["help"]
        assert flag.field_info.default == spec.default


def test_only_the_flags_given_are_passed_on():
    assert parsed("train tales.txt --cell lstm --steps 30") == {"cell": "lstm", "steps": 30}
    assert parsed("train tales.txt") == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--clip-norm none", {"clip_norm": None}),
        ("--clip-norm 2", {"clip_norm": 2.0}),
        ("--embedding-size NONE", {"embedding_size": None}),
        ("--encoding none", {"encoding": None}),
        ("--encoding cp1256", {"encoding": "cp1256"}),
        ("--documents none", {"documents": "none"}),
        ("--documents ---", {"documents": "---"}),
        ("--normalization none", {"normalization": "none"}),
        ("--drop-last", {"drop_last": True}),
        ("--no-drop-last", {"drop_last": False}),
        ("--learning-rate 1e-3", {"learning_rate": 1e-3}),
        ("--seed 18446744073709551615", {"seed": 2**64 - 1}),
    ],
)
def test_values(words, expected):
    assert parsed(f"train {words}") == expected


def test_none_is_refused_for_a_setting_that_needs_a_value():
    with pytest.raises(cyclopts.CoercionError):
        parsed("train --hidden-size none")


@pytest.mark.parametrize("word", ["2.5", "1e3", "two", ""])
def test_a_whole_number_is_read_strictly(word):
    with pytest.raises(cyclopts.CoercionError):
        build_app("train").parse_args(
            ["train", "--hidden-size", word], exit_on_error=False, print_error=False
        )


def test_steps_with_a_plus_are_more_steps():
    more, total = parsed("train --steps +20")["steps"], parsed("train --steps 20")["steps"]
    assert (more, total) == (20, 20)
    assert isinstance(more, MoreSteps)
    assert not isinstance(total, MoreSteps)


def test_help_shows_defaults_as_users_type_them(charloom):
    shown = " ".join(charloom("train --help").out.replace("│", " ").split())
    assert "--clip-norm X maximum gradient norm; none = no clipping [default: 1]" in shown
    assert "--steps N budget: optimiser updates [default: none]" in shown
    assert "Text settings" in shown
    assert "Model settings" in shown
    assert "Training settings" in shown
