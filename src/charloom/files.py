"""Crash-safe files: atomic writes, content hashes, one writer at a time."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, BinaryIO

from charloom.errors import RunError
from charloom.schema import Schema, json_value
from charloom.schema.documents import Holder

_HOLDER = Schema(Holder, lambda what, why: RunError(what, why=why, fix="remove the file"))


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
        with _temporary_for(path) as (handle, name):
            _fill(handle, data)
            handle.flush()
            os.fsync(handle.fileno())
            handle.close()
            Path(name).chmod(0o666 & ~_umask())  # mkstemp makes the file private
            Path(name).replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def copy_file(old: Path, new: Path) -> None:
    """Copy a file as `atomic_write` writes one."""
    with old.open("rb") as source:
        atomic_write(new, lambda target: shutil.copyfileobj(source, target))


def text_of_file(path: Path | Traversable) -> str:
    """The text of a small file that people or programs write: a recipe, a configuration, a log.

    It is UTF-8, or UTF-16 if it begins with that byte-order mark, as what Windows' older shells redirect to a file
    does. The mark is dropped.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is neither UTF-8 nor marked as UTF-16.
    """
    data = path.read_bytes()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig")


def json_text(value: object, **options: Any) -> str:
    """A value as JSON that can be written as UTF-8, with its characters as they are.

    The bytes of a file name that are not UTF-8 (lone surrogates, PEP 383) are escaped, and a reader gets them back.

    Example:
        >>> json_text({"sources": ["caf\\udce9", "café"]})
        '{"sources": ["caf\\\\udce9", "café"]}'
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


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
    """Make a folder and its parents, unless it exists.

    Raises:
        RunError: there is a file of that name, or the system refuses.
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
    fix = "choose a folder you can write to with --out, or free some disk space"
    return RunError(f"cannot write {path}", why=error.strerror or str(error), fix=fix)


def _fill(handle: BinaryIO, data: bytes | str | Callable[[BinaryIO], None]) -> None:
    if callable(data):
        data(handle)
    else:
        handle.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def _temporary_for(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """An open temporary file in the same folder; deleted afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def replace_durably(path: Path, final: Path) -> None:
    """Rename a file that was written and fsynced, in the same file system, so that the rename survives a power cut.

    Raises:
        OSError: it cannot be renamed.
    """
    path.replace(final)
    _fsync_folder(final.parent)


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot fsync a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse; the rename is still valid
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits, in bounded memory."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class Lock:
    """One writer per folder: a lock file with process id, host and boot id, taken over if its holder has ended.

    Raises:
        RunError: (on entering) a running process holds it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Lock(Path(folder) / "lock"):
        ...     (Path(folder) / "lock").exists()
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> Lock:
        for _ in range(2):  # the second attempt follows the removal of a stale lock file
            try:
                with self.path.open("x", encoding="utf-8") as handle:
                    json.dump(_holder(), handle)
                return self
            except FileExistsError:
                self._remove_if_stale()
            except OSError as error:
                raise unwritable(self.path, error) from error
        why, fix = "another process took its lock", "wait for it to end"
        raise RunError(f"{self.path.parent} is in use", why=why, fix=fix)

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

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


def _holder() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot": boot_id()}


def boot_id() -> str:
    """What identifies the time since this machine was started; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _alive(holder: Holder) -> bool:
    """Whether the lock's holder may still be running; on another host, always."""
    pid = holder.pid
    if holder.host != socket.gethostname():
        return True
    if holder.boot != boot_id() or pid == os.getpid():
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
