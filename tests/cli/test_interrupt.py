"""Ctrl-C: exit code 130 and a checkpoint; a run resumed from it equals an uninterrupted one."""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from charloom.cli import train as train_module
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.training import Finished, Preparing, Progress
from charloom.training.stop_signals import SIGNALS

from .conftest import TINY

TRAIN = ["train", "tales.txt", "--steps", "60", "--validate-every", "20", "--dropout-output", "0.2", *TINY]


@pytest.fixture
def stop_after(monkeypatch):
    """Send this process a signal after a number of reported events."""

    def arrange(num_events, number=signal.SIGINT, kind=Progress, again=None, what=""):
        reporter, left = train_module.reporter, iter(range(num_events))

        @contextlib.contextmanager
        def stopping(job, **how):
            with reporter(job, **how) as report:

                def report_and_stop(event):
                    report(event)
                    counts = isinstance(event, kind) and what in getattr(event, "what", "")
                    if counts and next(left, None) is None:
                        os.kill(os.getpid(), number)
                        if again is not None:
                            os.kill(os.getpid(), again)

                yield report_and_stop

        monkeypatch.setattr(train_module, "reporter", stopping)

    return arrange


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_a_checkpoint(charloom, workspace, stop_after, number):
    stop_after(2, number)
    before = signal.getsignal(signal.SIGINT)
    done = charloom([*TRAIN, "--out", "run"])
    assert done.code == 130
    assert "Traceback" not in done.err
    checkpoint, _ = Run(workspace / "run").newest_checkpoint()
    assert f"a checkpoint of step {checkpoint.step:,} was saved" in done.err
    assert "charloom train --resume run" in done.err
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_of_a_closing_terminal_changes_nothing(charloom, workspace, stop_after):
    """The kernel sends SIGHUP to the foreground job, and a shell sends it again."""
    stop_after(2, signal.SIGTERM, again=signal.SIGTERM)
    assert charloom([*TRAIN, "--out", "run"]).code == 130
    assert Run(workspace / "run").newest_checkpoint()[0].step > 0


def test_a_second_ctrl_c_stops_at_once(charloom, workspace, stop_after):
    stop_after(2, again=signal.SIGINT)
    assert charloom([*TRAIN, "--out", "run"]).code == 130
    assert not (workspace / "run" / "lock").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_an_ignored_signal_remains_ignored(charloom, workspace, stop_after):
    """`nohup` ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_after(2, signal.SIGHUP)
        assert charloom([*TRAIN, "--out", "run"]).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_before_the_first_steps_leaves_a_checkpoint_too(charloom, workspace, stop_after):
    stop_after(0)
    done = charloom([*TRAIN, "--out", "run", "--json"])
    assert done.code == 130
    assert done.json["error"]["kind"] == "StoppedError"
    assert Run(workspace / "run").checkpoint_paths()


@pytest.mark.parametrize("what", ["the teacher writes", "the teacher reads"])
def test_a_signal_while_the_teacher_prepares_says_what_is_kept(charloom, workspace, stop_after, what):
    charloom([*TRAIN, "--out", "teacher"])
    stop_after(0, kind=Preparing, what=what)
    done = charloom([*TRAIN, "--out", "run", "--teacher", "teacher", "--written-chars", "3000"])
    assert done.code == 130
    is_kept = what == "the teacher reads"
    assert (workspace / "run").exists() == is_kept
    assert ("charloom train --resume run" in done.err) == is_kept
    expected = "but what the teacher wrote" if is_kept else "nothing had been trained"
    assert expected in done.err


def test_a_signal_during_the_final_report_does_not_undo_the_run(charloom, workspace, stop_after):
    stop_after(0, kind=Finished)
    assert charloom([*TRAIN, "--out", "run", "--json"]).json["steps"] == 60


def test_a_resumed_run_equals_an_uninterrupted_one(charloom, workspace, stop_after, monkeypatch):
    assert charloom([*TRAIN, "--out", "whole", "--quiet"]).code == 0
    with monkeypatch.context():
        stop_after(3)
        assert charloom([*TRAIN, "--out", "cut", "--quiet"]).code == 130
    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    assert charloom("train --resume cut --quiet").code == 0
    whole, cut = (read_model(workspace / run / "model.safetensors") for run in ("whole", "cut"))
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(cut.parameters[name], array, err_msg=name)
    first, second = (Run(workspace / run).newest_checkpoint()[0] for run in ("whole", "cut"))
    assert first.step == second.step == 60
    for name, array in first.tensors.items():
        np.testing.assert_array_equal(second.tensors[name], array, err_msg=name)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_in_a_separate_process(workspace):
    words = ["train", "tales.txt", "--steps", "1000000", "--out", "run", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "charloom", *words],
        stderr=subprocess.PIPE,
        cwd=workspace,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    try:
        for line in process.stderr:
            if line.startswith(b"step "):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().decode()
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.stderr.close()
        process.wait(timeout=10)
    assert "a checkpoint of step" in rest
    assert "Traceback" not in rest
    assert Run(workspace / "run").checkpoint_paths()
    assert not (workspace / "run" / "lock").exists()


def test_ctrl_c_in_other_verbs_prints_no_traceback(charloom, shared_folder, monkeypatch):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("charloom.api.load", interrupted)
    done = charloom("eval runs/tales")
    assert done.code == 130
    assert "Traceback" not in done.err
