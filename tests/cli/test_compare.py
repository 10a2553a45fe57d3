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


def test_compare_refuses_other_image_formats(charloom, shared_folder):
    assert charloom("compare runs/tales --plot curves.doc").code == 2


def test_tables_do_not_depend_on_the_terminals_width(charloom, shared_folder, monkeypatch):
    wide = charloom("compare runs/tales").out
    monkeypatch.setitem(os.environ, "COLUMNS", "30")
    assert charloom("compare runs/tales").out == wide
