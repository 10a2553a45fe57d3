"""Functions that take settings show every one in signature and help, and refuse a misspelt one with the nearest."""

import inspect
import typing
from dataclasses import fields

import pytest

import charloom
from charloom.api import settings as types
from charloom.config import DYNAMIC_SETTINGS, ModelConfig, SampleConfig, TextConfig, TrainConfig
from charloom.errors import ConfigError
from charloom.text import Vocabulary

TRAINING, SAMPLING = (TextConfig, ModelConfig, TrainConfig), (SampleConfig,)
TAKE = {
    charloom.train: (TRAINING, types.TrainSettings),
    charloom.explain: (TRAINING, types.TrainSettings),
    charloom.Model.sample: (SAMPLING, types.SampleSettings),
    charloom.Model.stream: (SAMPLING, types.SampleSettings),
    charloom.Model.generate: (SAMPLING, types.SampleSettings),
    charloom.Model.session: (SAMPLING, types.SampleSettings),
    charloom.Model.sample_config: (SAMPLING, types.SampleSettings),
    charloom.Model.evaluate: ((TrainConfig,), types.LearningSettings),
}
ONLY = {charloom.Model.evaluate: DYNAMIC_SETTINGS}
every_function = pytest.mark.parametrize("function", TAKE, ids=lambda function: function.__qualname__)


def public_functions():
    yield from (getattr(charloom, name) for name in charloom.__all__)
    yield from (value for name, value in inspect.getmembers(charloom.Model) if not name.startswith("_"))


def fields_of(function):
    """{setting: (hint, help)} of a function, without its own parameters of the same name."""
    configs, _ = TAKE[function]
    code = inspect.unwrap(function).__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {
        spec.name: (typing.get_type_hints(config)[spec.name], spec.metadata["help"])
        for config in configs
        for spec in fields(config)
        if spec.name not in own and spec.name in ONLY.get(function, [spec.name])
    }


def test_every_public_function_with_settings_lists_them():
    open_ended = {
        f
        for f in public_functions()
        if inspect.isfunction(f) and inspect.unwrap(f).__code__.co_flags & inspect.CO_VARKEYWORDS
    }
    assert open_ended == set(TAKE)


@every_function
def test_a_signature_and_its_configurations_agree(function):
    parameters = inspect.signature(function).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters)
    shown = {p.name: p.annotation for p in parameters if repr(p.default) == "..."}
    assert shown == {name: hint for name, (hint, _) in fields_of(function).items()}


@every_function
def test_help_explains_every_setting(function):
    for name, (_, meaning) in fields_of(function).items():
        assert f"\n    {name}: {meaning} [" in inspect.getdoc(function)


@every_function
def test_the_types_for_editors_and_the_configurations_agree(function):
    assert typing.get_type_hints(TAKE[function][1]) == {
        name: hint for name, (hint, _) in fields_of(function).items()
    }


@pytest.fixture(scope="module")
def model():
    torch = pytest.importorskip("torch")
    return charloom.from_torch(
        torch.nn.ModuleList([torch.nn.GRU(4, 6), torch.nn.Linear(6, 4)]), Vocabulary.from_text("abcd")
    )


@pytest.mark.parametrize(
    ("call", "misspelt", "near"),
    [
        (lambda _, **s: charloom.train(**s), "hiden_size", "hidden_size"),
        (lambda _, **s: charloom.train(**s), "on_evnt", "on_event"),
        (lambda _, **s: charloom.explain("missing.txt", **s), "batchsize", "batch_size"),
        (lambda model, **s: model.sample(**s), "temprature", "temperature"),
        (lambda model, **s: list(model.stream(**s)), "promt", "prompt"),
        (lambda model, **s: model.generate(**s), "logprobs", "log_probs"),
        (lambda model, **s: model.session(**s), "topk", "top_k"),
        (lambda model, **s: model.sample_config(**s), "sed", "seed"),
        (lambda model, **s: model.evaluate(**s), "windw", "window"),
    ],
)
def test_a_misspelt_keyword_gives_the_nearest(model, call, misspelt, near):
    with pytest.raises(ConfigError, match=rf"\(\) sets '{misspelt}'.*did you mean {near}\?"):
        call(model, **{misspelt: 1})


def test_a_keyword_like_no_other_points_to_help():
    with pytest.raises(ConfigError, match=r"help\(charloom.train\) lists the settings"):
        charloom.train(zzz=1)


def test_only_dynamic_evaluation_takes_training_settings(model, tmp_path):
    (tmp_path / "text.txt").write_text("abcd" * 20, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sets 'learning_rate' with protocol stream.*dynamic"):
        model.evaluate(tmp_path / "text.txt", learning_rate=0.1)
    assert model.evaluate(tmp_path / "text.txt", protocol="dynamic", learning_rate=0.1).chars
