"""``charloom compare``: the formats of the table, the plot and the gradients."""

import csv
import io
import os

import pytest

import charloom as package
from charloom.cli.run_table import run_row
from charloom.insight.gradient_flow import farthest
from charloom.runs import Run


def test_compare_json(charloom, shared_folder):
    for line in ("compare runs/tales runs/names --json", "compare runs/tales runs/names --format json"):
        rows = charloom(line).json["runs"]
        assert [row["name"] for row in rows] == ["tales", "names"]
        for row in rows:
            assert row["state"] == "finished"
            assert row["steps"] == 24
            assert row["protocol"] == "stream"
            assert row["val_bits_per_char"] > 0
            assert row["num_params"] > 0


def test_compare_text(charloom, shared_folder):
    done = charloom("compare runs/tales runs/names")
    head, first, second = done.out.splitlines()
    assert head.split()[-1] == "name"
    assert (first.split()[-1], second.split()[-1]) == ("tales", "names")
    assert "not comparable" in done.err  # their texts differ


def test_compare_markdown(charloom, shared_folder):
    lines = charloom("compare runs/tales --format markdown").out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("|---|")
    assert len({line.count("|") for line in lines}) == 1


def test_compare_latex(charloom, shared_folder):
    out = charloom("compare runs/tales --format latex").out
    assert out.startswith(r"\begin{tabular}")
    assert r"hidden\_size" in out
    assert out.rstrip().endswith(r"\end{tabular}")


def test_compare_csv(charloom, shared_folder):
    rows = list(csv.DictReader(io.StringIO(charloom("compare runs/tales runs/names --format csv").out)))
    assert [row["name"] for row in rows] == ["tales", "names"]
    assert (
        float(rows[0]["val_bits_per_char"]) == run_row(Run(shared_folder / "runs/tales"))["val_bits_per_char"]
    )


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_compare_draws(charloom, shared_folder, tmp_path, ending, begins):
    path = tmp_path / f"curves.{ending}"
    done = charloom(["compare", "runs/tales", "runs/names", "--plot", str(path), "--json"])
    assert done.json["plot"] == str(path)
    assert path.read_bytes().startswith(begins)


def test_compare_adds_gradients_to_the_losses(charloom, shared_folder, tmp_path):
    path = tmp_path / "why.svg"
    done = charloom(
        ["compare", "runs/tales", "runs/names", "--gradients", "--plot", str(path), "--json"]
    ).json
    for row in done["runs"]:
        found = package.gradients(shared_folder / "runs" / row["name"]).trained
        assert row["memory_horizon_chars"] == found.memory_horizon_chars
        assert row["half_life_chars"] == farthest(found).half_life_chars
        assert 0 < row["gradient_left_per_char"] < 1
    drawn = path.read_text("utf-8")
    assert drawn.count('<g id="axes_') == 2
    shown = charloom("compare runs/tales --gradients --format markdown").out
    assert "memory_horizon_chars" in shown.splitlines()[0]


@pytest.fixture
def seeds(charloom, workspace):
    """Two runs that differ in the seed, a better one, and one that holds out another part."""
    small = ["train", "tales.txt", "--threads", "1", "--quiet", "--batch-size", "4", "--bptt-length", "16"]
    for words in (
        ["--hidden-size", "4", "--steps", "2", "--seeds", "2", "--out", "small"],
        ["--hidden-size", "24", "--steps", "60", "--out", "large"],
        ["--hidden-size", "4", "--steps", "2", "--val-fraction", "0.2", "--out", "other"],
    ):
        assert charloom([*small, *words]).code == 0


@pytest.mark.usefixtures("seeds")
def test_compare_groups_seeds_and_tells_groups_apart(charloom):
    done = charloom("compare small-seed0 large small-seed1 other --json").json
    small, large, other = done["groups"]
    assert (small["name"], small["seeds"], large["seeds"]) == ("small", [0, 1], [0])
    bits = [run["val_bits_per_char"] for run in done["runs"] if run["name"].startswith("small")]
    assert small["val_bits_per_char_mean"] == pytest.approx(sum(bits) / 2)
    assert small["val_bits_per_char_sd"] == pytest.approx(abs(bits[0] - bits[1]) / 2**0.5)
    assert (large["val_bits_per_char_sd"], other["name"]) == (None, "other")
    first, second = done["comparisons"]
    assert (first["best"], first["other"], first["differ"]) == ("large", "small", True)
    assert 0 < first["low_bits_per_char"] < first["difference_bits_per_char"] < first["high_bits_per_char"]
    expected = small["val_bits_per_char_mean"] - large["val_bits_per_char_mean"]
    assert first["difference_bits_per_char"] == pytest.approx(expected, abs=1e-3)
    assert second["differ"] is None
    assert second["why_not"] == "they hold out different parts of the text"


@pytest.mark.usefixtures("seeds")
def test_compare_says_how_certain_a_difference_is(charloom):
    done = charloom("compare small-seed0 small-seed1 large")
    assert "small is worse than large by " in done.out
    assert "small, seeds 0, 1: " in done.out
    assert done.out.count(" bits/char (") == 2
    assert "another seed may change more" in done.err
    table = charloom("compare small-seed0 small-seed1 large --format markdown")
    assert all(line.startswith("|") for line in table.out.splitlines())
    twice = charloom("compare large large --json").json  # named twice, it is still one run
    assert (twice["groups"][0]["seeds"], twice["comparisons"]) == ([0], [])


def test_compare_says_why_runs_are_not_compared(charloom, shared_folder):
    done = charloom("compare runs/tales runs/names")
    assert "they were trained on different texts" in done.err


def test_compare_refuses_other_image_formats(charloom, shared_folder):
    assert charloom("compare runs/tales --plot curves.doc").code == 2


def test_tables_do_not_depend_on_the_terminals_width(charloom, shared_folder, monkeypatch):
    wide = charloom("compare runs/tales").out
    monkeypatch.setitem(os.environ, "COLUMNS", "30")
    assert charloom("compare runs/tales").out == wide
