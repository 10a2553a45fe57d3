"""The Python API: a model's file, its samples and its torch module."""

import itertools

import numpy as np
import pytest
import torch

import charloom
from charloom.errors import ConfigError, RunError, UnknownCharacterError
from charloom.text import Vocabulary
from tests.api.conftest import FLOAT32, SETTINGS, TEXT


def test_a_model_loads_from_its_folder_its_file_and_a_copy(model, tmp_path):
    model.save(tmp_path / "copy.safetensors")
    places = (model.run.path, model.run.model_path, tmp_path / "copy.safetensors")
    loaded = [charloom.load(place) for place in places]
    assert [m.run is None for m in loaded] == [False, True, True]
    texts = {m.sample("ab", length=40, seed=3)[0].text for m in (*loaded, model)}
    assert len(texts) == 1
    with pytest.raises(RunError, match="is not a run folder"):
        charloom.load(tmp_path)


def test_a_model_file_needs_no_corpus(corpus_file, tmp_path):
    moving = tmp_path / "moving.txt"
    moving.write_text(TEXT, encoding="utf-8")
    model = charloom.train(moving, out=tmp_path / "run", **SETTINGS | {"steps": 3})
    moving.unlink()
    assert charloom.load(tmp_path / "run").sample("a", length=5, seed=1)[0].text
    with pytest.raises(RunError, match=r"corpus of .* cannot be read.*--text PATH"):
        charloom.load(tmp_path / "run").evaluate()
    scored = charloom.load(tmp_path / "run").evaluate(corpus_file)
    assert scored.chars == 2999
    assert model.card["results"]["steps"] == 3


def test_the_same_seed_gives_the_same_text_also_in_pieces(model):
    one, same, other = (model.sample("ab", length=60, seed=s)[0] for s in (1, 1, 2))
    assert one.text == same.text != other.text
    assert "".join(model.stream("ab", length=60, seed=1)) in (one.text, "ab" + one.text)
    assert len(model.sample(count=3, length=5, seed=1)) == 3
    assert len("".join(itertools.islice(model.stream(length=0, seed=1), 200))) >= 200


def test_unique_samples_are_fewer_with_a_warning_if_the_model_has_no_more(model):
    texts = [one.text for one in model.sample("a", count=20, length=3, unique=True, seed=1)]
    assert len(set(texts)) == 20
    with pytest.warns(UserWarning, match="1 of 2 samples: 100 were drawn, 99 were equal to another"):
        assert len(model.sample("a", count=2, length=3, unique=True, temperature=0, seed=1)) == 1
    train = model.vocab.decode(model.corpus().train)
    fresh = model.sample("a", count=5, length=12, new=True, temperature=3, seed=1)
    assert len(fresh) == 5
    assert not any(one.prompt + one.text in train for one in fresh)
    with pytest.raises(ConfigError, match="length is 0 and nothing ends a sample"):
        model.sample("a", length=0, unique=True)


def test_an_unknown_character_is_named(model):
    with pytest.raises(UnknownCharacterError, match=r"U\+00E9"):
        model.sample("café", length=3)
    notes = []
    list(model.generate("abé", length=3, seed=1, unknown="skip", on_note=notes.append))
    assert notes


def test_resolved_settings_give_the_same_text_and_can_be_changed(model):
    config = model.sample_config(length=40, temperature=0.5, seed=1)
    (one,) = model.sample("ab", length=40, temperature=0.5, seed=1)
    assert list(model.generate("ab", config=config))[-1] == one
    assert len(list(model.generate("ab", config=config, length=5))[-1].text) == 5


def test_the_torch_module_equals_the_model_and_converts_back(model):
    module = model.torch_module()
    ids = model.vocab.encode("abcabcdh").astype(np.int64)[None]
    logits, _ = module(torch.tensor(ids))
    expected, _ = model.bound.forward(ids, model.bound.initial_state(1))
    np.testing.assert_allclose(logits.detach(), expected, rtol=FLOAT32, atol=FLOAT32)
    back = charloom.from_torch(module, model.vocab)
    assert back.sample("ab", length=30, seed=5)[0].text == model.sample("ab", length=30, seed=5)[0].text


def test_a_plain_torch_module_becomes_a_model(tmp_path):
    vocab = Vocabulary.from_text("abcd")
    module = torch.nn.ModuleList([torch.nn.GRU(4, 6), torch.nn.Linear(6, 4)])
    model = charloom.from_torch(module, vocab)
    model.save(tmp_path / "m.safetensors")
    text = charloom.load(tmp_path / "m.safetensors").sample("a", length=20, seed=1)[0].text
    assert text == model.sample("a", length=20, seed=1)[0].text
    with pytest.raises(ConfigError, match="vocabulary of 5"):
        charloom.from_torch(module, Vocabulary.from_text("abcde"))


def test_a_half_precision_module_is_saved_as_float32(tmp_path):
    module = torch.nn.ModuleList([torch.nn.GRU(4, 6), torch.nn.Linear(6, 4)]).half()
    charloom.from_torch(module, Vocabulary.from_text("abcd")).save(tmp_path / "m")
    assert {p.dtype.name for p in charloom.load(tmp_path / "m").file.parameters.values()} == {"float32"}


def test_a_model_file_without_its_run_has_no_corpus(model):
    with pytest.raises(RunError, match="was loaded without its run"):
        charloom.load(model.run.model_path).evaluate()
