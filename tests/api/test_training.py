"""The Python API: what `train` and `resume` take and return."""

import math
import re

import pytest
import torch

import charloom
from charloom.errors import CharloomError, ConfigError, RunError
from charloom.insight import Sizes
from charloom.run_results import results_json
from tests.api.conftest import FLOAT32, SETTINGS, TEXT
from tests.training.small import SYMBOLS, kinds


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
