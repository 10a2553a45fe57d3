"""Files survive a failure at any point, and what dead writers leave is swept."""

import os
from pathlib import Path

import pytest

from charloom.errors import RunError
from charloom.files import append_line, atomic, atomic_write, kernel_lock, made_folder, sweep_parts


class PowerCutError(OSError):
    pass


def fail(*_args, **_kwargs):
    raise PowerCutError(5, "Input/output error")


@pytest.mark.parametrize("data", [b"\x00new", "نص جديد\n", lambda handle: handle.write(b"by a function")])
def test_atomic_write_takes_bytes_text_and_functions(data, tmp_path):
    path = tmp_path / "file"
    atomic_write(path, data)
    expected = (
        b"by a function" if callable(data) else data if isinstance(data, bytes) else data.encode("utf-8")
    )
    assert path.read_bytes() == expected
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def break_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", fail)


def break_replace(monkeypatch):
    monkeypatch.setattr(Path, "replace", fail)


def break_open(monkeypatch):
    monkeypatch.setattr(atomic.tempfile, "mkstemp", fail)


def break_fill(monkeypatch):
    monkeypatch.setattr(atomic, "_fill", lambda handle, data: (handle.write(data[:2]), fail()))


@pytest.mark.parametrize("break_it", [break_open, break_fill, break_fsync, break_replace])
def test_a_failed_write_leaves_the_old_content_and_no_other_file(break_it, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    break_it(monkeypatch)
    with pytest.raises(RunError, match=r"cannot write .*file.*Input/output error.*--out"):
        atomic_write(path, b"new content")
    assert path.read_bytes() == b"old content"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failure_of_the_writing_function_leaves_the_old_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted(handle):
        handle.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, interrupted)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_content_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor):
        kind = "folder" if os.path.isdir(f"/dev/fd/{descriptor}") else "file"  # noqa: PTH112 - a descriptor
        order.append(kind)
        real_fsync(descriptor)

    def replace(self, target):
        order.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    atomic_write(tmp_path / "file", b"x")
    assert order == ["file", "rename", "folder"]


def test_a_folder_that_cannot_be_synced_is_not_an_error(tmp_path, monkeypatch):
    real = os.fsync
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            fail()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(tmp_path / "file", b"x")
    assert len(calls) == 2
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_missing_folder_is_explained(tmp_path):
    with pytest.raises(RunError, match=r"No such file or directory.*choose a folder"):
        atomic_write(tmp_path / "nowhere" / "file", b"x")


def test_a_folder_made_for_what_then_fails_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), made_folder(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    folder = made_folder(tmp_path / "a")
    folder.__enter__()
    (tmp_path / "a" / "kept").write_text("x")
    assert not folder.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert (tmp_path / "a" / "kept").is_file()
    with made_folder(tmp_path / "c"):
        pass
    assert (tmp_path / "c").is_dir()


# --------------------------------------------------------------------------------------------- what dead writers leave


def test_a_part_that_is_being_written_is_not_swept(tmp_path):
    seen = []

    def write(handle):
        handle.write(b"half")
        sweep_parts(tmp_path)
        seen.extend(path.suffix for path in tmp_path.iterdir())

    atomic_write(tmp_path / "file", write)
    assert seen == [".part"]
    assert (tmp_path / "file").read_bytes() == b"half"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_part_of_a_dead_process_is_swept(tmp_path, monkeypatch):
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(atomic, "reached", lambda _: os._exit(3))
        try:
            atomic_write(tmp_path / "file", b"new")
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    sweep_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    real, calls = kernel_lock.fcntl.flock, []

    def flock(descriptor, how):
        if not calls:
            (part,) = tmp_path.iterdir()
            part.unlink()
        calls.append(None)
        real(descriptor, how)

    monkeypatch.setattr(kernel_lock.fcntl, "flock", flock)
    atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(calls) == 2


def test_only_parts_are_swept(tmp_path):
    (tmp_path / "outside").write_bytes(b"x")
    (tmp_path / ".link.abcdefgh.part").symlink_to(tmp_path / "outside")
    (tmp_path / ".folder.abcdefgh.part").mkdir()
    (tmp_path / "video.part").write_bytes(b"x")
    before = sorted(tmp_path.iterdir())
    sweep_parts(tmp_path)
    sweep_parts(tmp_path / "nowhere")
    assert sorted(tmp_path.iterdir()) == before


def test_a_line_after_a_torn_one_stays_whole(tmp_path):
    (tmp_path / "log").write_bytes(b'{"cut')
    append_line(tmp_path / "log", "{}")
    append_line(tmp_path / "log", "[]")
    assert (tmp_path / "log").read_bytes() == b'{"cut\n{}\n[]\n'
