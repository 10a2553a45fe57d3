"""The one writer of files: a reader finds the old content or all of the new, whatever ends the process or the power.

    part made → part written → part synced → renamed → folder synced       the named points of a write

A process that is killed leaves its ``.part`` file. The kernel then releases the lock on it, by which `sweep_parts` tells
it from one that is being written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from charloom.errors import RunError
from charloom.files.kernel_lock import is_free, wait_for

NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The disk or the quota is full, the file is larger than allowed, or nothing can be written."""

_PART = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


def reached(point: str) -> None:
    """Do nothing; the tests replace this function to end the process at a named point."""


def atomic_write(path: Path, data: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write a file so that a reader always finds either the old content or all of the new.

    The bytes go to a temporary file in the same folder, which is flushed, fsynced and renamed; then the folder is
    fsynced, so that the rename itself survives a power cut.

    Args:
        path: the final name; its folder must exist.
        data: bytes, text (written as UTF-8 with ``\\n`` line ends) or a function that writes to an open file.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    try:
        with _part_of(path) as (handle, name):
            reached("part made")
            _fill(handle, data)
            handle.flush()
            reached("part written")
            os.fsync(handle.fileno())
            reached("part synced")
            Path(name).chmod(0o666 & ~_umask())  # mkstemp makes the file private
            if (
                os.name == "nt"
            ):  # it renames closed files only; elsewhere, closing would release the lock too early
                handle.close()
            Path(name).replace(path)
        reached("renamed")
        _fsync_folder(path.parent)
        reached("folder synced")
    except OSError as error:
        raise unwritable(path, error) from error


def copy_file(old: Path, new: Path) -> None:
    """Copy a file as `atomic_write` writes one.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
        OSError: the old file cannot be read.
    """
    with old.open("rb") as source:
        atomic_write(new, lambda target: shutil.copyfileobj(source, target))


def append_line(path: Path, line: str) -> None:
    """Append a line to a log. A line that a crash has cut off before it stays a line of its own.

    The line is in the file when this returns, but survives a power cut only after `sync_file`.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        torn = path.exists() and not _ends_in_newline(path)
        with path.open("a", encoding="utf-8", newline="\n") as handle:
            handle.write(f"\n{line}\n" if torn else f"{line}\n")
        reached("line appended")
    except OSError as error:
        raise unwritable(path, error) from error


def sync_file(path: Path) -> None:
    """Make what was appended to a file, and its name in the folder, survive a power cut.

    Raises:
        RunError: the system reports that it cannot be stored.
    """
    try:
        with path.open("ab") as handle:
            os.fsync(handle.fileno())
        reached("log synced")
        _fsync_folder(path.parent)
        reached("log's folder synced")
    except OSError as error:
        raise unwritable(path, error) from error


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder for what the block writes; if the block fails, remove the folders made, unless they are in use.

    Raises:
        RunError: as `make_folder`.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        make_folder(folder)
        yield
    except BaseException:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, unless it exists, so that they survive a power cut.

    Raises:
        RunError: there is a file of that name, or the system refuses.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reached("folder made")
        for place in reversed(made):
            _fsync_folder(place.parent)
            reached("folder's parent synced")
    except OSError as error:
        raise unwritable(folder, error) from error


def replace_durably(path: Path, final: Path) -> None:
    """Rename a file that was written and fsynced, in the same file system, so that the rename survives a power cut.

    Raises:
        OSError: it cannot be renamed.
    """
    path.replace(final)
    reached("renamed")
    _fsync_folder(final.parent)
    reached("folder synced")


def sweep_parts(folder: Path) -> None:
    """Remove the ``.part`` files that dead writers have left in a folder; those that are being written stay."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _PART.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    if os.name == "nt":
        path.unlink()  # fails if it is open
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if is_free(descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def unwritable(path: Path | str, error: OSError) -> RunError:
    """The error for a file or folder that the system refuses to write."""
    fix = "choose a folder you can write to with --out, or free some disk space"
    return RunError(f"cannot write {path}", why=error.strerror or str(error), fix=fix)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _fill(handle: BinaryIO, data: bytes | str | Callable[[BinaryIO], None]) -> None:
    if callable(data):
        data(handle)
    else:
        handle.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def _part_of(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """An open temporary file in the same folder, locked while it is open; deleted afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    while not _locked(descriptor):  # swept between the two calls
        os.close(descriptor)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def _locked(descriptor: int) -> bool:
    """Lock a new file for as long as it is open; whether it still has its name."""
    wait_for(descriptor)
    return os.name == "nt" or os.fstat(descriptor).st_nlink > 0


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as handle:
        if handle.seek(0, 2) == 0:
            return True
        handle.seek(-1, 2)
        return handle.read(1) == b"\n"


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot fsync a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse; the rename is still valid
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
