"""The Python API: evaluation, surprisal, states and novelty."""

import dataclasses
import math

import numpy as np
import pytest

import charloom
from charloom.errors import ConfigError, DataError, RunError
from charloom.evaluation.protocols import stream_loss
from charloom.run_results import results_json
from tests.api.conftest import FLOAT32, SETTINGS


def test_evaluation_scores_the_runs_own_held_out_part(model):
    score = model.evaluate()
    assert (score.protocol, score.chars) == ("stream", 299)
    assert score.loss_nats == pytest.approx(model.card["results"]["val_loss_nats"], rel=FLOAT32)
    corpus = model.corpus()
    assert score == dataclasses.replace(stream_loss(model.bound, corpus.validation), bytes_per_char=1.0)
    assert model.evaluate(split="train").chars == len(corpus.train) - 1
    assert model.evaluate() == score  # to the last digit


def test_every_protocol_is_reproducible(model):
    for settings in (
        {"protocol": "windows", "window": 20, "num_windows": 30},
        {"protocol": "dynamic"},
        {"protocol": "stream"},
    ):
        one, same = (model.evaluate(**settings) for _ in range(2))
        assert one == same
        assert one.protocol == settings["protocol"]
        assert 0.5 < one.bits_per_char < math.log2(8) + 1
    with pytest.raises(ConfigError, match=r"protocol is 'guess'.*stream, windows or dynamic"):
        model.evaluate(protocol="guess")


@pytest.mark.parametrize("protocol", ["stream", "windows", "dynamic"])
def test_every_protocol_reports_progress(model, protocol):
    shares = []
    sizes = {"window": 20, "num_windows": 30} if protocol == "windows" else {}
    model.evaluate(protocol=protocol, on_progress=shares.append, **sizes)
    assert shares[-1] == 1.0


def test_dynamic_evaluation_leaves_the_model_as_it_was(model):
    before = {name: p.copy() for name, p in model.file.parameters.items()}
    model.evaluate(protocol="dynamic", learning_rate=1.0)
    for name, p in model.file.parameters.items():
        np.testing.assert_array_equal(p, before[name])


@pytest.mark.parametrize(
    "setting", [{"batch_size": 8}, {"objective": "last"}, {"epochs": 2}, {"engine": "torch"}]
)
def test_the_dynamic_protocol_takes_no_setting_that_it_would_ignore(model, setting):
    with pytest.raises(ConfigError, match="no setting has that name"):
        model.evaluate(protocol="dynamic", **setting)


def test_the_dynamic_protocol_computes_in_the_models_precision(model):
    exact = charloom.load(model.run.path, precision="float64")
    still = exact.evaluate(protocol="dynamic", learning_rate=1e-300)
    assert still.loss_nats == pytest.approx(exact.evaluate().loss_nats, rel=1e-12)


def test_a_missing_part_of_the_corpus_is_explained(model):
    with pytest.raises(DataError, match=r"no test part.*--test FILE"):
        model.evaluate(split="test")
    with pytest.raises(ConfigError, match=r"split is 'valid'.*validation"):
        model.evaluate(split="valid")


def test_unknown_characters_of_a_scored_text_are_counted(model, tmp_path):
    path = tmp_path / "other.txt"
    path.write_text("abcZabcdZZabc", encoding="utf-8")
    score = model.evaluate(path)
    assert score.unknown_chars == 3
    assert score.chars == 12
    assert score.bits_per_char == pytest.approx(model.score(path.read_text("utf-8")).bits_per_char, rel=1e-5)


def test_states_are_those_after_each_character(model):
    states = model.states("abcabc")
    assert [sorted(layer) for layer in states] == [["c", "h"], ["c", "h"]]
    assert all(x.shape == (6, 8) for layer in states for x in layer.values())
    prefix = model.states("abc")
    np.testing.assert_array_equal(prefix[1]["h"], states[1]["h"][:3])
    _, end = model.bound.forward(
        model.vocab.encode("abcabc")[None].astype(np.int64), model.bound.initial_state(1)
    )
    np.testing.assert_allclose(
        states[0]["c"][-1], model.bound.export_state(end)[0]["c"][0], rtol=FLOAT32, atol=FLOAT32
    )
    assert model.states("") == [{}, {}]


@pytest.mark.parametrize("documents", ["none", "line"])
def test_bits_per_byte_are_bits_over_the_utf8_bytes_of_the_normalised_text(documents, tmp_path):
    text = (
        "cafe\u0301 \N{GREEK SMALL LETTER OMEGA}\n" * 300
    )  # e and its accent become one character of two bytes
    small = SETTINGS | {"steps": 3, "quiet": True, "documents": documents}
    model = charloom.train(text=text, out=tmp_path / "run", **small)
    held_out = model.vocab.decode(model.corpus().validation)
    assert "é" in held_out
    per_char = len(held_out.encode("utf-8")) / len(held_out)
    score, results = model.evaluate(), results_json(model.run)
    assert score.bytes_per_char == pytest.approx(per_char, rel=1e-12)
    assert score.bits_per_byte == pytest.approx(score.bits_per_char / per_char, rel=1e-12)
    assert results["val_bits_per_byte"] == pytest.approx(results["val_bits_per_char"] / per_char, rel=1e-12)
    assert model.card["results"]["val_bits_per_byte"] == results["val_bits_per_byte"]


def test_bits_per_byte_of_a_byte_model_are_its_bits(tmp_path):
    small = SETTINGS | {"steps": 3, "quiet": True, "unit": "byte"}
    score = charloom.train(text="né ω\n" * 300, out=tmp_path / "run", **small).evaluate()
    assert score.bits_per_byte == score.bits_per_char


def test_a_text_is_scored_character_by_character(model, corpus_file):
    text = corpus_file.read_text("utf-8")[:500]
    found = model.score(text)
    assert "".join(found.chars) == text
    assert np.isnan(found.bits).tolist() == [True] + [False] * 499
    one_more = model.score(text[:200])
    assert found.bits[1:200] == pytest.approx(one_more.bits[1:], rel=FLOAT32)  # causal


def test_novelty_is_measured_against_the_training_part(model, tmp_path):
    corpus = model.corpus()
    train = corpus.vocab.decode(corpus.train)
    copied, own = model.novelty([train[40:80] + train[:5], "aaaaaaaaa"], from_chars=20)
    assert copied.longest_copy_chars >= 40
    assert copied.stretches[0][:2] == (0, copied.stretches[0].length)
    assert own.copied_share == 0
    assert model.novelty(train[40:80])[0].copied_share == 1
    with pytest.raises(ConfigError, match="from_chars is 0"):
        model.novelty("a", from_chars=0)
    model.save(tmp_path / "alone.safetensors")
    with pytest.raises(RunError, match="without its run"):
        charloom.load(tmp_path / "alone.safetensors").novelty("a")
