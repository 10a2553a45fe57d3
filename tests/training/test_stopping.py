"""However a training ends, a checkpoint is there and the lock is gone; a resume never overwrites a better model."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import charloom
from charloom import threads
from charloom.errors import RunError
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.training import Progress, Started

TEXT = "the cat sat on the mat, a dog ran to the sea\n" * 100
TINY = {"cell": "gru", "hidden_size": 8, "batch_size": 4, "bptt_length": 16, "steps": 40, "quiet": True}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def after(num_progress, act):
    """An `on_event` that acts after a number of ranges of steps."""
    left = iter(range(num_progress))

    def on_event(event):
        if isinstance(event, Progress) and next(left, None) is None:
            act()

    return on_event


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_in_python_saves_and_the_run_continues_to_the_same_bytes(text, tmp_path):
    whole = charloom.train(text, out=tmp_path / "whole", **TINY)
    with pytest.raises(
        KeyboardInterrupt, match=r"a checkpoint of step .* was saved; continue with charloom\.resume"
    ):
        charloom.train(text, out=tmp_path / "cut", on_event=after(2, interrupt), **TINY)
    run = Run(tmp_path / "cut")
    assert 0 < run.newest_checkpoint()[0].step < 40
    assert not (run.path / "lock").exists()
    cut = charloom.resume(run.path, quiet=True)
    for name, array in whole.file.parameters.items():
        np.testing.assert_array_equal(cut.file.parameters[name], array)


def test_an_exception_in_a_callback_saves_too_even_while_its_traceback_is_alive(text, tmp_path):
    def fail():
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller") as caught:
        charloom.train(text, out=tmp_path / "run", on_event=after(2, fail), **TINY)
    assert caught.tb is not None
    assert Run(tmp_path / "run").newest_checkpoint()[0].step > 0
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_signal_to_end_a_script_saves_and_then_ends_it(number, text, tmp_path):
    script = f"""
import os
import charloom
from charloom.training import Progress

def on_event(event):
    if isinstance(event, Progress):
        os.kill(os.getpid(), {int(number)})

charloom.train({str(text)!r}, out="run", on_event=on_event, **{TINY!r})
print("not reached")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -number, done.stderr
    assert "not reached" not in done.stdout
    assert Run(tmp_path / "run").newest_checkpoint()[0].step > 0
    assert not (tmp_path / "run" / "lock").exists()


def test_a_resume_without_any_checkpoint_says_that_it_starts_again(text, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        charloom.train(text, out=tmp_path / "run", on_event=after(0, interrupt), **TINY)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "model.safetensors").unlink(missing_ok=True)
    notes = []
    charloom.resume(
        tmp_path / "run",
        quiet=True,
        on_event=lambda event: notes.extend(event.notes) if isinstance(event, Started) else None,
    )
    assert "there is no checkpoint: the training starts again at step 0" in notes


def test_a_resume_without_a_checkpoint_leaves_a_model_alone(text, tmp_path):
    charloom.train(text, out=tmp_path / "run", **TINY)
    run = Run(tmp_path / "run")
    before, config = run.model_path.read_bytes(), run.config()
    for path in run.checkpoint_paths():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="has a model but no checkpoint") as refused:
        charloom.resume(run.path, more_steps=5, quiet=True)
    assert "damaged" in refused.value.why
    assert "--recipe" in refused.value.fix
    assert run.model_path.read_bytes() == before
    assert run.config() == config
    assert read_model(run.model_path).card["results"]["steps"] == 40


def test_the_first_checkpoint_is_there_before_the_first_model(text, tmp_path):
    seen = []

    def look(event):
        seen.append((len(run.checkpoint_paths()), run.model_path.exists()))

    run = Run(tmp_path / "run")
    charloom.train(text, out=run.path, on_event=look, **TINY)
    assert seen[0] == (1, False)
    assert all(checkpoints for checkpoints, _ in seen)


def test_a_resume_on_other_threads_says_that_bytes_will_differ(text, tmp_path):
    def started(event):
        if isinstance(event, Started):
            notes.extend(event.notes)

    notes: list[str] = []
    with threads.at_most(2), pytest.raises(KeyboardInterrupt):
        charloom.train(text, out=tmp_path / "run", on_event=after(1, interrupt), **TINY)
    with threads.at_most(2), pytest.raises(KeyboardInterrupt):
        charloom.resume(tmp_path / "run", quiet=True, on_event=lambda e: (started(e), after(0, interrupt)(e)))
    assert not [note for note in notes if "byte-identical" in note]
    with threads.at_most(1):
        charloom.resume(tmp_path / "run", quiet=True, on_event=started)
    (note,) = [note for note in notes if "byte-identical" in note]
    assert "1 thread instead of 2" in note


@pytest.mark.parametrize(
    ("name", "now", "said"),
    [
        ("python", "3.99.0", "python 3.99.0 instead of"),
        ("charloom", "9.0", "charloom 9.0 instead of"),
        ("processor", "Another CPU", "the processor Another CPU instead of"),
        ("machine", "riscv64", "the machine riscv64 instead of"),
    ],
)
def test_a_resume_on_another_machine_or_version_says_so(name, now, said, text, tmp_path, monkeypatch):
    charloom.train(text, out=tmp_path / "run", **TINY)
    recorded = Run(tmp_path / "run").config()["versions"]
    monkeypatch.setattr("charloom.training.exactness.versions", lambda: {**recorded, name: now})
    assert [note for note in notes_of_a_resume(tmp_path / "run") if said in note and "byte-identical" in note]


@pytest.mark.parametrize("name", ["device", "kernels"])
def test_a_resume_on_another_device_or_processor_level_says_so(name, text, tmp_path):
    charloom.train(text, out=tmp_path / "run", **TINY)
    run = Run(tmp_path / "run")
    events = run.path / "events.jsonl"
    lines = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    assert lines[0][name]
    lines[0][name] = "other"
    events.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (note,) = [note for note in notes_of_a_resume(run.path) if "byte-identical" in note]
    said = "the device cpu instead of other" if name == "device" else "kernels of the processor level"
    assert said in note
    assert note.count("instead of") == 1


def notes_of_a_resume(path):
    notes = []
    charloom.resume(
        path,
        more_steps=2,
        quiet=True,
        on_event=lambda event: notes.extend(event.notes) if isinstance(event, Started) else None,
    )
    return notes


def test_a_resume_with_other_versions_says_so(text, tmp_path, monkeypatch):
    charloom.train(text, out=tmp_path / "run", **TINY)
    monkeypatch.setattr(
        "charloom.training.exactness.versions", lambda: {"torch": "99.0", "numpy": np.__version__}
    )
    notes = []
    charloom.resume(
        tmp_path / "run",
        more_steps=2,
        quiet=True,
        on_event=lambda event: notes.extend(event.notes) if isinstance(event, Started) else None,
    )
    assert "torch 99.0 instead of" in notes[-1]
    assert "numpy" not in notes[-1]
