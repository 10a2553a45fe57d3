"""``charloom train``: what it says, records and continues."""

import json

import pytest

from charloom.runs import Run

from .conftest import TINY

KEYS = {
    "run", "model", "steps", "chars_seen", "train_time_s", "chars_per_s", "num_params", "vocab_size", "protocol",
    "val_loss_nats", "val_bits_per_char",
}  # fmt: skip


def test_json(charloom, place):
    done = charloom(["train", "tales.txt", "--steps", "6", "--out", "run", "--json", *TINY])
    result = done.json
    assert done.code == 0
    assert result["schema"] == 1
    assert set(result) >= KEYS
    assert result["steps"] == 6
    assert result["protocol"] == "stream"
    assert result["val_bits_per_char"] == pytest.approx(result["val_loss_nats"] / 0.6931471805599453)
    assert "step 6" in done.err


def test_report(charloom, place):
    done = charloom(["train", "tales.txt", "--steps", "6", "--out", "run", *TINY])
    for words in (
        "bits/char",
        "n-gram, order",
        "xz",
        "advice:",
        "run: run",
        "charloom sample run",
        "--resume run",
    ):
        assert words in done.out
    for words in (
        "device: cpu, 1 thread\n",
        "recipe: default: ",
        "text: tales, 12,000 characters",
        "parameters",
    ):
        assert words in done.err


def test_quiet_is_silent_but_for_the_result(charloom, place):
    done = charloom(["train", "tales.txt", "--steps", "2", "--out", "run", "--quiet", *TINY])
    assert done.err == ""
    assert "run: run" in done.out


def test_a_flag_beats_the_recipe_and_the_recipe_beats_the_default(charloom, place):
    (place / "mine.toml").write_text(
        "[model]\ncell = 'elman'\nnum_layers = 2\nhidden_size = 5\n[train]\nsteps = 2"
    )
    assert charloom("train tales.txt --recipe mine.toml --hidden-size 6 --out run --quiet").code == 0
    config = json.loads((place / "run" / "config.json").read_text("utf-8"))
    model, steps = config["model"], config["train"]["steps"]
    assert (model["cell"], model["num_layers"], model["hidden_size"], steps) == ("elman", 2, 6, 2)


def test_standard_input(charloom, place):
    done = charloom(
        ["train", "-", "--steps", "2", "--out", "run", "--json", *TINY], (place / "tales.txt").read_bytes()
    )
    assert done.code == 0
    assert Run(place / "run").config()["corpus"]["name"] == "stdin"


def test_several_texts_and_globs(charloom, place):
    done = charloom(["train", "tal*.txt", "more.txt", "--steps", "2", "--out", "run", "--json", *TINY])
    assert done.code == 0
    assert Run(place / "run").config()["corpus"]["num_chars"] >= 14_000


def test_validation_and_test_files(charloom, place):
    words = [
        "train",
        "tales.txt",
        "--val",
        "more.txt",
        "--test",
        "more.txt",
        "--steps",
        "2",
        "--out",
        "run",
        "--json",
    ]
    assert charloom([*words, *TINY]).code == 0
    assert charloom("eval run --split test --json").json["chars"] == 1999


def test_resume_extends_a_run_by_steps(charloom, place):
    done = charloom("train --resume runs/tales --steps +6 --json")
    assert done.code == 0
    assert done.json["steps"] == 30
    assert "going on from step 24" in done.err


def test_resume_finds_a_moved_text(charloom, place):
    config = json.loads((place / "runs/tales/config.json").read_text("utf-8"))
    config["corpus"]["sources"] = ["/nowhere/tales.txt"]
    (place / "runs/tales/config.json").write_text(json.dumps(config), encoding="utf-8")
    refused = charloom("train --resume runs/tales --steps +2 --json")
    assert refused.code == 1
    assert "--text PATH" in refused.json["error"]["fix"]
    for moved in (["tales.txt"], ["--text", "tales.txt"]):
        assert charloom(["train", "--resume", "runs/tales", "--steps", "+2", "--quiet", *moved]).code == 0


def test_resume_refuses_another_text(charloom, place):
    refused = charloom("train --resume runs/tales more.txt --steps +2 --json")
    assert refused.code == 1
    assert "SHA-256" in refused.json["error"]["why"]


def test_without_validation_there_is_no_figure(charloom, place):
    done = charloom(["train", "tales.txt", "--steps", "2", "--out", "run", "--val-fraction", "0", *TINY])
    assert done.code == 0
    assert "nothing was held out" in done.out


def test_bytes_are_named_as_the_unit(charloom, place):
    done = charloom(["train", "tales.txt", "--steps", "2", "--out", "run", "--unit", "byte", *TINY])
    assert [line.split()[3] for line in done.out.splitlines() if "this model" in line] == ["bits/byte"]
