"""Ten checks of the machine and the installation, each with what to do where it does not pass.

A check is a function without arguments that returns a `Check`; it never raises and never mends anything itself.
"""

from __future__ import annotations

import contextlib
import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from charloom.threads import available

MIN_DISK_BYTES = 1 << 30
MIN_MEMORY_BYTES = 2 << 30
MIN_PYTHON = (3, 11)
_NO_BIDI = {"WT_SESSION": "Windows Terminal", "ALACRITTY_WINDOW_ID": "Alacritty", "KITTY_WINDOW_ID": "kitty"}
_BIDI_VTE = 5800  # VTE reorders right-to-left text since 0.58


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: python, torch, device, threads, numba-cache, disk, encoding, right-to-left, extras or memory.
        status: ok, warn or fail; only fail keeps charloom from working.
        says: what was found.
        fix: what to do; empty where nothing is to be done.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    says: str
    fix: str = ""


def run_checks() -> list[Check]:
    """Make every check, in the order in which a newcomer should read them.

    Example:
        >>> len(run_checks())
        10
    """
    return [check() for check in CHECKS]


def check_python() -> Check:
    """Whether this Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < MIN_PYTHON:
        return Check("python", "fail", found, "install Python 3.11 or newer")
    return Check("python", "ok", f"{found}, {sys.executable}")


def check_torch() -> Check:
    """Whether torch is there, new enough and of a build that can be imported."""
    found = _version("torch")
    if found is None:
        return Check(
            "torch",
            "warn",
            "not installed: training takes the scratch engine, slower and without residual networks",
            "pip install 'charloom[train]'",
        )
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        return Check(
            "torch", "fail", f"{found} cannot be imported: {error}", "pip install --force-reinstall torch"
        )
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if tuple(int(part) for part in found.split("+")[0].split(".")[:2]) < (2, 10):
        return Check(
            "torch", "warn", f"{found}, {build}: older than 2.10", "pip install -U 'charloom[train]'"
        )
    return Check("torch", "ok", f"{found}, {build}")


def check_device() -> Check:
    """Where training will run, and whether a GPU stands idle."""
    if find_spec("torch") is None:
        return Check("device", "ok", "cpu (a GPU needs torch)")
    try:
        torch = import_module("torch")

        if torch.cuda.is_available():
            return Check("device", "ok", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    except (ImportError, OSError, RuntimeError) as error:
        return Check("device", "warn", f"cannot be asked: {error}", "see the check of torch")
    if shutil.which("nvidia-smi"):
        return Check(
            "device",
            "warn",
            "cpu, though an NVIDIA driver is here",
            "install the CUDA build of torch: see pytorch.org",
        )
    return Check("device", "ok", "cpu")


def check_threads() -> Check:
    """Whether the number of threads fits the cores."""
    cores = available()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > cores:
        return Check(
            "threads",
            "warn",
            f"OMP_NUM_THREADS is {asked}, {cores} cores are free to use",
            f"export OMP_NUM_THREADS={cores}",
        )
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > 1.5 * (os.cpu_count() or 1):
        return Check(
            "threads",
            "warn",
            f"{cores} cores, and {busy:.1f} processes want them",
            "train when the machine is quieter",
        )
    return Check("threads", "ok", f"{cores} of {os.cpu_count()} cores may be used")


def check_numba_cache() -> Check:
    """Whether compiled loops can be kept between processes."""
    if find_spec("numba") is None:
        return Check(
            "numba-cache", "warn", "numba is not installed: slower loops stand in", "pip install numba"
        )
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else Path(__file__).resolve().parent
    user = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    if any(_writable(place) for place in (folder, user)):
        return Check("numba-cache", "ok", f"numba {_version('numba')}, {folder}")
    return Check(
        "numba-cache",
        "warn",
        f"{folder} cannot be written: every start compiles anew",
        "set NUMBA_CACHE_DIR to a folder of yours",
    )


def check_disk() -> Check:
    """Whether a run has room here."""
    try:
        free = shutil.disk_usage(Path.cwd()).free
    except OSError as error:
        return Check(
            "disk", "fail", f"the current folder cannot be read: {error}", "change to another folder"
        )
    if not _writable(Path.cwd()):
        return Check(
            "disk", "warn", f"{Path.cwd()} cannot be written", "use --out DIR with a folder of yours"
        )
    if free < MIN_DISK_BYTES:
        return Check(
            "disk", "warn", f"{free / 2**20:.0f} MiB free", "make room, or use --out on another disk"
        )
    return Check("disk", "ok", f"{free / 2**30:.1f} GiB free")


def check_encoding() -> Check:
    """Whether the terminal and the locale speak UTF-8; charloom itself always does."""
    wanted = locale.getpreferredencoding(do_setlocale=False)
    named = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "none set"
    if "utf" not in wanted.lower() or (os.name != "nt" and "utf" not in named.lower()):
        fix = "chcp 65001" if os.name == "nt" else "export LC_ALL=C.UTF-8"
        return Check(
            "encoding", "warn", f"locale {named}: charloom writes UTF-8, the terminal may expect another", fix
        )
    return Check("encoding", "ok", f"{wanted}, locale {named}")


def check_right_to_left() -> Check:
    """Whether this terminal is known to put right-to-left text in order."""
    fix = "use charloom sample --html FILE for Arabic, Hebrew or Persian"
    terminal = next((name for key, name in _NO_BIDI.items() if os.environ.get(key)), None)
    if terminal is not None:
        return Check("right-to-left", "warn", f"{terminal} does not order right-to-left text", fix)
    vte = os.environ.get("VTE_VERSION", "")
    apple, mlterm = (
        os.environ.get("TERM_PROGRAM") == "Apple_Terminal",
        os.environ.get("TERM", "")[:6] == "mlterm",
    )
    if apple or mlterm or (vte.isdigit() and int(vte) >= _BIDI_VTE):
        return Check("right-to-left", "ok", "this terminal orders right-to-left text")
    return Check("right-to-left", "warn", "not known whether this terminal orders right-to-left text", fix)


def check_extras() -> Check:
    """Which optional parts are installed."""
    extras = {"train": "torch", "plot": "matplotlib"}
    missing = [extra for extra, package in extras.items() if _version(package) is None]
    there = ", ".join(f"{package} {found}" for package in extras.values() if (found := _version(package)))
    if missing:
        return Check(
            "extras", "warn", f"without {', '.join(missing)}", f"pip install 'charloom[{','.join(missing)}]'"
        )
    return Check("extras", "ok", there)


def check_memory() -> Check:
    """Whether there is memory to train in."""
    free = _free_memory()
    if free is None:
        return Check("memory", "ok", "this system does not say how much is free")
    if free < MIN_MEMORY_BYTES:
        return Check(
            "memory",
            "warn",
            f"{free / 2**30:.1f} GiB free",
            "close other programs, lower --batch-size, or prepare the text",
        )
    return Check("memory", "ok", f"{free / 2**30:.1f} GiB free")


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_torch,
    check_device,
    check_threads,
    check_numba_cache,
    check_disk,
    check_memory,
    check_encoding,
    check_right_to_left,
    check_extras,
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _free_memory() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
