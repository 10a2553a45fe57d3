"""``charloom compare``, ``runs``, ``info`` and ``recipes``: what is listed, and in which form."""

import csv
import io
import json
import os

import pytest

import charloom as package
from charloom.cli.rows import run_row
from charloom.cli.tables import csv_table, text_table
from charloom.insight.gradient_flow import farthest
from charloom.runs import Run


def test_compare_json(charloom, room):
    for line in ("compare runs/tales runs/names --json", "compare runs/tales runs/names --format json"):
        rows = charloom(line).json["runs"]
        assert [row["name"] for row in rows] == ["tales", "names"]
        for row in rows:
            assert row["state"] == "finished"
            assert row["steps"] == 24
            assert row["protocol"] == "stream"
            assert row["val_bits_per_char"] > 0
            assert row["num_params"] > 0


def test_compare_text(charloom, room):
    done = charloom("compare runs/tales runs/names")
    head, first, second = done.out.splitlines()
    assert head.split()[-1] == "name"
    assert (first.split()[-1], second.split()[-1]) == ("tales", "names")
    assert "not comparable" in done.err  # their texts differ


def test_compare_markdown(charloom, room):
    lines = charloom("compare runs/tales --format markdown").out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("|---|")
    assert len({line.count("|") for line in lines}) == 1


def test_compare_latex(charloom, room):
    out = charloom("compare runs/tales --format latex").out
    assert out.startswith(r"\begin{tabular}")
    assert r"hidden\_size" in out
    assert out.rstrip().endswith(r"\end{tabular}")


def test_compare_csv(charloom, room):
    rows = list(csv.DictReader(io.StringIO(charloom("compare runs/tales runs/names --format csv").out)))
    assert [row["name"] for row in rows] == ["tales", "names"]
    assert float(rows[0]["val_bits_per_char"]) == run_row(Run(room / "runs/tales"))["val_bits_per_char"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t"])
def test_no_csv_cell_is_a_formula(begin):
    (row,) = csv.DictReader(io.StringIO(csv_table([{"name": f"{begin}1+1"}], ["name"]), newline=""))
    assert row["name"] == f"'{begin}1+1"


def test_control_characters_in_a_csv_cell_are_shown():
    assert csv_table([{"name": "\r=1"}], ["name"]) == "name\n␍=1"


def test_negative_figures_stay_figures():
    assert csv_table([{"gain": -0.5}], ["gain"]) == "gain\n-0.5"


def test_wide_characters_keep_the_columns_straight():
    rows = [{"corpus": "物語", "steps": 1}, {"corpus": "tale", "steps": 2}]
    assert text_table(rows, ["corpus", "steps"]).splitlines() == [
        "corpus  steps",
        "物語        1",
        "tale        2",
    ]


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_compare_draws(charloom, room, tmp_path, ending, begins):
    path = tmp_path / f"curves.{ending}"
    done = charloom(["compare", "runs/tales", "runs/names", "--plot", str(path), "--json"])
    assert done.json["plot"] == str(path)
    assert path.read_bytes().startswith(begins)


def test_compare_puts_gradients_beside_the_losses(charloom, room, tmp_path):
    path = tmp_path / "why.svg"
    done = charloom(
        ["compare", "runs/tales", "runs/names", "--gradients", "--plot", str(path), "--json"]
    ).json
    for row in done["runs"]:
        found = package.gradients(room / "runs" / row["name"]).trained
        assert row["memory_horizon_chars"] == found.memory_horizon_chars
        assert row["half_life_chars"] == farthest(found).half_life_chars
        assert 0 < row["gradient_left_per_char"] < 1
    drawn = path.read_text("utf-8")
    assert drawn.count('<g id="axes_') == 2
    shown = charloom("compare runs/tales --gradients --format markdown").out
    assert "memory_horizon_chars" in shown.splitlines()[0]


def test_compare_refuses_another_kind_of_picture(charloom, room):
    assert charloom("compare runs/tales --plot curves.doc").code == 2


def test_runs(charloom, place):
    (place / "runs/names/events.jsonl").write_text('{"event": "validation", "step": 7}\n', encoding="utf-8")
    (place / "runs/broken").mkdir()
    (place / "runs/broken/config.json").write_text("{}", encoding="utf-8")
    result = charloom("runs --json").json
    states = {row["name"]: (row["state"], row.get("steps")) for row in result["runs"]}
    assert states == {"tales": ("finished", 24), "names": ("unfinished", 7), "broken": ("damaged", None)}
    listed = charloom("runs").out.splitlines()
    assert len(listed) == 4
    assert charloom(f"runs {place / 'runs'}").out.splitlines() == listed


def test_no_runs(charloom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = charloom("runs")
    assert (done.code, done.out) == (0, "")
    assert "no runs in runs" in done.err
    assert charloom("runs --json").json["runs"] == []


def test_info_json(charloom, room):
    result = charloom("info runs/tales --json").json
    assert result["config"]["hidden_size"] == 12
    assert result["num_params"] == charloom("compare runs/tales --json").json["runs"][0]["num_params"]
    assert result["vocab_size"] == len(result["vocab"])
    assert result["parameters"]["out.bias"] == [result["vocab_size"]]
    assert result["card"]["results"]["steps"] == 24
    assert charloom("info runs/names --json").json["specials"] == ["<boundary>"]


def test_info_text(charloom, room):
    out = charloom("info runs/tales").out
    for words in ("hidden_size", "layers.0.cell.w_hh", "vocabulary: ", "normalization", "val_bits_per_char"):
        assert words in out


def test_info_of_bytes(charloom, place):
    assert charloom("train tales.txt --unit byte --steps 2 --hidden-size 4 --out run --quiet").code == 0
    result = charloom("info run --json").json
    assert (result["unit"], result["vocab"], result["vocab_size"]) == ("byte", None, 256)


def test_recipes(charloom, room):
    result = charloom("recipes --json").json
    assert result["defaults"][0]["settings"]
    assert all(
        {"up_to_chars", "device", "settings", "reason", "measured"} <= set(row) for row in result["defaults"]
    )
    out = charloom("recipes").out
    assert "the default recipe" in out
    for row in result["defaults"]:
        assert row["reason"] in out


def test_a_run_shown_as_a_recipe_can_be_read_as_one(charloom, place):
    (place / "again.toml").write_text(charloom("recipes runs/tales").out, encoding="utf-8")
    assert charloom("train tales.txt --recipe again.toml --out run --quiet").code == 0
    models = [(place / run / "config.json").read_text("utf-8") for run in ("run", "runs/tales")]
    first, second = (json.loads(model)["model"] for model in models)
    assert first == second


def test_numbers_and_figures_do_not_depend_on_the_terminals_width(charloom, room, monkeypatch):
    wide = charloom("compare runs/tales").out
    monkeypatch.setitem(os.environ, "COLUMNS", "30")
    assert charloom("compare runs/tales").out == wide
