"""A search in a folder: Optuna's journal file, and one small file per lease.

    journal.log          the journal, one JSON object a line
    leases/7.1           the first lease of trial 7, with the name of its holder; its time stamp is when it ends
    leases/7.2           the second, taken after the first had ended

A lease is taken by creating a file that must not exist, which succeeds for one worker only; the file with the highest
number counts. The clock is that of the file system, read from a file that is touched, so workers whose own clocks differ
agree on a network drive too.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from charloom.errors import missing_extra
from charloom.files import make_folder, unwritable

JOURNAL = "journal.log"
DEAD_AFTER_S = 86_400.0
"""A worker that has not touched its clock for so long was killed."""
_NAME = re.compile(r"(-?\d{1,9})\.(\d{1,9})")


class _Lease(NamedTuple):
    """A lease as its file has it."""

    holder: str
    until: float
    taken: int


class FileStore:
    """The `SearchStore` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.absolute().name
        self._folder, self._leases = folder, folder / "leases"
        make_folder(self._leases)
        self._clock = self._leases / f".clock-{uuid.uuid4().hex[:8]}"
        self._sweep()

    def journal(self) -> Any:
        """Optuna's backend for a journal file; its lock works on network drives too.

        A last line that a full disk or a power cut has cut off is removed: Optuna would refuse every line after it.
        """
        try:
            from optuna.storages.journal import (
                JournalFileBackend,
                JournalFileOpenLock,
                JournalFileSymlinkLock,
            )
        except ImportError as error:
            raise missing_extra("optuna", "search", "charloom search") from error
        path = str(self._folder / JOURNAL)
        lock = JournalFileOpenLock(path) if os.name == "nt" else JournalFileSymlinkLock(path)
        lock.acquire()
        try:
            _remove_torn_line(Path(path))
        finally:
            lock.release()
        return JournalFileBackend(path, lock)

    def now(self) -> float:
        """The time of a file that is touched."""
        try:
            self._clock.write_bytes(b"")
            os.utime(self._clock)
            return self._clock.stat().st_mtime
        except OSError as error:
            raise unwritable(self._clock, error) from error

    def claim(self, key: int, holder: str, lease_s: float) -> int | None:
        """Create the file of the next lease, if the last one has ended."""
        last = self._last(key)
        if last is not None and last.until > self.now():
            return None
        taken = 1 if last is None else last.taken + 1
        with contextlib.suppress(FileExistsError):  # another worker was first
            self._create(self._path(key, taken), holder, lease_s)
            return taken
        return None

    def renew(self, key: int, holder: str, lease_s: float) -> bool:
        """Move the end of the lease, if no other came after it."""
        last = self._last(key)
        if last is None or last.holder != holder:
            return False
        self._stamp(self._path(key, last.taken), self.now() + lease_s)
        return not self._path(key, last.taken + 1).exists()

    def release(self, key: int, holder: str) -> None:
        """Let the lease end; its file stays, as it counts."""
        last = self._last(key)
        if last is not None and last.holder == holder:
            self._stamp(self._path(key, last.taken), 0.0)

    def held(self) -> dict[int, str]:
        """Read the last lease of every trial."""
        now = self.now()
        leases = ((key, self._read(self._path(key, taken), taken)) for key, taken in self._numbers().items())
        return {key: lease.holder for key, lease in leases if lease.until > now}

    def _sweep(self) -> None:
        """Remove the small files of workers that were killed; a living one touches its clock whenever it renews a lease."""
        for path in (*self._leases.glob(".clock-*"), *self._leases.glob(".new-*")):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < self.now() - DEAD_AFTER_S:
                    path.unlink()

    def close(self) -> None:
        """Remove this worker's clock."""
        with contextlib.suppress(OSError):
            self._clock.unlink(missing_ok=True)

    def _path(self, key: int, taken: int) -> Path:
        return self._leases / f"{key}.{taken}"

    def _last(self, key: int) -> _Lease | None:
        taken = self._numbers().get(key)
        return None if taken is None else self._read(self._path(key, taken), taken)

    def _numbers(self) -> dict[int, int]:
        """{key: number of its last lease}."""
        numbers: dict[int, int] = {}
        for path in self._leases.iterdir():
            if found := _NAME.fullmatch(path.name):
                key, taken = map(int, found.groups())
                numbers[key] = max(taken, numbers.get(key, 0))
        return numbers

    def _create(self, path: Path, holder: str, lease_s: float) -> None:
        """Create the file in one step, complete and with its time stamp: a link to a name that must not exist."""
        made = path.with_name(f".new-{uuid.uuid4().hex}")
        try:
            made.write_text(holder, encoding="utf-8")
            self._stamp(made, self.now() + lease_s)
            os.link(made, path)
        except FileExistsError:
            raise
        except OSError as error:
            raise unwritable(path, error) from error
        finally:
            made.unlink(missing_ok=True)

    @staticmethod
    def _stamp(path: Path, until: float) -> None:
        try:
            os.utime(path, (until, until))
        except OSError as error:
            raise unwritable(path, error) from error

    @staticmethod
    def _read(path: Path, taken: int) -> _Lease:
        try:
            return _Lease(path.read_text("utf-8", errors="replace")[:200], path.stat().st_mtime, taken)
        except OSError as error:
            raise unwritable(path, error) from error


def _remove_torn_line(path: Path) -> None:
    """Cut a file off after its last complete line."""
    try:
        content = path.read_bytes() if path.exists() else b""
        if not content.endswith(b"\n") and content:
            with path.open("r+b") as handle:
                handle.truncate(content.rfind(b"\n") + 1)
                os.fsync(handle.fileno())
    except OSError as error:
        raise unwritable(path, error) from error
