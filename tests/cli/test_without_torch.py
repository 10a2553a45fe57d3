"""Without PyTorch, everything works but training residual networks, and the error says so."""

import json
import subprocess
import sys

import pytest

from .conftest import TINY

BLOCKED = (
    "import sys; sys.modules['torch'] = None; from charloom.cli import main; sys.exit(main(sys.argv[1:]))"
)
"""As if torch were not installed: every import of it fails."""


def charloom(*words, code=0):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *map(str, words)], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("recipe", ["default", "shakespeare-scratch"])
def test_train_resume_sample_and_evaluate(recipe, workspace):
    named = [] if recipe == "default" else ["--recipe", recipe]
    size = [*TINY[:2], "--threads", "1"]
    done = charloom("train", "tales.txt", *named, *size, "--steps", 20, "--out", "run", "--json")
    assert json.loads(done.stdout)["steps"] == 20
    assert ("PyTorch is not installed, so the scratch engine trains" in done.stderr) == (recipe == "default")
    again = charloom("train", "--resume", "run", "--steps", "+5", "--json")
    assert json.loads(again.stdout)["steps"] == 25
    assert len(charloom("sample", "run", "--length", 30, "--seed", 1).stdout) >= 30
    first, second = (json.loads(charloom("eval", "run", "--json").stdout) for _ in range(2))
    assert first["loss_nats"] == second["loss_nats"] > 0


def test_a_model_trained_by_torch_samples_and_scores_alike(workspace):
    charloom_with = [sys.executable, "-m", "charloom"]
    words = ["eval", "runs/tales", "--json"]
    with_torch = subprocess.run([*charloom_with, *words], capture_output=True, text=True, check=True)
    without = charloom(*words)
    losses = [json.loads(done)["loss_nats"] for done in (with_torch.stdout, without.stdout)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # float32 sums in another order
    greedy = ["sample", "runs/tales", "--temperature", "0", "--length", "40"]
    with_torch = subprocess.run([*charloom_with, *greedy], capture_output=True, text=True, check=True)
    assert charloom(*greedy).stdout == with_torch.stdout


def test_a_residual_network_cannot_be_trained_without_torch(workspace):
    done = charloom("train", "tales.txt", "--block", "residual", *TINY, "--steps", 2, code=1)
    assert "block is residual and engine is scratch" in done.stderr
    assert "charloom[train]" in done.stderr
    assert {run.name for run in (workspace / "runs").iterdir()} == {"tales", "names"}  # no incomplete run


def test_an_engine_given_by_name_is_not_replaced(workspace):
    done = charloom("train", "tales.txt", "--engine", "torch", *TINY, "--steps", 2, code=1)
    assert "torch is not installed" in done.stderr


def test_score_and_explain_work(workspace):
    scored = json.loads(charloom("score", "runs/tales", "more.txt", "--json").stdout)
    evaluated = json.loads(charloom("eval", "runs/tales", "more.txt", "--json").stdout)
    assert scored["bits_per_char"] == pytest.approx(evaluated["bits_per_char"], rel=1e-5)  # float32
    assert json.loads(charloom("explain", "runs/tales", "--json").stdout)["trained"]
    assert json.loads(charloom("explain", "tales.txt", "--json").stdout)["corpus"]
