"""Files survive a failure at any point, and what dead writers leave is swept."""

import os
from pathlib import Path

import pytest

from charloom.errors import RunError
from charloom.files import atomic, atomic_write, made_folder


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
