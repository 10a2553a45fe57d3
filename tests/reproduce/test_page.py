"""The page is self-contained and never treats a model's text as markup."""

import json

from charloom.reproduce import repetition_json, systems, write_json, write_page
from charloom.reproduce.measure import Figure, Repetition
from charloom.reproduce.page import page
from charloom.reproduce.systems import Target

ONE = Repetition(
    systems()["anna-lstm"],
    figures=(
        Figure(Target("loss <&>", 1.0, 0.1), 1.05, (1.05, 1.2), (1.31,)),
        Figure(Target("shown", 2.0), 9.0),
    ),
    honest={"honest <b>": 1.5},
    curve=((10.0, 3.0), (20.0, 2.5)),
    samples={"mended": "<script>alert(1)</script>\x1b"},
    mistakes={"wrap_targets": "a & b"},
)


def test_the_page_contains_both_curves_the_figures_and_the_mistakes():
    drawn = page([ONE, ONE])
    assert drawn.count("<svg") == 2
    for words in (
        "1.0500",
        "0.1 ",
        "within",
        "1.200; measured earlier: 1.310<",
        "loss &lt;&amp;&gt;",
        "honest &lt;b&gt;",
        "wrap_targets",
        "a &amp; b",
    ):
        assert words in drawn


def test_the_page_loads_and_runs_nothing():
    drawn = page([ONE])
    assert "<script" not in drawn
    assert "default-src 'none'" in drawn
    assert "\x1b" not in drawn
    assert 'href="http' not in drawn.replace('href="http://www.w3.org', "")


def test_the_files_that_are_written(tmp_path):
    written = write_page(tmp_path / "out", [ONE], {"systems": [repetition_json(ONE)]})
    assert [path.name for path in written] == ["reproduce.json", "reproduce.html"]
    document = json.loads(written[0].read_text("utf-8"))
    assert document["schema"] == 1
    assert document["systems"][0]["within_tolerance"] is True
    assert document["versions"]["charloom"]


def test_without_matplotlib_the_figures_are_still_written(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert [path.name for path in write_page(tmp_path, [ONE], {})] == ["reproduce.json"]


def test_a_second_result_replaces_the_first(tmp_path):
    for value in (1, 2):
        write_json(tmp_path / "a.json", {"value": value})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["value"] == 2
