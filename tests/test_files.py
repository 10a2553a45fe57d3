"""Files survive a failure at any point; one writer per folder."""

import codecs
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import charloom
from charloom import files
from charloom.errors import RunError
from charloom.files import Lock, atomic_write, json_text, made_folder, sha256_of, text_of_file


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
    monkeypatch.setattr(files.tempfile, "mkstemp", fail)


def break_fill(monkeypatch):
    monkeypatch.setattr(files, "_fill", lambda handle, data: (handle.write(data[:2]), fail()))


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


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 3])
def test_sha256_of_hashes_the_content(size, tmp_path):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


# ------------------------------------------------------------------------------------------------- the lock


def write_holder(path, **changes):
    path.write_text(json.dumps(files._holder() | changes), encoding="utf-8")


def test_a_lock_names_its_holder_and_is_removed_afterwards(tmp_path):
    path = tmp_path / "lock"
    with Lock(path):
        assert json.loads(path.read_text("utf-8"))["pid"] == os.getpid()
    assert not path.exists()


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), Lock(tmp_path / "lock"):
        raise KeyError
    assert not (tmp_path / "lock").exists()


def test_a_running_process_keeps_its_lock(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_holder(path, pid=process.pid)
        with (
            pytest.raises(RunError, match=rf"in use by process {process.pid} on .*remove .*lock"),
            Lock(path),
        ):
            pass
        assert path.exists()
        process.communicate(b"\n")
    with Lock(path):  # the process has ended
        assert json.loads(path.read_text("utf-8"))["pid"] == os.getpid()


def test_a_process_of_another_user_keeps_its_lock(tmp_path, monkeypatch):
    def refused(_pid, _signal):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    write_holder(tmp_path / "lock", pid=os.getpid() + 1)
    with pytest.raises(RunError, match="in use by process"), Lock(tmp_path / "lock"):
        pass


def test_a_lock_of_another_host_is_never_taken_over(tmp_path):
    write_holder(tmp_path / "lock", host="elsewhere", pid=2**22 + 1)
    with pytest.raises(RunError, match=r"process \d+ on elsewhere"), Lock(tmp_path / "lock"):
        pass


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("stale", ["dead", "rebooted", "torn", "empty", "foreign"])
def test_a_lock_whose_holder_has_ended_is_taken_over(stale, tmp_path):
    path = tmp_path / "lock"
    if stale == "dead":
        write_holder(path, pid=dead_pid())
    elif stale == "rebooted":
        write_holder(path, pid=os.getppid(), boot="another boot")
    else:
        path.write_text(
            {"torn": '{"pid": 1', "empty": "", "foreign": '{"pid": "one"}'}[stale], encoding="utf-8"
        )
    with Lock(path):
        assert json.loads(path.read_text("utf-8"))["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["[1, 2]", "null", '{"pid": 1e99}', '{"pid": true}'])
def test_a_lock_file_with_any_content_does_not_crash(content, tmp_path):
    (tmp_path / "lock").write_text(content, encoding="utf-8")
    with Lock(tmp_path / "lock"):
        pass


def test_a_lock_in_a_missing_folder_is_explained(tmp_path):
    with pytest.raises(RunError, match="cannot write"), Lock(tmp_path / "nowhere" / "lock"):
        pass


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_text_file_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    (tmp_path / "a").write_bytes(mark + "naïve\n".encode(encoding))
    assert text_of_file(tmp_path / "a") == "naïve\n"


def test_nothing_but_the_helper_reads_text_from_users():
    """A file read with `Path.read_text` would be refused, or begin with U+FEFF, if it has a byte-order mark."""
    source = Path(charloom.__file__).parent
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"\.read_text\(|open\((encoding|\"r\")", path.read_text("utf-8"))
    }
    of_the_system = {
        "files.py",
        "threads.py",
        "doctor.py",
        "versions.py",
        "cli/completion.py",
        "kernels/library.py",
        "page/template.py",
        "export/torch_example.py",
        "tuning/journal_file.py",
    }  # /proc, /sys, a shell's startup file, files of our own
    assert found <= of_the_system


def test_names_that_are_not_utf_8_survive_in_json():
    value = {"name": os.fsdecode(b"caf\xe9"), "other": "قصص"}
    text = json_text(value)
    assert json.loads(text.encode("utf-8")) == value
    assert "قصص" in text


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
