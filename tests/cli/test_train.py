"""``charloom train``: output, records and resuming."""

import json

import pytest

from charloom.runs import Run

from .conftest import TINY

KEYS = {
    "run", "model", "steps", "chars_seen", "train_time_s", "chars_per_s", "num_params", "vocab_size", "protocol",
    "val_loss_nats", "val_bits_per_char", "val_bits_per_byte",
}  # fmt: skip


def test_json(charloom, workspace):
    done = charloom(["train", "tales.txt", "--steps", "6", "--out", "run", "--json", *TINY])
    result = done.json
    assert done.code == 0
    assert result["schema"] == 1
    assert set(result) >= KEYS
    assert result["steps"] == 6
    assert result["protocol"] == "stream"
    assert result["val_bits_per_char"] == pytest.approx(result["val_loss_nats"] / 0.6931471805599453)
    assert "step 6" in done.err


def test_report(charloom, workspace):
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


def test_quiet_prints_only_the_result(charloom, workspace):
    done = charloom(["train", "tales.txt", "--steps", "2", "--out", "run", "--quiet", *TINY])
    assert done.err == ""
    assert "run: run" in done.out


def test_a_flag_beats_the_recipe_and_the_recipe_beats_the_default(charloom, workspace):
    (workspace / "mine.toml").write_text(
        "[model]\ncell = 'elman'\nnum_layers = 2\nhidden_size = 5\n[train]\nsteps = 2"
    )
    assert charloom("train tales.txt --recipe mine.toml --hidden-size 6 --out run --quiet").code == 0
    config = json.loads((workspace / "run" / "config.json").read_text("utf-8"))
    model, steps = config["model"], config["train"]["steps"]
    assert (model["cell"], model["num_layers"], model["hidden_size"], steps) == ("elman", 2, 6, 2)


def test_standard_input(charloom, workspace):
    done = charloom(
        ["train", "-", "--steps", "2", "--out", "run", "--json", *TINY],
        (workspace / "tales.txt").read_bytes(),
    )
    assert done.code == 0
    assert Run(workspace / "run").config()["corpus"]["name"] == "stdin"


def test_several_texts_and_globs(charloom, workspace):
    done = charloom(["train", "tal*.txt", "more.txt", "--steps", "2", "--out", "run", "--json", *TINY])
    assert done.code == 0
    assert Run(workspace / "run").config()["corpus"]["num_chars"] >= 14_000


def test_validation_and_test_files(charloom, workspace):
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


def test_a_random_split_is_recorded_and_resumed(charloom, workspace):
    words = ["train", "names.txt", "--documents", "line", "--split", "random", "--val-count", "7"]
    first = charloom([*words, "--steps", "4", "--out", "run", "--json", *TINY]).json
    text = Run(workspace / "run").config()["text"]
    assert (text["split"], text["split_seed"], text["val_count"]) == ("random", 0, 7)
    assert charloom("eval run --json").json["loss_nats"] == pytest.approx(first["val_loss_nats"])
    assert charloom("train --resume run --steps +2 --quiet").code == 0
    refused = charloom("train tales.txt --split random --json").json["error"]
    assert refused["kind"] == "ConfigError"
    assert "one stream" in refused["why"]


def test_seeds(charloom, workspace):
    words = ["train", "tales.txt", "--steps", "3", "--seed", "4", "--seeds", "2", *TINY]
    found = charloom([*words, "--out", "x", "--json"]).json
    assert [(run["seed"], run["run"]) for run in found["runs"]] == [(4, "x-seed4"), (5, "x-seed5")]
    assert all(set(run) >= KEYS for run in found["runs"])
    bits = [run["val_bits_per_char"] for run in found["runs"]]
    assert found["val_bits_per_char_mean"] == pytest.approx(sum(bits) / 2)
    assert found["val_bits_per_char_sd"] == pytest.approx(abs(bits[0] - bits[1]) / 2**0.5)
    done = charloom([*words, "--out", "y"])
    assert f"mean ± sd: {sum(bits) / 2:.4f} ± " in done.out
    assert "charloom compare y-seed4 y-seed5" in done.out
    assert "run 2 of 2, seed 5" in done.err
    assert charloom("train --resume x-seed4 --seeds 2").code == 2


def test_seeds_without_validation(charloom, workspace):
    words = ["train", "tales.txt", "--steps", "2", "--seeds", "2", "--val-fraction", "0", "--out", "x", *TINY]
    done = charloom([*words, "--json"])
    assert done.json["val_loss_nats_sd"] is None


def test_resuming_a_finished_run_says_so_and_changes_nothing(charloom, workspace, monkeypatch):
    def no_training(*args, **settings):
        raise AssertionError("the run is finished")

    monkeypatch.setattr("charloom.jobs.resume_job", no_training)
    events = (workspace / "runs/tales/events.jsonl").read_bytes()
    done = charloom("train --resume runs/tales")
    assert done.code == 0
    assert "runs/tales is finished, after 24 steps; --steps +N" in done.err
    assert "charloom train --resume runs/tales --steps +" in done.out
    assert charloom("train --resume runs/tales --json").json["steps"] == 24
    assert (workspace / "runs/tales/events.jsonl").read_bytes() == events


def test_resume_extends_a_run_by_steps(charloom, workspace):
    done = charloom("train --resume runs/tales --steps +6 --json")
    assert done.code == 0
    assert done.json["steps"] == 30
    assert "resuming from step 24" in done.err


def test_resume_finds_a_moved_text(charloom, workspace):
    config = json.loads((workspace / "runs/tales/config.json").read_text("utf-8"))
    config["corpus"]["sources"] = ["/nowhere/tales.txt"]
    (workspace / "runs/tales/config.json").write_text(json.dumps(config), encoding="utf-8")
    refused = charloom("train --resume runs/tales --steps +2 --json")
    assert refused.code == 1
    assert "--text PATH" in refused.json["error"]["fix"]
    for moved in (["tales.txt"], ["--text", "tales.txt"]):
        assert charloom(["train", "--resume", "runs/tales", "--steps", "+2", "--quiet", *moved]).code == 0


def test_resume_refuses_another_text(charloom, workspace):
    refused = charloom("train --resume runs/tales more.txt --steps +2 --json")
    assert refused.code == 1
    assert "SHA-256" in refused.json["error"]["why"]


def test_without_validation_there_is_no_loss(charloom, workspace):
    done = charloom(["train", "tales.txt", "--steps", "2", "--out", "run", "--val-fraction", "0", *TINY])
    assert done.code == 0
    assert "nothing was held out" in done.out


def test_the_unit_of_a_byte_model_is_the_byte(charloom, workspace):
    done = charloom(["train", "tales.txt", "--steps", "2", "--out", "run", "--unit", "byte", *TINY])
    assert [line.split()[3] for line in done.out.splitlines() if "this model" in line] == ["bits/byte"]
