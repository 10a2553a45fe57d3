"""Trainings that are killed, and what must be the same afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from charloom.modelfile import read_model
from charloom.runs import Run

from ..conftest import ROOT

TEXT = "the cat sat on the mat, a dog ran to the sea\n" * 60
TINY = [
    "--hidden-size", "8", "--bptt-length", "8", "--steps", "24", "--validate-every", "6",
    "--threads", "1", "--quiet",
]  # fmt: skip
ENGINES = {
    "scratch": ["--cell", "gru", "--engine", "scratch", "--batch-size", "4", "--average-decay", "0.9"],
    "fused": ["--cell", "elman", "--engine", "fused", "--batch-size", "1"],
    "torch": [
        "--cell",
        "lstm",
        "--engine",
        "torch",
        "--batch-size",
        "4",
        "--dropout-output",
        "0.2",
        "--device",
        "cpu",
    ],
}
TIMES = ("created", "train_time_s", "wall_time_s", "elapsed_s", "chars_per_s")


class Trainings:
    """A warm process, and a text to train on: see `tests.training.crash_worker`."""

    def __init__(self, folder, engine):
        text = folder / "text.txt"
        self.folder, self.settings = folder, ["train", str(text), *TINY, *ENGINES[engine]]
        text.write_text(TEXT, encoding="utf-8")
        self._log = folder / "output.txt"
        words = [sys.executable, "-m", "tests.training.crash_worker"]
        with (folder / "worker.txt").open("w") as errors:
            self._process = subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._say({"words": [*self.settings, "--out", str(folder / "warm")]})
        assert self._hear() == {"ready": True}

    def _say(self, order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _hear(self):
        line = self._process.stdout.readline()
        assert line, (self.folder / "worker.txt").read_text()
        return json.loads(line)

    def close(self):
        """End the warm process."""
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def begin(self, words, cwd=None, **order):
        """Start a command; returns its process id."""
        self._log.unlink(missing_ok=True)
        self._say({"words": words, "cwd": str(cwd or self.folder), "output": str(self._log), **order})
        return self._hear()["pid"]

    def end(self):
        """Wait for the command; returns its exit status and its output."""
        status = self._hear()["status"]
        return status, self._log.read_text("utf-8") if self._log.exists() else ""

    def call(self, words, cwd=None, **order):
        """Run a command to its end."""
        self.begin(words, cwd, **order)
        return self.end()

    def words(self, name, cwd=None):
        """The command that trains, or continues what is in the folder of that name."""
        if ((cwd or self.folder) / name / "config.json").exists():
            return ["train", "--resume", name, "--quiet"]
        return [*self.settings, "--out", name]

    def kill(self, name, after_s):
        """Train or continue, and kill it after so many seconds; whether it was still running."""
        pid = self.begin(self.words(name))
        time.sleep(after_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status, output = self.end()
        assert status in (0, -signal.SIGKILL), output
        return status != 0

    def finish(self, name, cwd=None):
        """Train or continue to the end; what it ends with."""
        status, output = self.call(self.words(name, cwd), cwd)
        assert status == 0, output
        return outcome(Run((cwd or self.folder) / name))


def timeless(value):
    """The value without what depends on the clock."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list | tuple) else value


def outcome(run):
    """All that a training leaves, by its bytes, without times: model, checkpoint, configuration, losses and results."""
    model, (checkpoint, notes) = read_model(run.model_path), run.newest_checkpoint()
    assert notes == ()
    events = run.events()
    progress = [event for event in events if event.get("event") == "progress"]
    losses = {e["first_step"] + i: loss for e in progress for i, loss in enumerate(e["loss"])}
    others = [e for e in events if e.get("event") in ("validation", "sampled", "epoch_end", "finished")]
    return {
        "parameters": {name: array.tobytes() for name, array in model.parameters.items()},
        "card": timeless(model.card),
        "vocabulary": model.vocab.to_json(),
        "step": checkpoint.step,
        "tensors": {name: array.tobytes() for name, array in checkpoint.tensors.items()},
        "scalars": timeless(dict(checkpoint.scalars)),
        "config": timeless(run.config()),
        "losses": losses,
        "events": [timeless(event) for event in others],
    }


def differences(found, expected):
    """The parts in which two outcomes differ."""
    return [part for part in expected if found[part] != expected[part]]


def leftovers(folder):
    """What a command leaves only if it was killed."""
    found = [path for path in folder.rglob("*") if path.name == "lock" or path.suffix == ".part"]
    return [path.relative_to(folder).as_posix() for path in found]
