"""The memory that this process may still take, and the refusal of what does not fit, before it is taken.

    free = min(the machine's available memory, what each control group leaves, what RLIMIT_AS and RLIMIT_DATA leave)

Swap does not count: training from it is slower by orders of magnitude.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charloom.errors import OutOfMemoryError

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Control groups of version 1 write a number near 2⁶³ for no limit."""

_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@dataclass(frozen=True, slots=True)
class Need:
    """What something takes in memory, in bytes, by parts.

    Attributes:
        what: what needs it, such as "the training".
        parts: bytes by the name of the part.
        settings: what to change if a part is too large, by its name.
    """

    what: str
    parts: Mapping[str, int]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    def arithmetic(self) -> str:
        """The parts, largest first, as a sum.

        Example:
            >>> Need("x", {"weights": 4_000_000, "window": 2_100_000_000}).arithmetic()
            'window 2.1 GB + weights 4.0 MB'
        """
        largest = sorted(self.parts.items(), key=lambda part: -part[1])
        return " + ".join(f"{name} {shown_bytes(size)}" for name, size in largest if size)

    def check(self, free: int | None = None) -> Need:
        """Return it, or refuse it if it does not fit.

        Args:
            free: bytes; None = `free_bytes`. Where the system tells nothing, nothing is refused.

        Raises:
            OutOfMemoryError: with the arithmetic, and the setting that the largest part depends on.
        """
        free = free_bytes() if free is None else free
        if free is None or self.total <= free:
            return self
        largest = max(self.parts, key=lambda name: self.parts[name])
        raise OutOfMemoryError(
            f"{self.what} needs about {shown_bytes(self.total)} of memory and {shown_bytes(free)} are free",
            why=self.arithmetic(),
            fix=self.settings.get(largest, "free memory, or use a machine with more"),
        )


def shown_bytes(size: float) -> str:
    """A number of bytes with its unit.

    Example:
        >>> shown_bytes(2_100_000_000), shown_bytes(360_000)
        ('2.1 GB', '0.4 MB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def free_bytes() -> int | None:
    """Bytes that this process may still take; None where the system does not say."""
    known = [left for left in (_machine(), *_groups(), *_limits()) if left is not None]
    return max(0, min(known)) if known else None


def _machine() -> int | None:
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _groups() -> Iterator[int]:
    """What each control group of this process leaves, from its own up to the root; files that were read do not count."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers not in ("", "memory"):
            continue
        root, names = (CGROUPS, _V2) if controllers == "" else (CGROUPS / "memory", _V1)
        folder = root / path.strip("/")
        for place in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError, StopIteration):
                yield _left_in(place, names)
            if place == root:
                break


def _left_in(folder: Path, names: tuple[str, str, str]) -> int:
    """Bytes that one control group leaves; a ValueError if it has no limit."""
    most, used = (int((folder / name).read_text("ascii")) for name in names[:2])  # "max" is not a number
    if most >= UNLIMITED:
        raise ValueError
    entry = next(line for line in _lines(folder / "memory.stat") if line.startswith(f"{names[2]} "))
    return most - used + int(entry.split()[1])


def _limits() -> Iterator[int]:
    """What the limits of this process leave (`ulimit -v`, `ulimit -d`); every thread and library counts there."""
    try:
        import resource
    except ImportError:  # Windows
        return
    sizes = {
        line.partition(":")[0]: line.split()[1] for line in _lines(PROC / "self" / "status") if "kB" in line
    }
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY and name in sizes:
            yield most - 1024 * int(sizes[name])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
