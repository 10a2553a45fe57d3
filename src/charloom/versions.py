"""What the bytes of a result depend on: the versions of the libraries, and the processor."""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from charloom import __version__


def versions() -> dict[str, str]:
    """Return the versions and the processor that results depend on."""
    found = {"charloom": __version__, "python": platform.python_version(), "machine": platform.machine()}
    if name := _processor():
        found["processor"] = name
    for package in ("numpy", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    """The processor's name; empty where the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
