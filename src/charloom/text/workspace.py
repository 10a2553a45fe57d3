"""The work folder of a preparation, beside the file that it will write: what a killed one has done is taken up again.

    .NAME.prepare/lock               which process works here
    .NAME.prepare/state.json         how far it has come, and what for; replaced as a whole
    .NAME.prepare/ROLE.numbers       the provisional numbers of each part
    .NAME.prepare/result             the file itself, until it is renamed

The folder goes when the work is done or has failed with an error that would come again. It stays after a signal, and on
a full disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from charloom.errors import CharloomError
from charloom.files import (
    NOT_WRITTEN,
    Lock,
    atomic,
    atomic_write,
    boot_id,
    json_text,
    make_folder,
    replace_durably,
    unwritable,
)
from charloom.schema import json_value

EVERY_BYTES = 1 << 26
"""Bytes of text between two states: what a killed preparation reads again."""

_STATE, _LOCK, _RESULT = "state.json", "lock", "result"


class Workspace:
    """The work folder of a file to be written; entering it takes its lock.

    Args:
        out: the file to write, in a folder that exists.
        job: what decides the result: settings, sources and their stamps. None: nothing can be taken up.

    Raises:
        RunError: another process prepares the same file, or the folder cannot be written.
    """

    def __init__(self, out: Path, job: Mapping[str, Any] | None) -> None:
        self._out, self._folder = out, out.parent / f".{out.name}.prepare"
        self._lock = Lock(self._folder / _LOCK)
        self._job = (
            None if job is None else hashlib.sha256(json_text(job, sort_keys=True).encode()).hexdigest()
        )
        self._spools: dict[str, BinaryIO] = {}
        self._state: dict[str, Any] | None = None

    def __enter__(self) -> Workspace:
        if not self._out.parent.is_dir():
            raise unwritable(self._out, FileNotFoundError(2, "its folder does not exist"))
        make_folder(self._folder)
        self._lock.__enter__()
        self._state = self._found() if self._job is not None else None
        if self._state is None:
            self._clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spool in self._spools.values():
            with contextlib.suppress(
                OSError
            ):  # what a full disk did not take is written again at the next attempt
                spool.close()
        is_full = _is_full(error)
        failed = isinstance(error, CharloomError) and not is_full  # the next attempt would fail too
        is_over = error is None or failed or not (self._folder / _STATE).exists()
        if is_over:
            self._clear()
        (self._folder / _RESULT).unlink(missing_ok=True)
        self._lock.__exit__(kind, error, trace)
        if is_over:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
        if is_full and isinstance(error, OSError):
            raise unwritable(self._out, error) from error

    @property
    def state(self) -> dict[str, Any] | None:
        """What a killed preparation of the same job wrote down last; None if there was none."""
        return self._state

    def start_over(self) -> None:
        """Forget what was done before."""
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()
        self._state = None
        self._clear()

    def spool(self, role: str) -> BinaryIO:
        """The file of a part's provisional numbers: empty, or with what is in it if work is taken up."""
        mode = "r+b" if self._state is not None and role in self._state["spools"] else "w+b"
        try:
            self._spools[role] = cast("BinaryIO", (self._folder / f"{role}.numbers").open(mode))
        except OSError as error:
            raise unwritable(self._out, error) from error
        return self._spools[role]

    def save(self, encoder: Mapping[str, Any]) -> None:
        """Write down how far the work has come; nothing if it cannot be taken up."""
        if self._job is None or encoder["digest"] is None:
            return
        spools = {}
        for role, spool in self._spools.items():
            spool.flush()
            if not boot_id():  # then a power cut cannot be told from a kill
                os.fsync(spool.fileno())
            spools[role] = spool.tell()
        document = {"job": self._job, "boot": boot_id(), "spools": spools, "encoder": encoder}
        text = json_text(document)
        atomic_write(self._folder / _STATE, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")

    def finish(self, write: Callable[[BinaryIO], None]) -> None:
        """Write the result and put it in its place, complete or not at all.

        Raises:
            RunError: it cannot be written.
        """
        result = self._folder / _RESULT
        try:
            with result.open("w+b") as handle:
                write(handle)
                handle.flush()
                atomic.reached("result written")
                os.fsync(handle.fileno())
                atomic.reached("result synced")
            replace_durably(result, self._out)
        except OSError as error:
            raise unwritable(self._out, error) from error

    def _found(self) -> dict[str, Any] | None:
        """The state, if it is whole, of this job, and its numbers were not lost with a power cut."""
        try:
            digest, _, text = (self._folder / _STATE).read_bytes().partition(b"\n")
            if hashlib.sha256(text).hexdigest().encode() != digest:
                return None
            document: dict[str, Any] = json_value(text)
            if document["job"] != self._job or document["boot"] != boot_id():
                return None
            for role, size in document["spools"].items():
                if (self._folder / f"{role}.numbers").stat().st_size < size:
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return document

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_full(error: BaseException | None) -> bool:
    """Whether the disk was full, so that the work can go on when there is room."""
    cause = error.__cause__ if isinstance(error, CharloomError) else error
    return isinstance(cause, OSError) and cause.errno in NOT_WRITTEN
