"""Every verb that writes files, on a disk that is full or grows full: an explanation, and no file is lost."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charloom.cli import main
from charloom.files import atomic

resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")

VERBS = {
    "ensemble": "ensemble runs/tales runs/tales/model.safetensors --out out/both.safetensors",
    "sample": "sample runs/tales --count 2 --length 9 --seed 1 --out-dir out",
    "score": "score runs/tales more.txt --html out/score.html",
    "explain": "explain runs/tales --prompt once --html out/explain.html",
    "export": "export runs/tales --html out/page.html",
    "hub": "export runs/tales --hub out",
    "prepare": "prepare tales.txt --out out/tales.ids",
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Disk:
    """Counts the named points of the writer, and is full at one of them."""

    def __init__(self):
        self.points, self.full_at = [], None

    def reached(self, point):
        self.points.append(point)
        if len(self.points) - 1 == self.full_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    def begin(self, full_at=None):
        self.points, self.full_at = [], full_at


@pytest.fixture
def disk(monkeypatch):
    found = Disk()
    monkeypatch.setattr(atomic, "reached", found.reached)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_finds_the_disk_full_says_so_and_leaves_the_old_files(charloom, workspace, disk, verb):
    """The places: while the first file is written, and when it has been renamed."""
    (workspace / "out").mkdir()
    words = VERBS[verb]
    assert charloom(words).code == 0
    if verb == "sample":  # it overwrites nothing
        words = words.replace("out-dir out", "out-dir out/more")
    disk.begin()
    assert charloom(words.replace("out/more", "elsewhere")).code == 0
    before = contents(workspace / "out")
    places = [
        disk.points.index(next(p for p in disk.points if p.endswith(e))) for e in (" written", "renamed")
    ]
    for place in places:
        disk.begin(place)
        done = charloom(words)
        assert done.code == 1
        assert "cannot write out" in done.err
        assert "No space left on device" in done.err
        after = contents(workspace / "out")
        assert before.items() <= after.items() or place == places[1]
        assert [name for name in after if name.endswith(".part")] == []


def with_small_files(words, limit, output):
    """Run a command in a fork of this process that can write no larger files; its exit code and what it printed."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
            sys.stdout = sys.stderr = os.fdopen(descriptor, "w")
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            code = main(words)
            sys.stderr.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.read_text("utf-8")


@pytest.mark.parametrize("limit", [2_000, 14_000])
def test_a_preparation_that_finds_the_disk_full_is_explained(workspace, charloom, limit):
    """The smaller limit stops the numbers of the text, the larger one the result."""
    words = ["prepare", "tales.txt", "--out", "tales.ids"]
    assert charloom(words).code == 0
    expected = (workspace / "tales.ids").read_bytes()
    (workspace / "tales.ids").write_bytes(b"old")
    code, printed = with_small_files(words, limit, workspace / "printed")
    assert code == 1, printed
    assert "cannot write tales.ids" in printed
    assert "File too large" in printed
    assert (workspace / "tales.ids").read_bytes() == b"old"
    assert not (workspace / ".tales.ids.prepare").exists()
    assert charloom(words).code == 0
    assert (workspace / "tales.ids").read_bytes() == expected


class FullOutput(io.StringIO):
    """Standard output on a full disk: what is written stays in its buffer, and every flush fails."""

    def __init__(self, path):
        super().__init__()
        self.file = path.open("w")

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self):
        return self.file.fileno()


@pytest.mark.parametrize("words", ["info runs/tales", "info runs/tales --json", "info runs/nothing --json"])
def test_output_that_cannot_be_written_is_explained(workspace, monkeypatch, capsys, words):
    """Nothing else is raised, and what is left is discarded, as the interpreter would try to write it when it ends."""
    output = FullOutput(workspace / "output")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(words.split()) == 1
    os.write(output.fileno(), b"more")
    output.file.close()
    assert (workspace / "output").read_bytes() == b""
    error = capsys.readouterr().err
    what = "cannot read runs/nothing" if "nothing" in words else "cannot write the output"
    assert error.startswith(f"error: {what}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_command_whose_output_is_a_full_disk_fails_without_a_traceback(workspace):
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "charloom", "info", "runs/nothing", "--json"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read runs/nothing")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
