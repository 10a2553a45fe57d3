"""One writer per folder: a lock file that says which process holds it.

The file may be read on another machine, or after a crash, so its holder is described by what survives: process id, host,
boot, and when the process started, which tells it from another process with the same id.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from charloom.errors import RunError
from charloom.files import atomic
from charloom.files.atomic import sweep_parts, unwritable
from charloom.files.content import text_of_file
from charloom.files.kernel_lock import is_free
from charloom.schema import Schema, json_value
from charloom.schema.documents import Holder

_HOLDER = Schema(Holder, lambda what, why: RunError(what, why=why, fix="remove the file"))

GUARD_S = 5.0
"""How long a process waits while another looks at the lock file; that takes it milliseconds."""


class Lock:
    """One writer per folder: a lock file with process id, host and boot id, taken over if its holder has ended.

    Args:
        path: of the lock file, in a folder that exists.
        sweeps: folders from which the new holder removes what dead writers have left: see `sweep_parts`.

    Raises:
        RunError: (on entering) a running process holds it, this one too.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Lock(Path(folder) / "lock"):
        ...     (Path(folder) / "lock").exists()
        True
    """

    def __init__(self, path: Path, sweeps: Sequence[Path] = ()) -> None:
        self.path, self._sweeps = Path(path), sweeps
        self._file: tuple[int, int] | None = None

    def __enter__(self) -> Lock:
        try:
            with _guarded(self.path.parent):
                self._take()
        except OSError as error:
            raise unwritable(self.path, error) from error
        atomic.reached("lock taken")
        for folder in self._sweeps:
            sweep_parts(folder)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(OSError):  # the folder may be gone, or read-only; the process ends soon
            if _identity(self.path.stat()) == self._file:  # it was not removed and taken by another process
                self.path.unlink()
        atomic.reached("lock removed")

    def _take(self) -> None:
        self._remove_if_stale()
        try:
            with self.path.open("x", encoding="utf-8") as handle:
                json.dump(_holder(), handle)
                self._file = _identity(os.fstat(handle.fileno()))
        except FileExistsError as error:
            why, fix = "another process took its lock", "wait for it to end"
            raise RunError(f"{self.path.parent} is in use", why=why, fix=fix) from error

    def _remove_if_stale(self) -> None:
        try:
            holder = _HOLDER.parsed(json_value(text_of_file(self.path)), str(self.path))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RunError):  # cut off by a crash, or not written by charloom
            holder = None
        if holder is not None and _alive(holder):
            raise RunError(
                f"{self.path.parent} is in use by process {holder.pid} on {holder.host}",
                why="two processes writing to the same run folder would corrupt it",
                fix=f"wait for it to end, or remove {self.path} if you are sure that it has ended",
            )
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


@contextlib.contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Let one process at a time judge and replace a lock file, where the file system has locks of its own.

    Otherwise two processes could both find a dead holder, and the slower would remove the lock of the faster.
    """
    if os.name == "nt":  # it opens no folders
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + GUARD_S
        while not is_free(descriptor, without=True):
            if time.monotonic() > until:
                why, fix = "another process has been taking its lock for some seconds", "try again"
                raise RunError(f"{folder} is in use", why=why, fix=fix)
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _holder(pid: int | None = None) -> dict[str, object]:
    pid = os.getpid() if pid is None else pid
    return {"pid": pid, "host": socket.gethostname(), "boot": boot_id(), "started": _started(pid)}


def boot_id() -> str:
    """What identifies the time since this machine was started; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; "ended" for one that only waits to be buried; "" if unknown."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "ended" if state in (b"Z", b"X") else rest[18].decode("ascii")
    except (OSError, ValueError, IndexError):
        return ""


def _alive(holder: Holder) -> bool:
    """Whether the lock's holder may still be running; on another host, always."""
    pid = holder.pid
    if holder.host != socket.gethostname():
        return True
    if holder.boot != boot_id():
        return False
    if holder.started and (now := _started(pid)):
        return holder.started == now
    if pid == os.getpid():  # of a process with this id that has ended, or of an earlier version
        return False
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        pass
    return True
