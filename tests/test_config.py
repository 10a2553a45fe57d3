"""Settings: every field is documented, checked against its metadata, and read back from JSON."""

import json
import math
import typing
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import (
    ModelConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
    format_plan,
    from_dict,
    nearest_name,
    parse_plan,
    setting_names,
    stored_text_config,
    to_dict,
    with_settings,
)
from charloom.config.separators import escaped, parse_replacements, unescaped
from charloom.errors import ConfigError

CLASSES = [TextConfig, ModelConfig, TrainConfig, SampleConfig]
FIELDS = [(cls, spec) for cls in CLASSES for spec in fields(cls)]
each_field = pytest.mark.parametrize(
    ("cls", "spec"), FIELDS, ids=lambda x: getattr(x, "name", getattr(x, "__name__", ""))
)


def hint(cls, spec):
    return typing.get_type_hints(cls)[spec.name]


def options(cls, spec):
    """(the types or choices without None, whether None is legal)."""
    found = hint(cls, spec)
    parts = typing.get_args(found) if type(None) in typing.get_args(found) else (found,)
    return next(p for p in parts if p is not type(None)), type(None) in parts


@each_field
def test_every_field_has_help_and_a_legal_default(cls, spec):
    assert len(spec.metadata["help"]) > 10
    assert set(spec.metadata["bounds"]) <= {"at_least", "above", "at_most", "below"}
    base, optional = options(cls, spec)
    assert spec.default is not None or optional
    if typing.get_origin(base) is typing.Literal:
        assert spec.default in typing.get_args(base)


@each_field
def test_a_value_of_the_wrong_type_is_refused_and_the_flag_named(cls, spec):
    base, optional = options(cls, spec)
    wrong = [["a list"], {}, 1j]
    if base is not bool:
        wrong += [True] if typing.get_origin(base) is not typing.Literal else [True, 3, "no such choice"]
    if base in (int, float, bool):
        wrong += ["text"]
    if base is int:
        wrong += [1.5, 2.0, math.nan]
    if base is float:
        wrong += [math.nan, math.inf, -math.inf, 10**400]
    if base is str:
        wrong += [7]
    if not optional:
        wrong += [None]
    for value in wrong:
        with pytest.raises(ConfigError) as caught:
            cls(**{spec.name: value})
        assert spec.name in caught.value.what
        assert f"--{spec.name.replace('_', '-')}" in caught.value.fix


@each_field
def test_every_bound_is_enforced(cls, spec):
    base, _ = options(cls, spec)
    for name, bound in spec.metadata["bounds"].items():
        inside = {"at_least": bound, "at_most": bound}
        inside |= {"above": bound + 1 if base is int else math.nextafter(bound, math.inf)}
        inside |= {"below": bound - 1 if base is int else math.nextafter(bound, -math.inf)}
        outside = {"above": bound, "below": bound}
        outside |= {"at_least": bound - 1 if base is int else math.nextafter(bound, -math.inf)}
        outside |= {"at_most": bound + 1 if base is int else math.nextafter(bound, math.inf)}
        has_site = {"dropout_char": {"embedding_size": 256}, "dropout_input": {"embedding_size": 256}}
        has_site |= {"dropout_branch": {"block": "residual"}, "val_count": {"documents": "line"}}
        others = has_site.get(spec.name, {})
        cls(**{spec.name: base(inside[name])}, **others)
        with pytest.raises(ConfigError, match=rf"{spec.name} is .*it must be {name.replace('_', ' ')}"):
            cls(**{spec.name: base(outside[name])}, **others)


def test_the_names_of_settings_are_unique_across_text_model_and_training():
    names = [spec.name for cls in (TextConfig, ModelConfig, TrainConfig) for spec in fields(cls)]
    assert len(names) == len(set(names))
    assert set(setting_names()) == set(names)
    assert setting_names()["cell"] is ModelConfig


@pytest.mark.parametrize("settings", [{"split": "random"}, {"val_count": 5}])
def test_a_split_by_documents_needs_documents(settings):
    with pytest.raises(ConfigError, match=r"and documents is none: .* one stream .*--documents line"):
        TextConfig(**settings)
    TextConfig(documents="line", **settings)


def test_a_count_and_a_fraction_exclude_each_other():
    with pytest.raises(ConfigError, match=r"val_count is 5 and val_fraction is 0\.2"):
        TextConfig(documents="line", val_count=5, val_fraction=0.2)


def test_a_wrong_choice_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"cell is 'ltsm': it must be one of elman, lstm.*--cell lstm"):
        ModelConfig(cell="ltsm")


def test_a_wrong_key_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"r\.toml sets 'hiden_size'.*did you mean hidden_size\?"):
        from_dict(ModelConfig, {"hiden_size": 3}, source="r.toml")
    with pytest.raises(ConfigError, match=r"sets 'zzzz'.*charloom train --help"):
        from_dict(ModelConfig, {"zzzz": 3}, source="r.toml")


@pytest.mark.parametrize("cls", CLASSES)
def test_a_configuration_is_read_back_from_json(cls):
    config = cls()
    assert from_dict(cls, json.loads(json.dumps(to_dict(config))), source="test") == config


def test_a_configuration_is_frozen_and_copies_are_checked():
    config = ModelConfig()
    with pytest.raises(FrozenInstanceError):
        config.cell = "lstm"
    with pytest.raises(ConfigError):
        replace(config, hidden_size=0)


def test_with_settings_uses_only_its_own_fields():
    assert with_settings(TrainConfig(), {"steps": 4, "cell": "lstm"}).steps == 4


CONFLICTS = [
    (ModelConfig, {"init": "normal"}, "init is normal and init_scale is not set"),
    (ModelConfig, {"init_out": "uniform"}, "init_out is uniform and init_out_scale is not set"),
    (ModelConfig, {"block": "residual", "embedding_size": 3}, "embedding_size is 3 and hidden_size is 256"),
    (ModelConfig, {"dropout_char": 0.1}, "dropout_char is 0.1"),
    (ModelConfig, {"dropout_input": 0.1}, "dropout_input is 0.1"),
    (ModelConfig, {"dropout_branch": 0.1}, "dropout_branch is 0.1"),
    (ModelConfig, {"cell": "mingru", "dropout_recurrent": 0.1}, "dropout_recurrent is 0.1"),
    (ModelConfig, {"dropout_layer": 0.1, "block": "residual"}, "dropout_layer is 0.1"),
    (ModelConfig, {"tie_embeddings": True}, "tie_embeddings with embedding_size None"),
    (TrainConfig, {"steps": 1, "minutes": 1.0}, "steps and minutes are both set"),
    (TrainConfig, {"epochs": 1, "steps": 1, "minutes": 1}, "epochs and steps and minutes are all set"),
    (TrainConfig, {"plan": "0:0,9:1"}, "plan ends at step 9 and steps is None"),
    (TrainConfig, {"plan": "0:0,9:1", "steps": 8}, "plan ends at step 9 and steps is 8"),
    (TrainConfig, {"objective": "last"}, "objective is last and batching is stream"),
    (TextConfig, {"documents": ""}, "documents is empty"),
]


@pytest.mark.parametrize(("cls", "settings", "what"), CONFLICTS, ids=lambda x: str(x)[:40])
def test_conflicting_settings_are_refused(cls, settings, what):
    with pytest.raises(ConfigError, match=what):
        cls(**settings)


def test_compatible_settings_are_accepted():
    ModelConfig(block="residual", embedding_size=64, hidden_size=64, tie_embeddings=True)
    ModelConfig(embedding_size=64, hidden_size=64, tie_embeddings=True)
    TrainConfig(objective="last", batching="random", steps=9, plan="0:0,9:1")


BAD_PLANS = [
    "",
    "0:0",
    "0:0,5",
    "0:0,5:x",
    "1:0,5:1",
    "0:0.1,5:1",
    "0:0,5:0",
    "0:0,5:1.5",
    "0:0,5:0.5,5:1",
    "0:0,9:.8,10:.5",
]


@pytest.mark.parametrize("plan", BAD_PLANS)
def test_a_plan_that_does_not_rise_from_zero_is_refused(plan):
    with pytest.raises(ConfigError, match="plan is"):
        parse_plan(plan)


@pytest.mark.parametrize("plan", ["0:0,5:nan", "0:0,3:nan,5:1"])
def test_a_plan_with_nan_is_refused(plan):
    with pytest.raises(ConfigError, match="plan is"):
        parse_plan(plan)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-9, 1.0)), min_size=1, max_size=8))
def test_a_plan_is_read_back_exactly(gaps):
    step, total, knots = 0, sum(p for _, p in gaps), [(0, 0.0)]
    for length, rise in gaps:
        step += length
        knots.append((step, min(1.0, knots[-1][1] + rise / total)))
    assert parse_plan(format_plan(knots)) == tuple(knots)


def test_nearest_is_none_if_nothing_is_close():
    assert nearest_name("banana", ["hidden_size"]) is None


@pytest.mark.parametrize(
    ("typed", "also", "meant"),
    [
        (r"\r\n\0", "r0", "\r\n\0"),
        (r"\r\n", "", "\\r\n"),
        (r"\\r\\0", "r0", r"\r\0"),
        (r"\d+\.", "r0", r"\d+\."),
        ("a\nb\\", "r0", "a\nb\\"),
    ],
)
def test_escapes_by_hand(typed, also, meant):
    assert unescaped(typed, also=also) == meant


@given(st.text())
def test_every_separator_can_be_written(text):
    assert unescaped(escaped(text)) == text


@pytest.mark.parametrize(
    ("recorded", "meant"),
    [
        (r"\newpage", "\newpage"),
        (r"\\newpage", "\\\newpage"),
        (r"\\section", "\\\\section"),
        ("line", "line"),
    ],
)
def test_a_separator_recorded_before_backslashes_could_be_escaped_keeps_its_meaning(recorded, meant):
    assert unescaped(stored_text_config({"documents": recorded}, source="a run").documents) == meant


def test_a_separator_recorded_since_is_read_as_it_is():
    stored = {"documents": r"\\newpage", "keep_separator": "no"}
    assert stored_text_config(stored, source="a run").documents == r"\\newpage"


@pytest.mark.parametrize("documents", ["none", "line", "blank-line", "file", r"\n\n"])
def test_a_separator_of_newlines_cannot_be_kept(documents):
    with pytest.raises(ConfigError, match="nothing would be kept"):
        TextConfig(documents=documents, keep_separator="begin")


def test_rows_of_a_column_are_documents():
    assert TextConfig(column="text").documents == "file"
    assert TextConfig(column="text", documents="line").documents == "line"
    assert TextConfig(column="text", split="random").split == "random"


def test_characters_to_replace():
    assert parse_replacements("U+FFFD=, ’=',U+2014=U+002D U+002D") == {"\ufffd": "", "’": "'", "—": "--"}


@pytest.mark.parametrize("text", ["", "U+FFFD", "ab=c", "a=b,a=c", "U+D800=x", "U+FFFFFF="])
def test_characters_to_replace_are_checked(text):
    with pytest.raises(ConfigError, match="replace_chars is"):
        TextConfig(replace_chars=text)
