"""The Python API: train, load, sample, evaluate, states, torch_module, from_torch, resume."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
import torch

import charloom
from charloom.errors import CharloomError, ConfigError, DataError, RunError, UnknownCharacterError
from charloom.evaluation.protocols import stream_loss
from charloom.insight import Sizes
from charloom.run_results import results_json
from charloom.text import Vocabulary

from .training.small import SYMBOLS, bigram_source, bigram_text, kinds

TEXT = bigram_text(bigram_source(), 3000)
SETTINGS = {
    "cell": "lstm",
    "hidden_size": 8,
    "num_layers": 2,
    "embedding_size": 4,
    "batch_size": 4,
    "bptt_length": 8,
    "steps": 30,
    "threads": 1,
    "device": "cpu",
}
FLOAT32 = 1e-5  # rounding: the same pass in other shapes


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "tales.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(corpus_file, tmp_path_factory):
    return charloom.train(corpus_file, out=tmp_path_factory.mktemp("runs") / "run", **SETTINGS)


def test_all_public_names_can_be_imported():
    for name in charloom.__all__:
        assert getattr(charloom, name) is not None
    assert set(dir(charloom)) == {*charloom.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        charloom.nothing  # noqa: B018 - the access is the test


def test_training_returns_the_best_model_with_its_run_and_card(model):
    assert model.run.path.name == "run"
    assert model.card["results"]["steps"] == 30
    assert model.card["results"]["protocol"] == "stream"
    assert model.card["train"]["steps"] == 30
    assert model.vocab.symbols == tuple(map(ord, SYMBOLS))
    config = model.run.config()
    assert config["model"]["cell"] == "lstm"
    assert config["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert config["corpus"]["num_chars"] == 3000
    assert len(config["corpus"]["sha256"]) == 64


def test_training_reports_its_events(tmp_path):
    seen = []
    charloom.train(text=TEXT[:500], out=tmp_path / "run", on_event=seen.append, **SETTINGS | {"steps": 4})
    assert kinds(seen, "Started")
    assert kinds(seen, "Finished")


def test_a_wrong_setting_is_refused_before_any_text_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"sets 'hiden_size'.*hidden_size"):
        charloom.train(tmp_path / "missing.txt", hiden_size=3)
    with pytest.raises(ConfigError, match="cell is 'lstmm'"):
        charloom.train(tmp_path / "missing.txt", cell="lstmm")
    with pytest.raises(CharloomError, match="missing"):
        charloom.train(tmp_path / "missing.txt", out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()


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


# ------------------------------------------------------------------------------------------------------ resume


def test_resume_extends_a_finished_run(corpus_file, tmp_path):
    charloom.train(corpus_file, out=tmp_path / "run", **SETTINGS | {"steps": 5})
    events = []
    charloom.resume(tmp_path / "run", more_steps=4, on_event=events.append)
    assert kinds(events, "Finished")[0].step == 9
    assert charloom.load(tmp_path / "run").run.config()["train"]["steps"] == 9


def test_a_moved_corpus_is_checked(tmp_path):
    here, there, other = (tmp_path / name for name in ("here.txt", "there.txt", "other.txt"))
    here.write_text(TEXT, encoding="utf-8")
    charloom.train(here, out=tmp_path / "run", **SETTINGS | {"steps": 3})
    here.rename(there)
    other.write_text(TEXT[::-1], encoding="utf-8")
    with pytest.raises(RunError, match="cannot be read"):
        charloom.resume(tmp_path / "run", more_steps=1)
    with pytest.raises(RunError, match=r"is not the text that .* was trained on.*SHA-256.*--init-from .*run"):
        charloom.resume(tmp_path / "run", text=[other])
    events = []
    charloom.resume(tmp_path / "run", text=[there], on_event=events.append)
    assert kinds(events, "Finished")


def test_a_text_in_memory_that_is_not_kept_cannot_be_found_again(tmp_path):
    charloom.train(text=TEXT, out=tmp_path / "run", keep_text=False, **SETTINGS | {"steps": 3})
    with pytest.raises(RunError, match=r"given in memory.*--text"):
        charloom.resume(tmp_path / "run", more_steps=1)


def test_a_finished_run_is_returned_without_training(corpus_file, tmp_path):
    trained = charloom.train(corpus_file, out=tmp_path / "run", **SETTINGS | {"steps": 3})
    before = trained.run.events_path.read_bytes()
    events = []
    again = charloom.resume(tmp_path / "run", on_event=events.append)
    assert (events, again.card) == ([], trained.card)
    assert trained.run.events_path.read_bytes() == before


def test_seeds_train_runs_that_differ_in_the_seed_only(corpus_file, tmp_path):
    settings = SETTINGS | {"steps": 3, "seed": 5}
    found = charloom.train(corpus_file, out=tmp_path / "x", seeds=2, **settings)
    assert [model.run.path.name for model in found] == ["x-seed5", "x-seed6"]
    assert (len(found), found.seeds) == (2, (5, 6))
    alone = charloom.train(corpus_file, out=tmp_path / "alone", **settings | {"seed": 6})
    for name, array in alone.file.parameters.items():
        assert (array == found[1].file.parameters[name]).all()
    bits = [model.card["results"]["val_bits_per_char"] for model in found]
    assert found.mean_bits_per_char == pytest.approx(sum(bits) / 2)
    assert found.sd_bits_per_char == pytest.approx(abs(bits[0] - bits[1]) / 2**0.5)
    assert "seeds 5, 6: " in repr(found)
    with pytest.raises(RunError, match="x-seed6 already contains a run"):
        charloom.train(corpus_file, out=tmp_path / "x", seeds=2, **settings | {"seed": 6})
    assert not (tmp_path / "x-seed7").exists()
    with pytest.raises(ConfigError, match="seeds is 1"):
        charloom.train(corpus_file, out=tmp_path / "y", seeds=1, **settings)


def test_a_text_in_memory_stays_with_the_model_that_training_returns(tmp_path):
    model = charloom.train(text=TEXT, out=tmp_path / "run", keep_text=False, **SETTINGS | {"steps": 3})
    assert model.evaluate().loss_nats == pytest.approx(model.card["results"]["val_loss_nats"], rel=FLOAT32)
    sizes = Sizes(
        num_lags=8, num_passages=1, reach=8, targets=8, stretches=1, unit_passages=1, error_chars=200
    )
    assert charloom.gradients(model, sizes=sizes).num_lags == 8
    assert charloom.inspect(model, sizes=sizes).train_nats is not None
    assert model.novelty(TEXT[:40])[0].copied_share == 1
    loaded = charloom.load(tmp_path / "run")
    with pytest.raises(RunError, match=r"given in memory.*write the text to a file"):
        loaded.evaluate()
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    assert loaded.evaluate(tmp_path / "text.txt").chars == len(TEXT) - 1
    resumed = charloom.resume(tmp_path / "run", more_steps=1, text=[tmp_path / "text.txt"])
    assert resumed.corpus().sha256 == model.corpus().sha256


def test_progress_is_shown_unless_quiet_and_events_are_reported_beside_it(tmp_path, capsys):
    events = []
    charloom.train(text=TEXT[:500], out=tmp_path / "one", on_event=events.append, **SETTINGS | {"steps": 2})
    out, err = capsys.readouterr()
    assert out == ""
    assert "model: 2 x lstm of 8, plain" in err
    assert re.search(r"^step 2 ·.* bits/char", err, flags=re.MULTILINE)
    assert kinds(events, "Finished")
    quiet = {"quiet": True, "on_event": events.append}
    charloom.train(text=TEXT[:500], out=tmp_path / "two", **quiet, **SETTINGS | {"steps": 2})
    assert capsys.readouterr() == ("", "")
    assert len(kinds(events, "Finished")) == 2


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


def test_results_have_the_documented_keys(model):
    found = results_json(model.run)
    for key in [
        "run",
        "model",
        "steps",
        "chars_seen",
        "train_time_s",
        "chars_per_s",
        "num_params",
        "vocab_size",
        "protocol",
        "val_loss_nats",
        "val_bits_per_char",
    ]:
        assert found[key] is not None, key
    assert found["val_bits_per_char"] == pytest.approx(found["val_loss_nats"] / math.log(2))
    assert found["chars_per_s"] == pytest.approx(found["chars_seen"] / found["train_time_s"])
    assert found["num_params"] == sum(p.size for p in model.file.parameters.values())


@pytest.mark.parametrize(
    "settings", [{"cell": "gru", "bias": "pair"}, {"block": "residual", "tie_embeddings": True}]
)
def test_the_number_of_parameters_is_that_of_the_model_file(tmp_path, settings):
    small = {"hidden_size": 8, "batch_size": 2, "bptt_length": 8, "steps": 2, "threads": 1}
    trained = charloom.train(text=TEXT[:500], out=tmp_path / "run", **small, **settings)
    num_params = sum(p.size for p in trained.file.parameters.values())
    assert results_json(trained.run)["num_params"] == num_params


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


def test_documents_from_a_generator_are_trained_on(tmp_path):
    settings = {**SETTINGS, "steps": 2, "quiet": True}
    model = charloom.train(text=(f"name {number}" for number in range(60)), out=tmp_path / "a", **settings)
    assert model.file.text_config.documents == "file"
    assert model.vocab.boundary_id is not None
    lines = charloom.train(text=["a\nb"] * 60, documents="line", out=tmp_path / "b", **settings)
    assert lines.file.text_config.documents == "line"


def test_a_validation_file_counts_for_a_text_in_memory_too(tmp_path):
    (tmp_path / "held.txt").write_text(TEXT[:200], encoding="utf-8")
    model = charloom.train(
        text=TEXT, val=tmp_path / "held.txt", out=tmp_path / "a", quiet=True, **{**SETTINGS, "steps": 2}
    )
    assert len(model.corpus().validation) == 200


@pytest.mark.parametrize(
    ("sources", "keywords", "message"),
    [
        ([["anna", "bo"]], {}, "pass documents as text="),
        (["a.txt"], {"text": "abc"}, "a run has one corpus"),
    ],
)
def test_sources_and_texts_are_not_confused(sources, keywords, message):
    with pytest.raises(ConfigError, match=message):
        charloom.train(*sources, **keywords, **SETTINGS)
