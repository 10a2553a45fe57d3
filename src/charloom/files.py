"""Files that survive a crash: atomic writes, content hashes, one writer at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from charloom.errors import RunError

_CHUNK = 1 << 20


def atomic_write(path: Path, data: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write a file so that a reader, at any moment, finds the old content or the new, never a part.

    The bytes go to a temporary name in the same folder, are flushed and fsynced, take the final name in one
    rename, and the folder is fsynced so that the rename itself survives a power cut.

    Args:
        path: the final name; its folder must exist.
        data: bytes, text (written as UTF-8 with ``\\n`` line ends) or a function that writes to an open file.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    try:
        with _temporary_beside(path) as (handle, name):
            _fill(handle, data)
            handle.flush()
            os.fsync(handle.fileno())
            handle.close()
            Path(name).chmod(0o666 & ~_umask())  # mkstemp lets nobody else read
            Path(name).replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        RunError: a file is in its place, or the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a file or folder that the system refuses to write."""
    return RunError(
        f"cannot write {path}",
        why=error.strerror or str(error),
        fix="choose a folder you may write to with --out, or make room on the disk",
    )


def _fill(handle: BinaryIO, data: bytes | str | Callable[[BinaryIO], None]) -> None:
    if callable(data):
        data(handle)
    else:
        handle.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """An open temporary file in the same folder; gone afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to flush
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the rename stands all the same
        pass
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits, in bounded memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Lock:
    """One writer a folder: a lock file holding process id, host and boot, taken over when its holder is gone.

    Args:
        path: the lock file.

    Raises:
        RunError: (on entering) a living process holds it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Lock(Path(folder) / "lock"):
        ...     (Path(folder) / "lock").exists()
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> Lock:
        for _ in range(2):  # the second turn comes after a dead holder's file was removed
            try:
                with self.path.open("x", encoding="utf-8") as handle:
                    json.dump(_holder(), handle)
                return self
            except FileExistsError:
                self._remove_if_stale()
            except OSError as error:
                raise unwritable(self.path, error) from error
        raise RunError(
            f"{self.path.parent} is in use", why="another process took its lock", fix="wait for it to end"
        )

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _remove_if_stale(self) -> None:
        try:
            holder = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            holder = None
        if isinstance(holder, dict) and _alive(holder):
            raise RunError(
                f"{self.path.parent} is in use by process {holder['pid']} on {holder.get('host')}",
                why="two processes writing one run folder would destroy it",
                fix=f"wait for it to end, or remove {self.path} if you know that it is gone",
            )
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def _holder() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot_id()}


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _alive(holder: dict[str, object]) -> bool:
    """Whether the lock's holder may still run; a holder on another host always may."""
    pid = holder.get("pid")
    if type(pid) is not int:  # not a bool either
        return False
    if holder.get("host") != socket.gethostname():
        return True
    if holder.get("boot") != _boot_id() or pid == os.getpid():
        return False
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
