"""The energy that the processor uses, read from Linux's RAPL counters (``/sys/class/powercap``).

A counter holds microjoules and returns to zero after ``max_energy_range_uj``. The packages of all sockets are added; their
subdomains (cores, graphics) are parts of them. Most systems let only root read the counters, and most virtual machines
have none.

Source: Linux kernel, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"[a-z]+-rapl:\d+")  # intel-rapl also counts AMD's; `:0:1` would be a subdomain


def read_counters(folder: Path = POWERCAP) -> dict[Path, int]:
    """The counters of all packages in microjoules; empty if there are none, or none that this user may read."""
    found = {}
    for package in sorted(folder.glob("*")):
        if _PACKAGE.fullmatch(package.name):
            value = _number(package / "energy_uj")
            if value is not None:
                found[package] = value
    return found


def joules_between(before: Mapping[Path, int], after: Mapping[Path, int]) -> float | None:
    """Energy used between two readings; None without counters. A counter that has started again is understood.

    Example:
        >>> joules_between({Path("intel-rapl:0"): 1_000_000}, {Path("intel-rapl:0"): 4_500_000})
        3.5
    """
    if not before or before.keys() != after.keys():
        return None
    total = 0
    for package, value in after.items():
        rise = value - before[package]
        if rise < 0:
            span = _number(package / "max_energy_range_uj")
            if span is None:
                return None
            rise += span
        total += rise
    return total / 1e6


def _number(path: Path) -> int | None:
    """The whole number in a small file of the kernel."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() and len(text) < 20 else None
