"""The benchmark of quality: what is finished is kept, and an interrupted one continues."""

import pytest

from benchmarks import quality, trials
from charloom.config import TextConfig
from charloom.engines import load_engine
from charloom.engines.ensemble import EnsembleModel
from charloom.ensemblefile import members_of
from charloom.evaluation.dynamic import dynamic_score
from charloom.modelfile import read_model
from charloom.text import read_corpus

pytest.importorskip("torch")
TINY = {"cell": "gru", "block": "plain", "hidden_size": 8, "num_layers": 1, "steps": 2, "seed": 0}


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "WINDOWS", 4)
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and saw the dog\n" * 200)
    return read_corpus([text], TextConfig(val_fraction=0.1))


def test_a_finished_network_is_not_trained_again(corpus, tmp_path, monkeypatch):
    first = quality.row_of(TINY, corpus, tmp_path, name="0", dynamic=False)
    assert first["steps"] == 2
    monkeypatch.setattr(quality, "trained", None)
    assert quality.row_of(TINY, corpus, tmp_path, name="0", dynamic=False) == first
    later = quality.row_of(TINY, corpus, tmp_path, name="0", dynamic=True)
    assert later["dynamic"] < first["stream"]  # it learns from this text while it reads it
    assert later == first | {"dynamic": later["dynamic"]}


def test_a_network_of_other_settings_is_not_taken(corpus, tmp_path):
    quality.row_of(TINY, corpus, tmp_path, name="0", dynamic=False)
    with pytest.raises(ValueError, match="name another folder"):
        quality.row_of({**TINY, "steps": 3}, corpus, tmp_path, name="0", dynamic=False)


@pytest.mark.parametrize("is_chain", [False, True])
def test_every_seed_adds_a_row_and_a_chain_its_ensemble(is_chain, corpus, tmp_path):
    settings = {name: value for name, value in TINY.items() if name != "seed"}
    how = {"dynamic": False, "is_chain": is_chain}
    found = [[*rows] for rows in quality.growing(settings, corpus, 2, tmp_path, **how)]
    assert [len(rows) for rows in found] == [1, 2]
    assert ["ensemble" in row for row in found[-1]] == [False, is_chain]
    assert sorted(path.name for path in tmp_path.glob("?.safetensors")) == ["0.safetensors", "1.safetensors"]


def test_a_student_is_taught_by_the_ensemble_of_all_before_it(corpus, tmp_path, monkeypatch):
    settings, teachers = {name: value for name, value in TINY.items() if name != "seed"}, []
    train = quality.trained

    def noted(corpus, settings, *, teacher):
        teachers.append(0 if teacher is None else len(members_of(teacher.file)))
        return train(corpus, settings, teacher=teacher)

    monkeypatch.setattr(quality, "trained", noted)
    recipe = tmp_path / "student.toml"
    recipe.write_text("[train]\nteacher_weight = 0.25\nwritten_chars = 300\n", encoding="utf-8")
    how = {"dynamic": True, "is_chain": True, "students": [str(recipe)] * 2}
    *_, rows = quality.growing(settings, corpus, 2, tmp_path, **how)
    assert teachers == [0, 1, 2, 3]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3]
    assert [row.get("taught_by", "")[-6:] for row in rows] == ["", "", "0 to 1", "0 to 2"]
    assert [row.get("recipe") for row in rows] == [None, None, str(recipe), str(recipe)]
    assert [row.get("written_chars") for row in rows] == [None, None, 300, 300]
    names = ("0", "1", "student-0", "student-1")
    members = [read_model(tmp_path / f"{name}.safetensors") for name in names]
    together = EnsembleModel([load_engine("auto").model(one.parameters, one.model_config) for one in members])
    losses = trials.judged(together, corpus, num_windows=quality.WINDOWS)
    losses["dynamic"] = dynamic_score(members, corpus.validation).loss_nats
    for protocol, loss in losses.items():
        assert rows[3]["ensemble"][protocol] == pytest.approx(loss, abs=1e-3)
    assert rows[3]["ensemble"]["dynamic"] < rows[3]["ensemble"]["stream"]
    alone = dynamic_score(members[3:], corpus.validation).loss_nats
    assert rows[3]["dynamic"] == pytest.approx(alone, abs=1e-3)


def test_enwik8_is_divided_as_usual():
    sizes = [len(range(100_000_000)[part]) for part in trials.ENWIK8_PARTS]
    assert sizes == [90_000_000, 5_000_000, 5_000_000]


def test_networks_are_chosen_by_one_part_of_enwik8_and_judged_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "ENWIK8_PARTS", (slice(90), slice(90, 95), slice(95, None)))
    monkeypatch.setenv("CHARLOOM_DATA", str(tmp_path))
    (tmp_path / "enwik8.txt").write_bytes(bytes(range(100)))
    judged, chosen = trials.whole("enwik8")
    assert judged.vocab.decode(judged.validation) == bytes(range(95, 100)).decode()
    assert chosen.vocab.decode(chosen.validation) == bytes(range(90, 95)).decode()
    assert len(judged.train) == len(chosen.train) == 90
