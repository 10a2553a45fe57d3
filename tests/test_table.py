"""The table's arithmetic: equal sizes, how a learning rate is chosen, and that it goes on where it was."""

import json
import math

import pytest

from benchmarks import table, trials
from charloom.config import ModelConfig, TextConfig
from charloom.parameters import count_parameters
from charloom.text import read_corpus

from .conftest import ROOT


@pytest.mark.parametrize("vocab_size", [65, 433])
@pytest.mark.parametrize("row", table.ROWS)
def test_every_row_has_nearly_as_many_parameters(row, vocab_size):
    network = table.ROWS[row]
    width = table.sized(network, vocab_size)
    sizes = [
        count_parameters(ModelConfig(**network, hidden_size=w), vocab_size)
        for w in (width - 8, width, width + 8)
    ]
    distances = [abs(size - table.PARAMS) for size in sizes]
    assert distances[1] == min(distances)
    assert distances[1] < 0.1 * table.PARAMS


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book in an empty folder whose trials cost the distance of the rate from 5e-3, in octaves."""
    monkeypatch.setattr(table, "TRIALS", tmp_path / "trials.jsonl")
    monkeypatch.setattr(table, "TABLE", tmp_path / "table.json")
    asked = []

    def trained(_corpus, settings):
        asked.append((settings["steps"], settings["learning_rate"], settings["seed"]))
        done = type("Done", (), {})()
        done.model = settings
        return done

    def judged(model, _corpus, **_):
        loss = 1 + abs(math.log2(model["learning_rate"] / 5e-3))
        return {"windows_64": 0.0, "windows_256": loss, "stream": 0.0}

    monkeypatch.setattr(table, "whole", lambda _: (None, None))
    monkeypatch.setattr(table, "trained", trained)
    monkeypatch.setattr(table, "judged", judged)
    made = table.Book()
    made.asked = asked
    return made


def test_twelve_trials_find_the_rate_nearest_to_the_best_of_half_the_time(book):
    # of all powers of √2 times 2e-3, 5.66e-3 is the nearest to 5e-3; four trials from 4e-3 down do not hold it
    assert table.tuned(book, "text", "row", {"steps": 1000}) == pytest.approx(4e-3)
    assert len(book.asked) == len(set(book.asked)) == 12
    assert [seed for *_, seed in book.asked].count(1) == 2
    assert [steps for steps, *_ in book.asked] == 6 * [200] + 6 * [500]


def test_a_longer_training_may_want_a_smaller_rate(book, monkeypatch):
    def judged(model, _corpus, **_):
        best = 16e-3 if model["steps"] == 200 else 8e-3
        return {
            "windows_64": 0.0,
            "windows_256": 1 + abs(math.log2(model["learning_rate"] / best)),
            "stream": 0.0,
        }

    monkeypatch.setattr(table, "judged", judged)
    assert table.tuned(book, "text", "row", {"steps": 1000}) == pytest.approx(8e-3)


def test_trials_that_were_made_are_not_made_again(book):
    first = table.tuned(book, "text", "row", {"steps": 9})
    again = table.Book()
    assert table.tuned(again, "text", "row", {"steps": 9}) == first
    assert len(book.asked) == 12
    assert len([json.loads(line) for line in table.TRIALS.read_text("utf-8").splitlines()]) == 12
    table.tuned(again, "text", "other row", {"steps": 9})
    assert len(book.asked) == 24


def test_a_row_that_is_kept_is_there_in_the_next_book(book):
    assert not book.has("text", "row")
    book.keep("text", "row", {"windows_256": {"mean": 1.5, "sd": 0.1}})
    assert table.Book().has("text", "row")
    assert json.loads(table.TABLE.read_text("utf-8"))["texts"]["text"]["row"]["windows_256"]["mean"] == 1.5


def test_other_costs_forget_what_was_measured_with_the_old_ones(book):
    table.tuned(book, "text", "row", {"steps": 9})
    table.tuned(book, "other text", "row", {"steps": 9})
    book.keep("text", "row", {})
    book.forget("text")
    assert not book.has("text", "row")
    again = table.Book()
    assert {line["text"] for line in again.trials} == {"other text"}
    table.tuned(again, "text", "row", {"steps": 9})
    assert len(book.asked) == 36


def test_the_pages_show_every_text_that_is_complete():
    texts = table.complete(json.loads(table.TABLE.read_text("utf-8"))["texts"])
    assert texts
    page = (ROOT / "docs" / "explanation" / "table.md").read_text("utf-8")
    for protocol in ("stream", "windows_256", "windows_64"):
        assert table.shown(texts, protocol) in page
    assert table.settings_shown(texts) in page
    assert table.shown(texts, "stream") in (ROOT / "README.md").read_text("utf-8")


def test_a_text_is_complete_when_every_row_is_there():
    rows = {key: {} for key in (table.BESIDE, *table.TRAINED)}
    almost = {row: {} for row in rows if row != table.GPT}
    texts = {"moliere": almost, "anna": rows, "tinyshakespeare": rows | {table.COSTS: {}}}
    assert list(table.complete(texts)) == ["tinyshakespeare", "anna"]


@pytest.fixture
def corpus(tmp_path):
    """A hundred thousand characters of a hundred kinds, a tenth held out."""
    (tmp_path / "text.txt").write_text("".join(map(chr, range(0x100, 0x164))) * 1_000, encoding="utf-8")
    return read_corpus([tmp_path / "text.txt"], TextConfig(val_fraction=0.1))


def test_a_row_learns_for_as_many_updates_as_its_minutes_hold(corpus):
    assert table.updates("gru plain", corpus, 1.25) == table.MINUTES * table.UPDATES_A_MINUTE / 1.25
    assert table.updates("flash", corpus, 1.0) == 1.5 * table.UPDATES_A_MINUTE


def test_a_recipe_makes_no_more_passes_than_it_allows(corpus):
    one_pass = -(-((len(corpus.train) - 1 - 63) // 64) // 64)
    assert table.updates("best", corpus, 1e-2) == 8 * one_pass
    assert table.updates("best", corpus, 100.0) == 9.5 * table.UPDATES_A_MINUTE / 100


def test_the_small_gpt_is_judged_in_its_own_context(corpus, monkeypatch):
    pytest.importorskip("torch")
    from benchmarks.baselines import plain_gpt

    monkeypatch.setattr(plain_gpt, "STEPS", 3)
    monkeypatch.setattr(table, "WINDOWS", 64)
    found = table.small_gpt(corpus)
    assert found["updates"] == 3
    assert found["epochs"] == pytest.approx(3 * 12 * 64 / len(corpus.train), rel=1e-3)
    assert found["windows_64"]["mean"] == pytest.approx(math.log(100), abs=0.3)
    assert found["windows_64"]["sd"] > 0  # its seeds draw other weights and other windows
    assert "windows_256" not in found


def test_every_row_gets_a_cost(corpus, monkeypatch):
    monkeypatch.setattr(table, "COST_ROUNDS", 1)
    monkeypatch.setattr(table, "ROWS", {"gru plain": table.ROWS["gru plain"]})
    monkeypatch.setattr(table, "RECIPES", {"flash": 1})
    found = table.costs(corpus)
    assert set(found) == {"gru plain", "flash"}
    assert found["flash"] == 1.0
    assert 0.01 < found["gru plain"] < 100.0


def test_settings_are_read_as_their_kinds():
    assert trials.settings_of(["a=1", "b=1.5", "c=none", "d=gru", "e=false"]) == {
        "a": 1,
        "b": 1.5,
        "c": None,
        "d": "gru",
        "e": False,
    }
