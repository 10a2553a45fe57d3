"""The members of an ensemble train in processes of their own, as single runs would; none is left behind."""

import dataclasses
import multiprocessing
import os
import signal
import time

import pytest

from charloom import threads
from charloom.errors import ConfigError, RunError
from charloom.jobs import new_job
from charloom.members import plan_members, train_members
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.text.inputs import builtin_text
from charloom.training.stop_signals import TrainingStopped

SMALL = {
    "hidden_size": 8,
    "batch_size": 4,
    "bptt_length": 16,
    "num_layers": 1,
    "threads": 1,
    "engine": "scratch",
}
ENDLESS = {**SMALL, "steps": 10**7, "val_fraction": 0.0, "validate_every": 10**6, "sample_every": 10**6}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "tales.txt"
    path.write_text(builtin_text()[:6000], encoding="utf-8")
    return path


def test_members_are_the_runs_that_their_seeds_give(text, tmp_path):
    plan = plan_members([text], 2, tmp_path / "duo", seed=5, cell="lstm", block="plain", **SMALL, steps=12)
    assert list(plan.paths) == [5, 6]
    shares = []
    runs = train_members(plan, on_share=shares.append)
    assert [run.path.name for run in runs] == ["duo-seed5", "duo-seed6"]
    assert shares[-1] == 1.0
    job = new_job(text, out=tmp_path / "alone", seed=6, cell="lstm", block="plain", **SMALL, steps=12)
    list(job.events())
    alone, member = (read_model(run.model_path).parameters for run in (job.run, runs[1]))
    assert all((member[name] == array).all() for name, array in alone.items())
    assert multiprocessing.active_children() == []


def test_a_killed_member_is_named_and_the_others_are_stopped_with_a_checkpoint(text, tmp_path):
    plan = dataclasses.replace(plan_members([text], 2, tmp_path / "duo", **ENDLESS), workers=2)
    began = time.monotonic()

    def kill_the_first(share):
        assert time.monotonic() - began < 120
        if share > 0 and all((path / "events.jsonl").exists() for path in plan.paths.values()):
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    with pytest.raises(RunError, match=r"seed [01] ended with signal SIGKILL.*train --resume"):
        train_members(plan, on_share=kill_the_first)
    assert multiprocessing.active_children() == []
    assert all(list((path / "checkpoints").iterdir()) for path in plan.paths.values())


def test_an_interruption_stops_every_member_with_a_checkpoint(text, tmp_path):
    plan = dataclasses.replace(plan_members([text], 2, tmp_path / "duo", **ENDLESS), workers=2)
    began = time.monotonic()

    def interrupt(share):
        if share > 0 and all((path / "events.jsonl").exists() for path in plan.paths.values()):
            signal.raise_signal(signal.SIGINT)
        assert time.monotonic() - began < 120

    with pytest.raises(TrainingStopped):
        train_members(plan, on_share=interrupt)
    assert multiprocessing.active_children() == []
    for path in plan.paths.values():
        checkpoint, _ = Run(path).newest_checkpoint()
        assert checkpoint.step > 0  # the first one is written before the first step


def test_the_error_of_a_member_is_its_own(text, tmp_path):
    plan = plan_members([text], 2, tmp_path / "duo", **SMALL, steps=5)
    text.unlink()
    with pytest.raises(Exception, match=r"tales\.txt") as caught:
        train_members(plan)
    assert type(caught.value).__name__ == "DataError"


def test_the_cores_are_shared(text, tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 12)
    free = {name: value for name, value in SMALL.items() if name != "threads"}

    def shared(members, **more):
        plan = plan_members([text], members, tmp_path / "x", **free, **more, steps=3)
        return plan.workers, plan.threads_each

    assert shared(3) == (3, 4)
    assert shared(16) == (12, 1)
    assert shared(8, threads=4) == (3, 4)
    assert shared(8, threads=64) == (1, 64)


def recipe_file(folder, name, text):
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_several_recipes_take_turns(text, tmp_path):
    lstm = recipe_file(tmp_path, "lstm", 'cell = "lstm"\nblock = "plain"')
    gru = recipe_file(tmp_path, "gru", 'cell = "gru"\nblock = "plain"')
    settings = {**SMALL, "steps": 2, "recipe": f"{lstm}, {gru}"}
    runs = train_members(plan_members([text], 3, tmp_path / "mixed", **settings))
    assert [read_model(run.model_path).model_config.cell for run in runs] == ["lstm", "gru", "lstm"]
    assert [read_model(run.model_path).card["train"]["seed"] for run in runs] == [0, 1, 2]


def test_recipes_that_read_the_text_in_different_ways_are_refused_before_training(text, tmp_path):
    lines = recipe_file(tmp_path, "lines", 'documents = "line"')
    pair = {**SMALL, "steps": 2, "cell": "gru", "block": "plain"}
    with pytest.raises(ConfigError, match=r"documents is .* in recipe 1 and 'line' in recipe 2"):
        plan_members(
            [text], 2, tmp_path / "x", **pair, recipe=f"{recipe_file(tmp_path, 'plain', '')},{lines}"
        )
    assert not list(tmp_path.glob("x*"))


def test_more_recipes_than_members_are_refused(text, tmp_path):
    with pytest.raises(ConfigError, match="3 recipes for 2 members"):
        plan_members([text], 2, tmp_path / "x", recipe="flash,best,record", steps=3)


@pytest.mark.parametrize("members", [1, 0, 65])
def test_a_number_that_makes_no_ensemble_is_refused(text, tmp_path, members):
    with pytest.raises(ConfigError, match=f"members is {members}"):
        plan_members([text], members, tmp_path / "x", steps=3)


def test_standard_input_and_existing_runs_are_refused(text, tmp_path):
    with pytest.raises(ConfigError, match="cannot read standard input"):
        plan_members(["-"], 2, tmp_path / "x", steps=3)
    list(new_job(text, out=tmp_path / "x-seed1", **SMALL, steps=2).events())
    with pytest.raises(RunError, match="already contains a run"):
        plan_members([text], 2, tmp_path / "x", **SMALL, steps=3)
