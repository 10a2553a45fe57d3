"""What is never text: run folders and their files, version control, caches and hidden files.

A folder of texts often contains the runs that were trained on it, whose logs would be learnt by the next one.
"""

from __future__ import annotations

from pathlib import Path

_VERSION_CONTROL = {".git", ".hg", ".svn", ".bzr", ".jj", "CVS", "_darcs", "SCCS", "RCS"}
_CACHES = {"__pycache__", "node_modules"}
_CACHE_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")  # bford.info/cachedir, and Python's virtual environments
_RUN_CONFIG = "config.json"
_RUN_MARKS = ("events.jsonl", "checkpoints", "model.safetensors")
_RUN_FILES = {_RUN_CONFIG, "lock", *_RUN_MARKS}
_NUM_NAMED = 3


def is_run_folder(path: Path) -> bool:
    """Whether a folder is that of a training (see `charloom.runs`)."""
    return (path / _RUN_CONFIG).is_file() and any((path / mark).exists() for mark in _RUN_MARKS)


def reason_to_leave_out(path: Path) -> str | None:
    """Why a file or a folder that was found in a folder is not text, whatever its contents; None if it may be.

    Example:
        >>> reason_to_leave_out(Path(".git")), reason_to_leave_out(Path("poems"))
        ('version control', None)
    """
    if path.name in _VERSION_CONTROL:
        return "version control"
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        if path.is_symlink():
            return "links to folders"
        if path.name in _CACHES or any((path / mark).is_file() for mark in _CACHE_MARKS):
            return "caches"
        return "run folders" if is_run_folder(path) else None
    return reason_to_leave_out_named(path)


def reason_to_leave_out_named(path: Path) -> str | None:
    """Why a path that the user named, perhaps through the shell, is not text: it is a run folder, or part of one."""
    if is_run_folder(path):
        return "run folders"
    inside = path.name in _RUN_FILES and is_run_folder(path.parent)
    if inside or (path.parent.name == "checkpoints" and is_run_folder(path.parent.parent)):
        return "files of runs"
    return None


class LeftOut:
    """Collects what was left out, by reason.

    Example:
        >>> left_out = LeftOut()
        >>> left_out.add("hidden", ".DS_Store")
        >>> left_out.add("run folders", "runs/a")
        >>> left_out.note("tales")
        'tales: left out hidden (.DS_Store), run folders (runs/a)'
    """

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, reason: str, name: str) -> None:
        """Note one file or folder."""
        names = self._names.setdefault(reason, [])
        if name not in names:
            names.append(name)

    def merge(self, other: LeftOut, folder: Path) -> None:
        """Note what another collection found in a folder."""
        for reason, names in other._names.items():
            for name in names:
                self.add(reason, str(folder / name))

    def note(self, where: str) -> str:
        """A sentence with the reasons, and the first few names of each."""
        return f"{where}: left out {self}"

    def __str__(self) -> str:
        return ", ".join(f"{reason} ({_some(names)})" for reason, names in self._names.items())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED:,} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
