"""``charloom reproduce``: output, files and wrong usage."""

import json

import pytest

from charloom.reproduce import systems
from charloom.reproduce.measure import Figure, Repetition
from charloom.reproduce.systems import Target


@pytest.fixture
def tales(workspace, monkeypatch):
    monkeypatch.setattr("charloom.reproduce.train.corpus_path", lambda _: workspace / "tales.txt")
    return workspace


def test_one_system(charloom, tales):
    done = charloom("reproduce moliere-elman --quick --out out")
    assert done.code == 0
    assert done.out.startswith("E. moliere-elman\n")
    assert "the published curve at epoch 4: published 1.9167, measured " in done.out
    assert "shown, not judged" in done.out
    assert {path.name for path in (tales / "out").iterdir()} == {"reproduce.json", "reproduce.html"}


def test_json_equals_the_contents_of_the_file(charloom, tales):
    result = charloom("reproduce moliere-elman --quick --out out --json").json
    written = json.loads((tales / "out" / "reproduce.json").read_text("utf-8"))
    assert result["systems"] == written["systems"]
    assert {"name", "figures", "honest", "within_tolerance", "train_time_s"} <= set(result["systems"][0])


def test_the_number_of_seeds_can_be_set(charloom, tales):
    figure = charloom("reproduce moliere-elman --quick --seeds 2 --json").json["systems"][0]["figures"][0]
    assert len(set(figure["by_seed"])) == figure["seeds_of_this_run"] == 2


def test_seeds_measured_earlier_are_listed_separately(charloom, workspace, monkeypatch):
    figure = Figure(Target("loss", 1.0, 0.1), 1.05, (1.05, 1.2), (1.3, 1.4))
    one = Repetition(systems()["anna-lstm"], (figure,), {}, ((10.0, 3.0),))
    monkeypatch.setattr("charloom.reproduce.repeat", lambda *_, **__: one)
    out = charloom("reproduce anna-lstm").out
    assert "    seeds: 1.0500 1.2000\n    other seeds, measured earlier: 1.3000 1.4000\n" in out


def test_zero_seeds_are_wrong_usage(charloom, workspace):
    done = charloom("reproduce anna --seeds 0")
    assert done.code == 2
    assert "--seeds is 0" in done.err


def test_best_with_quick_is_wrong_usage(charloom, workspace):
    done = charloom("reproduce all --best --quick")
    assert done.code == 2
    assert "--best cannot be combined with --quick" in done.err


def test_a_wrong_name(charloom, workspace):
    done = charloom("reproduce anna --json")
    assert done.code == 1
    assert "anna-lstm" in done.json["error"]["why"]


def test_a_missing_corpus(charloom, workspace, monkeypatch):
    monkeypatch.setenv("CHARLOOM_DATA", str(workspace))
    done = charloom("reproduce arabic-lstm")
    assert done.code == 1
    assert "CHARLOOM_DATA" in done.err
