"""A training that is killed, or finds the disk full, at any moment continues to the bytes of an undisturbed one."""

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.errors import RunError
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.training import Progress

from .crashing import TEXT, Trainings, differences, leftovers, outcome

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

KILLS = {"scratch": 100, "fused": 100, "torch": 20}
LIVES = 3
"""How often a run is killed at most before it may end."""

TAKING_LOCK = ("lock taken", "lock removed")
"""Points at which nothing is written, so that no disk is full there."""


class Subject:
    """The trainings of one engine, what an undisturbed one ends with, how long it takes, and the points it reaches."""

    def __init__(self, trainings):
        self.trainings, self.folder = trainings, trainings.folder
        self.expected = trainings.finish("whole")
        began = time.perf_counter()
        status, output = trainings.call(trainings.words("listed"), names=str(self.folder / "points"))
        self.span_s = time.perf_counter() - began
        assert status == 0, output
        self.points = (self.folder / "points").read_text().splitlines()

    def lost(self, name):
        """What a run lacks after it was continued to its end; the run is removed."""
        found = differences(self.trainings.finish(name), self.expected)
        with Run(
            self.folder / name
        ).lock():  # a run that was killed after its end is not locked again by a resume
            pass
        found += leftovers(self.folder / name)
        shutil.rmtree(self.folder / name)
        return found


@contextlib.contextmanager
def subject_of(engine, folder):
    if engine == "torch":
        pytest.importorskip("torch")
    trainings = Trainings(folder, engine)
    try:
        yield Subject(trainings)
    finally:
        trainings.close()


@pytest.fixture(scope="module")
def fused():
    """The engine that starts fastest, on a file system in memory if there is one: the tests wait for no disk."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        subject_of("fused", Path(folder)) as subject,
    ):
        yield subject


def kill_at_random(subject, number, rng):
    """Kill trainings so many times, in up to `LIVES` lives each; what those lack that ended with other bytes."""
    kills, losses = 0, []
    for run in range(20 * number):
        if kills >= number:
            break
        for _ in range(LIVES):
            was_killed = subject.trainings.kill(f"run{run}", float(rng.uniform(0, subject.span_s)))
            kills += was_killed
            if not was_killed or kills >= number:
                break
        if lost := subject.lost(f"run{run}"):
            losses.append(lost)
    assert kills == number
    return losses


def spread(points, rng, number):
    """Points of so many names, each with its place."""
    names = rng.choice(sorted(set(points)), number, replace=False)
    return {name: int(rng.choice([i for i, point in enumerate(points) if point == name])) for name in names}


def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(fused, rng):
    assert kill_at_random(fused, 3, rng) == []


def test_a_training_killed_at_a_named_point_ends_with_those_bytes(fused, rng):
    assert len(set(fused.points)) >= 12
    for name, place in spread(fused.points, rng, 4).items():
        status, output = fused.trainings.call(fused.trainings.words("run"), kind="kill", at=place)
        assert status == -9, output
        assert fused.lost("run") == [], f"point {place}, {name}"


@pytest.mark.reliability
@pytest.mark.parametrize("engine", KILLS)
def test_hundreds_of_killed_trainings_end_with_the_bytes_of_undisturbed_ones(engine, tmp_path, attacks):
    with subject_of(engine, tmp_path) as subject:
        losses = kill_at_random(subject, KILLS[engine], attacks.rng)
    print(*losses, sep="\n")
    attacks.count(f"kills at random moments, {engine}", KILLS[engine], losses=len(losses))


@pytest.mark.reliability
def test_a_training_killed_at_every_named_point_ends_with_those_bytes(fused, attacks):
    losses = 0
    for place in range(len(fused.points)):
        status, output = fused.trainings.call(fused.trainings.words("run"), kind="kill", at=place)
        assert status == -9, output
        losses += bool(fused.lost("run"))
    attacks.count("kills at named points", len(fused.points), losses=losses)


def test_a_resumed_training_killed_at_a_point_ends_with_those_bytes(fused, rng):
    """The second life sweeps what the first has left: its lock, and a part of a file."""
    left = {}
    for place in (fused.points.index("part synced", len(fused.points) // 2), 3):
        status, output = fused.trainings.call(fused.trainings.words("run"), kind="kill", at=place)
        assert status == -9, output
        left[place] = sorted(name.rpartition(".")[2] for name in leftovers(fused.folder / "run"))
    assert list(left.values()) == [["lock", "part"], ["lock"]]
    assert fused.lost("run") == []


# ----------------------------------------------------------------------------------------------------- a full disk


def check_refused(status, output, run):
    """A failed write is explained; it leaves what was there, and nothing else."""
    assert status == 1, output
    assert "cannot write" in output
    assert "free some disk space" in output
    assert "Traceback" not in output
    assert leftovers(run) == []
    if run.exists():
        assert Run(run).newest_checkpoint()[1] == ()
        assert Run(run).config()
        if Run(run).model_path.exists():
            read_model(Run(run).model_path)


def fail_at(subject, place):
    """Let the write at that point find the disk full; what is lost after the run was continued."""
    status, output = subject.trainings.call(subject.trainings.words("run"), kind="fail", at=place)
    check_refused(status, output, subject.folder / "run")
    return subject.lost("run")


def test_a_training_that_finds_the_disk_full_says_so_and_continues_later(fused, rng):
    writing = [point for point in fused.points if point not in TAKING_LOCK]
    for name, place in spread(writing, rng, 3).items():
        assert fail_at(fused, [i for i, p in enumerate(fused.points) if p in writing][place]) == [], name


@pytest.mark.reliability
def test_the_disk_can_be_full_at_every_write(fused, attacks):
    places = [i for i, point in enumerate(fused.points) if point not in TAKING_LOCK]
    losses = sum(bool(fail_at(fused, place)) for place in places)
    attacks.count("full disks at named points", len(places), losses=losses)


def test_a_limit_on_the_size_of_files_is_a_full_disk_too(fused):
    run = fused.folder / "whole"
    files = [run / "events.jsonl", run / "checkpoints" / "step-000000024.safetensors"]
    for limit in {int(0.9 * file.stat().st_size) for file in files}:
        status, output = fused.trainings.call(fused.trainings.words("run"), file_size=limit)
        check_refused(status, output, fused.folder / "run")
        assert fused.lost("run") == []


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of so many bytes, which only root can mount."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def train_on_small_disk(subject, place, size):
    """Train on a disk of that size, and continue when it has grown; whether it was too small, and what is lost."""
    with small_disk(place, size) as disk:
        trainings = subject.trainings
        status, output = trainings.call(trainings.words("run", disk), cwd=disk)
        if status == 0:
            return False, differences(outcome(Run(disk / "run")), subject.expected)
        check_refused(status, output, disk / "run")
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        return True, differences(trainings.finish("run", disk), subject.expected)


PAGE = 4096


def test_a_training_on_a_disk_that_is_too_small_continues_when_there_is_room(fused):
    found = [train_on_small_disk(fused, fused.folder / "disk", pages * PAGE) for pages in (5, 9)]
    assert [was_full for was_full, _ in found] == [True, True]
    assert [lost for _, lost in found if lost] == []


@pytest.mark.reliability
def test_a_disk_of_any_size_may_fill_up(fused, attacks):
    full = losses = 0
    for pages in range(2, 60):
        was_full, lost = train_on_small_disk(fused, fused.folder / "disk", pages * PAGE)
        full, losses = full + was_full, losses + bool(lost)
        if not was_full:
            break
    assert full >= 8
    assert not was_full
    attacks.count("full disks, tmpfs", full, losses=losses)


# ---------------------------------------------------------------------- folders that vanish or cannot be written, clocks


def test_a_disk_that_is_read_only_is_explained_and_left_alone(fused):
    with small_disk(fused.folder / "readonly", "4m") as disk:
        shutil.copytree(fused.folder / "whole", disk / "run")
        before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name, words in {
            "new": [*fused.trainings.settings, "--out", "new"],
            "run": ["train", "--resume", "run", "--steps", "+4", "--quiet"],
        }.items():
            status, output = fused.trainings.call(words, disk)
            assert status == 1, output
            assert f"cannot write {name}" in output
            assert "Read-only file system" in output
        assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


YEAR_S = 365 * 86_400.0


def train_quickly(folder, **how):
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    settings = {
        "cell": "gru", "hidden_size": 8, "bptt_length": 8, "batch_size": 4, "steps": 24, "validate_every": 6,
        "threads": 1, "engine": "scratch", "quiet": True,
    }  # fmt: skip
    return charloom.train(folder / "text.txt", out=folder / "run", **settings, **how)


def test_a_run_folder_that_vanishes_ends_the_training_with_an_explanation(tmp_path):
    def vanish(event):
        if isinstance(event, Progress):
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(RunError, match=r"cannot write .*No such file or directory"):
        train_quickly(tmp_path, on_event=vanish)
    assert not (tmp_path / "run").exists()


def test_a_clock_that_jumps_by_years_changes_nothing(tmp_path, monkeypatch):
    expected = train_quickly(tmp_path)
    (tmp_path / "other").mkdir()
    real, jumps = time.time, itertools.cycle([YEAR_S, -YEAR_S, 0.0])

    def jumping():
        return real() + next(jumps)

    def stop(event):
        if isinstance(event, Progress) and event.step > 6:
            raise ZeroDivisionError

    monkeypatch.setattr(time, "time", jumping)
    with pytest.raises(ZeroDivisionError):
        train_quickly(tmp_path / "other", on_event=stop)
    for path, jump_s in zip((tmp_path / "other" / "run").rglob("*"), itertools.cycle([YEAR_S, -YEAR_S])):
        os.utime(path, (real() + jump_s, real() + jump_s))
    continued = charloom.resume(tmp_path / "other" / "run", quiet=True)
    for name, array in expected.file.parameters.items():
        np.testing.assert_array_equal(continued.file.parameters[name], array)
