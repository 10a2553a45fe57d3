"""One writer per folder: a lock of the living is kept, one of the dead is taken over by one process only."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charloom.errors import RunError
from charloom.files import Lock, kernel_lock, lock


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


def test_another_process_with_the_number_of_a_dead_one_does_not_hold_its_lock(tmp_path):
    write_holder(tmp_path / "lock", os.getppid(), started="1")
    with Lock(tmp_path / "lock"):
        pass


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="this system does not say when a process started"
)
def test_the_lock_of_a_process_that_only_waits_to_be_buried_is_taken_over(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_holder(tmp_path / "lock", process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with Lock(tmp_path / "lock"):
            pass


def test_a_process_does_not_take_its_own_lock(tmp_path):
    with Lock(tmp_path / "lock"):
        with pytest.raises(RunError, match=f"in use by process {os.getpid()} on"), Lock(tmp_path / "lock"):
            pass
        assert (tmp_path / "lock").exists()


def test_a_lock_that_another_process_has_taken_meanwhile_stays(tmp_path):
    """Its holder was thought to be dead, and the file was removed by hand."""
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    first.__enter__()
    (tmp_path / "lock").rename(tmp_path / "removed")
    with second:
        first.__exit__(None, None, None)
        assert (tmp_path / "lock").exists()


def at_once(number, act):
    """Call a function on so many threads at the same time; the results."""
    start, found = threading.Barrier(number), []

    def run():
        start.wait()
        found.append(act())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("left", ["nothing", "empty", "dead"])
def test_one_of_many_takes_a_lock(left, tmp_path, monkeypatch):
    """Between the look at the lock of a dead process and its removal, no other process takes the lock."""
    path, inside = tmp_path / "lock", []
    pid, real = dead_pid(), lock.text_of_file

    def read_slowly(file):
        content = real(file)
        inside.append(threading.Event().wait(0.002))
        return content

    monkeypatch.setattr(lock, "text_of_file", read_slowly)

    def take():
        mine = Lock(path)
        try:
            mine.__enter__()
        except RunError:
            return False
        return True

    for _ in range(4):
        path.unlink(missing_ok=True)
        if left == "empty":
            path.write_bytes(b"")
        elif left == "dead":
            write_holder(path, pid)
        assert sorted(at_once(5, take)) == [False] * 4 + [True]


def test_a_process_that_waits_too_long_for_its_turn_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "GUARD_S", 0.05)
    with (
        lock._guarded(tmp_path),
        pytest.raises(RunError, match="has been taking its lock"),
        Lock(tmp_path / "lock"),
    ):
        pass


def test_a_lock_works_where_the_file_system_has_none(tmp_path, monkeypatch):
    def refused(_descriptor, _how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(kernel_lock.fcntl, "flock", refused)
    with Lock(tmp_path / "lock"), pytest.raises(RunError), Lock(tmp_path / "lock"):
        pass


def test_the_next_holder_sweeps_what_dead_writers_have_left(tmp_path):
    (tmp_path / ".config.json.abcd_123.part").write_bytes(b"half")
    (tmp_path / ".mine.part").write_bytes(b"of the user")
    with Lock(tmp_path / "lock", sweeps=[tmp_path, tmp_path / "nowhere"]):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", "lock"]
