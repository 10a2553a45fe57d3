"""One writer per folder: a lock of the living is kept, one of the dead is taken over by one process only."""

import json
import os
import subprocess
import sys

import pytest

from charloom.errors import RunError
from charloom.files import Lock, lock


def write_holder(path, pid=None, **changes):
    path.write_text(json.dumps(lock._holder(pid) | changes), encoding="utf-8")


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
    write_holder(tmp_path / "lock", pid=2**22 + 1, host="elsewhere")
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
        write_holder(path, os.getppid(), boot="another boot")
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
