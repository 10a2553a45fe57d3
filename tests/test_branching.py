"""A branch of a run: its own folder, the parent untouched, what changed recorded."""

import contextlib
import json

import numpy as np
import pytest

import charloom
from charloom import branching, jobs
from charloom.config import ModelConfig, TrainConfig, setting_names
from charloom.errors import ConfigError, RunError
from charloom.modelfile import read_model
from charloom.runs import Run

TEXT = "the cat sat on the mat, a dog ran to the sea.\n" * 120
TINY = {
    "cell": "gru",
    "hidden_size": 8,
    "batch_size": 4,
    "bptt_length": 16,
    "schedule": "constant",
    "warmup": 0,
    "quiet": True,
}


@pytest.fixture
def parent(tmp_path):
    """A finished run of ten steps."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    charloom.train(tmp_path / "text.txt", out=tmp_path / "run", steps=10, learning_rate=0.01, **TINY)
    return Run(tmp_path / "run")


@pytest.fixture
def stopped(parent, tmp_path):
    """A run of ten steps that was stopped at step 6."""
    settings = {name: value for name, value in TINY.items() if name != "quiet"}
    job = jobs.new_job(
        tmp_path / "text.txt",
        out=tmp_path / "stopped",
        steps=10,
        learning_rate=0.01,
        validate_every=3,
        **settings,
    )
    with contextlib.closing(job.events()) as events:
        next(event for event in events if event.step >= 6)
    return job.run


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def weights(run):
    return read_model(run.model_path).parameters


def test_a_branch_goes_on_in_a_folder_of_its_own_and_leaves_the_parent_alone(parent):
    before = content(parent.path)
    model = charloom.resume(parent.path, more_steps=5, learning_rate=0.001, quiet=True)
    assert content(parent.path) == before
    branch = model.run
    assert branch.path == parent.path.with_name("run-step10")
    config = branch.config()
    assert config["train"]["learning_rate"] == 0.001
    assert config["train"]["steps"] == 15
    assert config["branched_from"] == {
        "path": str(parent.path),
        "step": 10,
        "changed": {"learning_rate": {"before": 0.01, "now": 0.001}},
    }
    assert model.card["branched_from"] == config["branched_from"]
    rates = {
        event["step"]: event["learning_rate"] for event in branch.events() if event.get("event") == "progress"
    }
    assert rates[10] == 0.01
    assert rates[15] == 0.001


def test_a_branch_whose_settings_stay_ends_with_the_bytes_of_the_run(stopped, tmp_path):
    branch = branching.branch_job(stopped.path, out=tmp_path / "same", learning_rate=0.01)
    assert branch.run.config()["branched_from"]["changed"] == {}
    undisturbed = charloom.resume(stopped.path, quiet=True)
    list(branch.events())
    ours, theirs = weights(branch.run), weights(undisturbed.run)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_branch_has_the_events_and_the_best_model_of_its_parent_up_to_its_step(stopped):
    job = branching.branch_job(stopped.path, weight_decay=0.2)
    step = Run(stopped.path).newest_checkpoint()[0].step
    assert [event for event in job.run.events() if event.get("event") == "validation"]
    assert all(event.get("step", 0) <= step for event in job.run.events())
    assert job.run.model_path.read_bytes() == stopped.model_path.read_bytes()
    assert job.resolved.reason == f"branched from {stopped.path} at step {step}: weight_decay 0.05 → 0.2"


def test_dropout_can_change_in_a_branch(parent):
    model = charloom.resume(parent.path, more_steps=2, dropout_output=0.5, quiet=True)
    assert model.file.model_config.dropout_output == 0.5


def test_a_branch_has_no_results_before_it_has_trained(parent):
    assert "results" in parent.config()
    assert "results" not in branching.branch_job(parent.path, more_steps=1, learning_rate=0.1).run.config()


def test_the_second_branch_at_a_step_has_a_name_of_its_own(parent):
    names = [
        branching.branch_job(parent.path, more_steps=1, learning_rate=0.1).run.path.name for _ in range(2)
    ]
    assert names == ["run-step10", "run-step10-2"]


@pytest.mark.parametrize("name", sorted({*setting_names()} - branching.CHANGEABLE))
def test_what_a_checkpoint_depends_on_cannot_change(name, tmp_path):
    with pytest.raises(ConfigError, match=f"^{name} cannot change when a run is continued"):
        branching.check_changeable(tmp_path, {name: 1})


def test_everything_changeable_is_a_setting_of_the_network_or_the_training():
    assert {setting_names()[name] for name in branching.CHANGEABLE} == {ModelConfig, TrainConfig}


def test_a_setting_that_does_not_exist_is_refused_with_the_nearest(parent):
    with pytest.raises(ConfigError, match="learning_rate"):
        branching.branch_job(parent.path, more_steps=1, learning_rat=0.1)


def test_a_value_out_of_bounds_leaves_no_folder(parent):
    with pytest.raises(ConfigError, match="learning_rate"):
        branching.branch_job(parent.path, more_steps=1, learning_rate=-1.0)
    assert not parent.path.with_name("run-step10").exists()


def test_a_finished_run_needs_more_steps(parent):
    with pytest.raises(RunError, match="is finished") as caught:
        branching.branch_job(parent.path, learning_rate=0.1)
    assert "--steps +500" in caught.value.fix


def test_a_run_without_a_checkpoint_cannot_branch(parent):
    for path in parent.checkpoint_paths():
        path.unlink()
    with pytest.raises(RunError, match="no checkpoint"):
        branching.branch_job(parent.path, more_steps=1, learning_rate=0.1)


def test_a_folder_with_a_run_is_refused(parent):
    with pytest.raises(RunError, match="already contains a run"):
        branching.branch_job(parent.path, out=parent.path, more_steps=1, learning_rate=0.1)


def test_a_shared_model_names_no_folder_of_the_parent(parent, tmp_path):
    model = charloom.resume(parent.path, more_steps=1, learning_rate=0.1, quiet=True)
    model.export_hub(tmp_path / "hub")
    assert str(tmp_path) not in "".join(
        path.read_text("utf-8", errors="replace") for path in (tmp_path / "hub").iterdir()
    )
    model.export_card(tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text("utf-8")
    assert "Went on, with other settings, from: run at step 10" in card


def test_the_command_branches_and_says_so(parent, tmp_path, capsys):
    from charloom.cli import main

    words = [
        "train",
        "--resume",
        str(parent.path),
        "--steps",
        "+3",
        "--clip-norm",
        "0.5",
        "--out",
        str(tmp_path / "b"),
    ]
    assert main(words) == 0
    assert f"branched from {parent.path} at step 10: clip_norm 1.0 → 0.5" in capsys.readouterr().err
    config = json.loads((tmp_path / "b" / "config.json").read_text("utf-8"))
    assert config["branched_from"]["changed"] == {"clip_norm": {"before": 1.0, "now": 0.5}}
