"""``charloom ensemble``: the file samples, scores and is evaluated like a model; the rest says that it is none."""

import shutil

import pytest

import charloom as package
from charloom.cli.ensemble import ensemble_path


@pytest.fixture
def both(charloom, workspace):
    """An ensemble of two runs on one text."""
    shutil.copytree("runs/tales", "runs/again")
    trained = charloom("train tales.txt --recipe runs/tales --seed 5 --out runs/other --quiet")
    assert trained.code == 0, trained.err
    made = charloom("ensemble runs/tales runs/other --out runs/both.safetensors --json")
    assert made.code == 0, made.err
    assert len(made.json["members"]) == 2
    return "runs/both.safetensors"


def test_it_is_used_like_a_model(charloom, both):
    first = charloom(f"sample {both} --length 40 --seed 3").out
    assert first == charloom(f"sample {both} --length 40 --seed 3").out
    assert first != charloom("sample runs/tales --length 40 --seed 3").out
    bits = [
        charloom(f"eval {name} --json").json["bits_per_char"] for name in ("runs/tales", "runs/other", both)
    ]
    assert bits[2] < sum(bits[:2]) / 2  # the logarithm is concave
    scored = charloom(f"score {both} more.txt --json")
    assert scored.code == 0, scored.err
    shown = charloom(f"info {both}")
    assert "an ensemble of 2" in shown.out
    assert shown.out.count("held out:") == 2
    assert len(charloom(f"info {both} --json").json["members"]) == 2


@pytest.mark.parametrize("protocol", ["stream", "windows", "dynamic"])
def test_two_copies_of_a_model_are_that_model(charloom, workspace, protocol):
    assert charloom("ensemble runs/tales runs/tales --out two.safetensors").code == 0
    one, two = (
        charloom(f"eval {name} tales.txt --protocol {protocol} --json").json
        for name in ("runs/tales", "two.safetensors")
    )
    assert two["chars"] == one["chars"]
    assert two["loss_nats"] == pytest.approx(one["loss_nats"], rel=1e-6)


@pytest.mark.parametrize(
    "command",
    [
        "serve BOTH",
        "export BOTH --html page.html",
        "export BOTH --onnx net.onnx",
        "inspect BOTH more.txt",
        "train more.txt --init-from BOTH --steps 2",
    ],
)
def test_what_needs_one_network_is_refused_clearly(charloom, both, command):
    failed = charloom(command.replace("BOTH", both))
    assert failed.code == 1, failed.err
    assert "is an ensemble" in failed.err
    assert "name one of its members" in failed.err


def test_models_that_read_text_in_other_ways_are_refused(charloom, workspace):
    failed = charloom("ensemble runs/tales runs/names")
    assert failed.code == 1
    assert "documents is 'none' in model 1 and 'line' in model 2" in failed.err


def test_ensembles_can_be_joined_and_saved_in_python(both, tmp_path):
    three = package.ensemble(both, "runs/tales")
    assert len(three.file.members) == 3
    assert "Ensemble of 3 models" in repr(three)
    three.save(tmp_path / "three.safetensors")
    again = package.load(tmp_path / "three.safetensors")
    assert again.evaluate("more.txt").loss_nats == three.evaluate("more.txt").loss_nats
    assert again.corpus().sha256 == package.load("runs/tales").corpus().sha256


def test_the_default_name_drops_the_seed():
    assert ensemble_path(["runs/x-seed3", "runs/x-seed4"]).as_posix() == "runs/x-ensemble.safetensors"
    assert ensemble_path(["runs/x/model.safetensors"]).name == "x-ensemble.safetensors"


def test_train_members_writes_the_ensemble_and_measures_it(charloom, workspace):
    small = "--hidden-size 8 --batch-size 4 --bptt-length 16 --engine scratch --cell gru --block plain"
    done = charloom(f"train tales.txt --steps 12 --members 2 {small} --out runs/duo --json")
    assert done.code == 0, done.err
    bits = [run["val_bits_per_char"] for run in done.json["runs"]]
    assert done.json["val_bits_per_char"] < sum(bits) / 2
    name = done.json["ensemble"]["model"]
    assert name == "runs/duo-ensemble.safetensors"
    assert charloom(f"eval {name} --json").json["bits_per_char"] == done.json["val_bits_per_char"]
    assert "both say how many runs" in charloom("train tales.txt --members 2 --seeds 2").err
    assert "a resumed run keeps" in charloom("train --resume runs/tales --members 2").err
