"""Build what a release consists of, from this one machine: a wheel for each platform, the sdist, the WebAssembly module.

    python tools/build_wheels.py                          everything, into dist
    python tools/build_wheels.py --target linux-aarch64   one platform's wheel
    python tools/build_wheels.py --check                  everything twice in different folders, compared byte for byte;
                                                          the second time without the compiler's cache: some minutes

It needs `build`, `hatchling` and `ziglang` in this environment, at the versions of constraints.txt: other versions make
other bytes. The tracked files are copied, so a build neither reads nor writes anything else in the checkout. Wheels are
built from the unpacked sdist. File times are those of the last commit, or SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build_kernels  # noqa: E402

LARGEST_WHEEL = 3_000_000
MAGIC = {".so": (b"\x7fELF",), ".dylib": (b"\xcf\xfa\xed\xfe",), ".dll": (b"MZ",)}
LIBRARIES = {target.library for target in build_kernels.TARGETS.values()}
NATIVE = "charloom/kernels/native/"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", choices=[*build_kernels.TARGETS, "wasm"], action="append")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    check_tools()
    targets = asked.target or [*build_kernels.TARGETS, "wasm"]
    with tempfile.TemporaryDirectory(prefix="charloom-build-") as folder:
        checkout = Path(folder) / "checkout"  # also the second build's, whatever changes meanwhile
        copy_tracked(checkout)
        os.environ["SOURCE_DATE_EPOCH"] = commit_time()
        found = build_all(targets, checkout, asked.out.resolve())
        for path in found:
            print(f"{_sha256(path)}  {path.stat().st_size:>9,}  {path.name}", flush=True)
        if asked.check:
            os.environ["ZIG_GLOBAL_CACHE_DIR"] = f"{folder}/cache"  # or nothing would be compiled again
            again = shutil.copytree(checkout, Path(folder) / "another" / "place")
            if differing := differences(found, build_all(targets, again, Path(folder) / "again")):
                raise SystemExit(f"the second build has other bytes: {', '.join(differing)}")
            print("the second build has the same bytes")


def check_tools() -> None:
    """Stop if a build tool is missing."""
    missing = [name for name in ("build", "hatchling", "ziglang") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"{' and '.join(missing)} cannot be imported: pip install -c constraints.txt build hatchling ziglang"
        )


def build_all(targets: Sequence[str], checkout: Path, out: Path) -> list[Path]:
    """Build the sdist and the targets' wheels, or the module, into `out`; check each wheel; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    found = [sdist := _build("--sdist", checkout, out)]
    for name in targets:
        if name == "wasm":
            found.append(build_kernels.build_wasm(out))
            continue
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(sdist) as archive:
                archive.extractall(folder, filter="data")
            (source,) = Path(folder).iterdir()
            found.append(_build("--wheel", source, out, CHARLOOM_TARGET=name))
        if problems := problems_of(found[-1], name):
            raise SystemExit(f"{found[-1].name}: {'; '.join(problems)}")
    return found


def commit_time() -> str:
    """SOURCE_DATE_EPOCH, else the time of the last commit in seconds, else 2020-02-02 as in hatchling."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "1580601600"


def copy_tracked(place: Path) -> None:
    """Copy the tracked files, as they are now; every file if this is no checkout."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.copytree(
            ROOT, place, ignore=shutil.ignore_patterns("dist", ".venv", "__pycache__", *LIBRARIES)
        )
        return
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)


def _build(kind: str, source: Path, out: Path, **more: str) -> Path:
    """Run ``python -m build`` in a folder of its own, and move the one file that it makes to `out`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", folder, str(source)]
        done = subprocess.run(command, env=os.environ | more, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        (made,) = Path(folder).iterdir()
        return Path(shutil.copy(made, out / made.name))


def differences(first: Sequence[Path], second: Sequence[Path]) -> list[str]:
    """The names of files that are not in both, or whose bytes differ."""
    one, two = ({path.name: _sha256(path) for path in paths} for paths in (first, second))
    return sorted(name for name in one | two if one.get(name) != two.get(name))


def problems_of(wheel: Path, name: str) -> list[str]:
    """What is wrong with a target's wheel: its size, name, library, header, or RECORD."""
    target, problems = build_kernels.TARGETS[name], []
    if wheel.stat().st_size > LARGEST_WHEEL:
        problems.append(f"it has {wheel.stat().st_size:,} bytes, more than {LARGEST_WHEEL:,}")
    if not wheel.name.endswith(f"-py3-none-{target.tag}.whl"):
        problems.append(f"its name does not end in -py3-none-{target.tag}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        libraries = [entry for entry in names if Path(entry).suffix in (*MAGIC, ".pyd", ".o")]
        modules = [entry for entry in names if entry.endswith(".wasm")]
        if libraries != [f"charloom/kernels/{target.library}"] or modules != [
            "charloom/kernels/charloom.wasm"
        ]:
            problems.append(f"its libraries are {[*libraries, *modules]}")
        elif not archive.read(libraries[0]).startswith(MAGIC[Path(target.library).suffix]):
            problems.append(f"{target.library} is for another system")
        native = [entry for entry in names if entry.startswith(NATIVE)]
        if native != [f"{NATIVE}charloom.h"]:
            problems.append(f"of the C files it should have charloom.h only, and has {native}")
        problems += _record_problems(archive)
    return problems


def _record_problems(archive: zipfile.ZipFile) -> list[str]:
    """Entries that RECORD does not list as they are."""
    (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
    rows = [line.rsplit(",", 2) for line in archive.read(record).decode().splitlines()]
    listed = {name: (digest, size) for name, digest, size in rows}
    problems = [f"{name} is in RECORD only" for name in listed if name not in archive.namelist()]
    for name in archive.namelist():
        data = archive.read(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        expected = ("", "") if name == record else (f"sha256={digest}", str(len(data)))
        if listed.get(name) != expected:
            problems.append(f"RECORD does not list {name} as it is")
    return problems


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
