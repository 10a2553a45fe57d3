"""Ten checks of the machine and the installation, each with a fix for what it finds.

A check is a function without arguments that returns a `Check`; it never raises and never changes anything.
"""

from __future__ import annotations

import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from charloom.config import TextConfig
from charloom.distributed import read_launch
from charloom.distributed.checks import (
    Finding,
    check_interface,
    check_name,
    follow_checks,
    lead_checks,
    ports_hint,
)
from charloom.errors import RankError
from charloom.memory import free_bytes
from charloom.text import read_corpus
from charloom.threads import SPINS, available

MEETING_S = 30.0
"""How long the ranks of a check may take to meet."""

MIN_DISK_BYTES = 1 << 30
MIN_MEMORY_BYTES = 2 << 30
MIN_PYTHON = (3, 11)
_NO_BIDI = {"WT_SESSION": "Windows Terminal", "ALACRITTY_WINDOW_ID": "Alacritty", "KITTY_WINDOW_ID": "kitty"}
_BIDI_VTE = 5800  # since 0.58, VTE reorders right-to-left text


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: python, torch, device, threads, kernels, disk, encoding, right-to-left, extras or memory; of several
            ranks: launch, host name, interface, connection, clock, versions, processors, ranks or corpus.
        status: ok, warn or fail; only fail keeps charloom from working.
        says: the finding.
        fix: what to do; empty if there is nothing to do.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    says: str
    fix: str = ""


def run_checks() -> list[Check]:
    """Run every check, in the order in which a newcomer should read them.

    Example:
        >>> len(run_checks())
        10
    """
    return [check() for check in CHECKS]


def run_rank_checks(text: Sequence[str] = ()) -> list[Check]:
    """Check what goes wrong between the processes of a training: under torchrun, all of them take part.

    Only rank 0 returns what was compared; the others return nothing.

    Args:
        text: the sources of the text that the training will read, as in `jobs.new_job`; empty = compare none.
    """
    launch = read_launch()
    if launch is None:
        command = "torchrun --nproc-per-node 2 -m charloom doctor --distributed"
        fix = f"start it as the training will be, for example {command}"
        alone = Check(
            "launch", "warn", "torchrun did not start this process, so there is nothing to compare", fix
        )
        return [alone, Check(*check_name())]
    from charloom.distributed.ranks import Ranks

    own = [check_name(), check_interface(launch)]
    corpus = read_corpus(list(text), TextConfig()).sha256 if text else None
    try:
        with Ranks(launch, timeout_s=MEETING_S) as ranks:
            ranks.failures.announce()
            if launch.rank > 0:
                follow_checks(ranks, corpus, own)
                return []
            own += lead_checks(ranks, corpus)
    except RankError as error:
        own.append(Finding("connection", "fail", f"{error.what}: {error.why}", ports_hint(launch)))
    return [Check(*finding) for finding in own]


def check_python() -> Check:
    """Check that this Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < MIN_PYTHON:
        return Check("python", "fail", found, "install Python 3.11 or newer")
    return Check("python", "ok", f"{found}, {sys.executable}")


def check_torch() -> Check:
    """Check that torch is installed, new enough and importable."""
    found = _version("torch")
    if found is None:
        says = "not installed: the scratch engine trains, slower and without residual networks"
        return Check("torch", "warn", says, "pip install 'charloom[train]'")
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        fix = "pip install --force-reinstall torch"
        return Check("torch", "fail", f"{found} cannot be imported: {error}", fix)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if tuple(int(part) for part in found.split("+")[0].split(".")[:2]) < (2, 10):
        fix = "pip install -U 'charloom[train]'"
        return Check("torch", "warn", f"{found}, {build}: older than 2.10", fix)
    return Check("torch", "ok", f"{found}, {build}")


def check_device() -> Check:
    """Check which device training uses, and whether a GPU is left unused."""
    if find_spec("torch") is None:
        return Check("device", "ok", "cpu (a GPU needs torch)")
    try:
        torch = import_module("torch")
        if torch.cuda.is_available():
            return Check("device", "ok", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    except (ImportError, OSError, RuntimeError) as error:
        return Check("device", "warn", f"torch does not report it: {error}", "see the check of torch")
    if shutil.which("nvidia-smi"):
        fix = "install the CUDA build of torch: see pytorch.org"
        return Check("device", "warn", "cpu, although an NVIDIA driver is installed", fix)
    return Check("device", "ok", "cpu")


def check_threads() -> Check:
    """Check that the number of threads fits the cores, and report how charloom sets up OpenMP."""
    cores, total = available(), os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > cores:
        says = f"OMP_NUM_THREADS is {wanted}, but {cores} cores are available"
        return Check("threads", "warn", says, f"export OMP_NUM_THREADS={cores}")
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > 1.5 * total:
        says = f"{cores} cores, shared by {busy:.1f} processes"
        return Check("threads", "warn", says, "train when the machine is quieter")
    spins = f"GOMP_SPINCOUNT is set to {SPINS} unless you set it or OMP_WAIT_POLICY"
    return Check("threads", "ok", f"{cores} of {total} cores are available; {spins}")


def check_kernels() -> Check:
    """Check that the compiled kernels are here, and which processor level they use."""
    from charloom.errors import ConfigError
    from charloom.kernels.library import library

    try:
        compiled = library()
    except ConfigError as error:
        return Check("kernels", "fail", error.what, error.fix)
    if compiled is None:
        says = "not built for this platform, or left out by CHARLOOM_CPU=none: NumPy computes, slower"
        return Check(
            "kernels", "warn", says, "install charloom's wheel for this platform, or unset CHARLOOM_CPU"
        )
    return Check("kernels", "ok", f"compiled, level {compiled.level} of {', '.join(compiled.levels)}")


def check_disk() -> Check:
    """Check that a run fits on the disk of the current folder."""
    here = Path.cwd()
    try:
        free = shutil.disk_usage(here).free
    except OSError as error:
        says = f"the current folder cannot be read: {error}"
        return Check("disk", "fail", says, "change to another folder")
    if not _writable(here):
        return Check("disk", "warn", f"{here} cannot be written", "use --out DIR with a folder of yours")
    if free < MIN_DISK_BYTES:
        fix = "free some space, or use --out on another disk"
        return Check("disk", "warn", f"{free / 2**20:.0f} MiB free", fix)
    return Check("disk", "ok", f"{free / 2**30:.1f} GiB free")


def check_encoding() -> Check:
    """Check that the terminal and the locale use UTF-8, as charloom always does."""
    wanted = locale.getpreferredencoding(do_setlocale=False)
    named = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "none set"
    if "utf" not in wanted.lower() or (os.name != "nt" and "utf" not in named.lower()):
        fix = "chcp 65001" if os.name == "nt" else "export LC_ALL=C.UTF-8"
        says = f"locale {named}: charloom writes UTF-8, but the terminal may expect another encoding"
        return Check("encoding", "warn", says, fix)
    return Check("encoding", "ok", f"{wanted}, locale {named}")


def check_right_to_left() -> Check:
    """Check whether this terminal is known to reorder right-to-left text."""
    fix = "use charloom sample --html FILE for Arabic, Hebrew or Persian"
    terminal = next((name for key, name in _NO_BIDI.items() if os.environ.get(key)), None)
    if terminal is not None:
        return Check("right-to-left", "warn", f"{terminal} does not reorder right-to-left text", fix)
    vte = os.environ.get("VTE_VERSION", "")
    apple = os.environ.get("TERM_PROGRAM") == "Apple_Terminal"
    mlterm = os.environ.get("TERM", "").startswith("mlterm")
    if apple or mlterm or (vte.isdigit() and int(vte) >= _BIDI_VTE):
        return Check("right-to-left", "ok", "this terminal reorders right-to-left text")
    return Check("right-to-left", "warn", "this terminal may not reorder right-to-left text", fix)


def check_extras() -> Check:
    """Check which optional dependencies are installed."""
    extras = {"train": "torch", "plot": "matplotlib"}
    missing = [extra for extra, package in extras.items() if _version(package) is None]
    if missing:
        fix = f"pip install 'charloom[{','.join(missing)}]'"
        return Check("extras", "warn", f"not installed: {', '.join(missing)}", fix)
    found = ", ".join(f"{package} {_version(package)}" for package in extras.values())
    return Check("extras", "ok", found)


def check_memory() -> Check:
    """Check that there is enough memory to train, and report how charloom sets up the allocator."""
    free = free_bytes()
    if free is None:
        return Check("memory", "ok", "this system does not report how much is free")
    if free < MIN_MEMORY_BYTES:
        fix = "close other programs, lower --batch-size, or prepare the text"
        return Check("memory", "warn", f"{free / 2**30:.1f} GiB free", fix)
    kept = "; training on torch keeps up to 1 GiB of freed memory unless you set MALLOC_TRIM_THRESHOLD_"
    return Check("memory", "ok", f"{free / 2**30:.1f} GiB free{kept if sys.platform == 'linux' else ''}")


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_torch,
    check_device,
    check_threads,
    check_kernels,
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
