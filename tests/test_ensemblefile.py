"""The file of an ensemble: what is written is read, and what does not fit is refused."""

import dataclasses
import json

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.ensemblefile import combined, read_model_or_ensemble, write_ensemble
from charloom.errors import ConfigError, ModelFileError
from charloom.modelfile import ENSEMBLE_FORMAT, ModelFile, read_model, write_model, write_tensors
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary


def model_file(seed, chars="abc", text=None, **settings):
    config, vocab = ModelConfig(hidden_size=4, **settings), Vocabulary.from_text(chars)
    params = initial_parameters(config, len(vocab), seed)
    return ModelFile(params, config, text or TextConfig(), vocab, {"train": {"seed": seed}})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "both.safetensors"


def test_what_is_written_is_read_back(path):
    members = [model_file(0), model_file(1, cell="lstm", num_layers=2)]
    write_ensemble(path, combined(members, {"made_by": "a test", "runs": [str(path.parent / "runs" / "a")]}))
    read = read_model_or_ensemble(path)
    assert read.card == {"made_by": "a test", "runs": ["runs/a"]}
    for member, own in zip(read.members, members, strict=True):
        assert (member.model_config, member.vocab, member.card) == (own.model_config, own.vocab, own.card)
        assert member.parameters.keys() == own.parameters.keys()
        for name, array in own.parameters.items():
            np.testing.assert_array_equal(member.parameters[name], array)


def test_a_single_model_is_read_as_one(path):
    write_model(path, model_file(0))
    assert isinstance(read_model_or_ensemble(path), ModelFile)


def test_where_one_network_is_needed_an_ensemble_is_refused(path):
    write_ensemble(path, combined([model_file(0), model_file(1)], {}))
    with pytest.raises(ModelFileError, match=r"is an ensemble.*name one of its members"):
        read_model(path)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ([], "1 models"),
        ([model_file(1, chars="abd")], "different vocabularies"),
        ([model_file(1, chars="abcd")], "of 3 and 4"),
        (
            [model_file(1, text=TextConfig(normalization="nfd"))],
            "normalization is 'nfc' in model 1 and 'nfd'",
        ),
        ([model_file(i) for i in range(64)], "65 models"),
    ],
)
def test_models_that_do_not_fit_are_refused(others, says):
    with pytest.raises(ConfigError, match=says):
        combined([model_file(0), *others], {})


def damage(path, change):
    """Write the file again with other metadata or tensors."""
    ensemble = combined([model_file(0), model_file(1)], {})
    members = [{"config": dataclasses.asdict(m.model_config), "card": {}} for m in ensemble.members]
    tensors = {f"member.{k}.{n}": x for k, m in enumerate(ensemble.members) for n, x in m.parameters.items()}
    parts = {
        "members": members,
        "text": dataclasses.asdict(TextConfig()),
        "vocab": ensemble.vocab.to_json(),
        "card": {},
    }
    parts["tensors"], parts["format_version"] = tensors, "1"
    change(parts)
    tensors, version = parts.pop("tensors"), parts.pop("format_version")
    metadata = {name: json.dumps(part) for name, part in parts.items()}
    write_tensors(path, tensors, {"format": ENSEMBLE_FORMAT, "format_version": version, **metadata})


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts["members"].pop(),
        lambda parts: parts["members"][1].pop("card"),
        lambda parts: parts["members"][1].update(config=7),
        lambda parts: parts["members"][1]["config"].update(hidden_size=5),
        lambda parts: parts["members"][1]["config"].update(hidden_size=0),
        lambda parts: parts["members"][1]["config"].update(unheard_of=0),
        lambda parts: parts.update(members={}),
        lambda parts: parts.update(vocab=[]),
        lambda parts: parts.update(format_version="2"),
        lambda parts: parts["tensors"].pop("member.1.out.bias"),
        lambda parts: parts["tensors"].update({"member.2.out.bias": np.zeros(3)}),
        lambda parts: parts["tensors"].update({"member.1.out.bias": np.array([0, np.nan, 0])}),
    ],
)
def test_a_damaged_file_is_refused(path, change):
    damage(path, dict.items)
    assert len(read_model_or_ensemble(path).members) == 2
    damage(path, change)
    with pytest.raises(ModelFileError, match="is not a usable model file"):
        read_model_or_ensemble(path)
