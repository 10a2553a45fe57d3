"""The published figures as data, and the search for corpora."""

import sys

import pytest

from charloom.errors import ConfigError, DataError, DownloadError
from charloom.recipes import find_recipe
from charloom.reproduce import find_systems, measure, published_sampling, systems, train
from charloom.reproduce.systems import corpus_path

NAMES = list(systems())
ELSEWHERE = {"validate_with_dropout", "test_on_training_text", "keep_last"}
"""Mistakes in measurement: C's validation, E's test, and which model is sampled (`measure`)."""


def test_the_five_systems_have_six_recipes():
    assert NAMES == [
        "arabic-rnn-small", "arabic-rnn", "arabic-lstm", "anna-lstm", "shakespeare-scratch", "moliere-elman",
    ]  # fmt: skip
    assert "".join(one.letter for one in systems().values()) == "AABCDE"


@pytest.mark.parametrize("name", NAMES)
def test_every_system_has_a_recipe_and_a_figure_on_its_curve(name):
    system, recipe = systems()[name], find_recipe(name)
    assert recipe.as_published
    assert system.target.tolerance is not None
    assert system.target.tolerance > 0
    if system.curve:
        assert dict(system.curve)[system.target.at] == pytest.approx(system.target.published, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_mistake_of_a_recipe_is_implemented(name):
    made = set(train.MISTAKES) | published_sampling.MISTAKES | ELSEWHERE
    assert set(find_recipe(name).as_published) <= made


def test_every_implemented_mistake_is_named_by_a_recipe():
    named = {mistake for name in NAMES for mistake in find_recipe(name).as_published}
    assert set(train.MISTAKES) | published_sampling.MISTAKES | ELSEWHERE == named


def test_all_selects_every_system_and_a_wrong_name_suggests_the_nearest():
    assert find_systems("all") == tuple(systems().values())
    with pytest.raises(ConfigError, match="did you mean anna-lstm"):
        find_systems("ana-lstm")


def test_the_environment_variable_sets_the_folder_of_the_corpora(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLOOM_DATA", str(tmp_path))
    (tmp_path / "arabic_small.txt").write_text("another text", encoding="utf-8")
    with pytest.raises(DataError, match=r"arabic_small.txt is not in .*its substitute cannot be downloaded"):
        corpus_path(systems()["arabic-lstm"])


def test_a_failed_download_names_the_folders_that_were_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLOOM_DATA", str(tmp_path))

    def no_network(name):
        raise DownloadError(f"cannot fetch {name}", why="no connection", fix="check the network")

    monkeypatch.setattr(sys.modules[corpus_path.__module__], "get_corpus", no_network)
    with pytest.raises(DownloadError, match=r"anna.txt is not in .*cannot fetch anna"):
        corpus_path(systems()["anna-lstm"])


def test_a_quick_run_is_a_tenth_of_a_full_one():
    assert measure.QUICK == 10
