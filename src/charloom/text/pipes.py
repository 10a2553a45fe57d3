"""Texts that can be read only once: standard input and named pipes. They are kept in memory, or on disk if long."""

from __future__ import annotations

import os
import select
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, cast

from charloom.errors import DataError

_SPOOL = 1 << 26  # bytes kept in memory before they go to a temporary file
_BLOCK = 1 << 20
_PATIENCE_S = 10.0  # for a program that writes to a named pipe to begin
_LOOK_EVERY_S = 0.05


def can_be_read_once(source: str | Path) -> bool:
    """Whether a source is standard input, ``-``, or a pipe such as ``<(command)``, whose text is gone once it is read."""
    return str(source) == "-" or Path(source).is_fifo()


def unreadable(name: str, error: OSError) -> DataError:
    """The error for a file that the system refuses to read."""
    why = error.strerror or str(error)
    return DataError(f"cannot read {name}", why=why, fix="check the file's permissions and its disk")


def spooled_stream(stream: BinaryIO) -> BinaryIO:
    """Standard input, kept so that it can be read twice."""
    spool = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - `SourceText.pieces` closes it
    shutil.copyfileobj(stream, spool, _BLOCK)
    return cast("BinaryIO", spool)


def spooled_pipe(path: Path) -> BinaryIO:
    """A named pipe, such as ``<(command)``: like standard input, it can be read only once.

    Raises:
        DataError: it is a device or a socket, nothing is written to it, or the system refuses.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISFIFO(mode):
            raise _no_text(path, mode)
        if sys.platform == "win32":
            with path.open("rb") as pipe:
                return spooled_stream(pipe)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            first = _first_bytes(path, descriptor)
            os.set_blocking(descriptor, True)
            spool = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - `SourceText.pieces` closes it
            spool.write(first)
            shutil.copyfileobj(pipe, spool, _BLOCK)
            return cast("BinaryIO", spool)
    except OSError as error:
        raise unreadable(str(path), error) from error


def _first_bytes(path: Path, descriptor: int) -> bytes:
    """What is first written to a pipe; waits for a program to open it, and then as long as that takes.

    A read returns nothing while no program has the pipe open, and would block while one has.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if data := os.read(descriptor, _BLOCK):
                return data
        except BlockingIOError:
            select.select([descriptor], [], [])
            return os.read(descriptor, _BLOCK)
        time.sleep(_LOOK_EVERY_S)
    raise DataError(
        f"nothing was written to the pipe {path}",
        why=f"no program opened it within {_PATIENCE_S:g} seconds",
        fix="start the program that writes to it first, or pass a file",
    )


def _no_text(path: Path, mode: int) -> DataError:
    what = "a socket" if stat.S_ISSOCK(mode) else "a device"
    return DataError(
        f"{path} is {what}, not a text",
        why="a text is a file, a folder, a named pipe or standard input",
        fix="pass a file, or pipe what it gives and write - in its place: head -c 1000000 … | charloom …",
    )
