"""Compile the kernels: one library with a variant for each processor level, for this machine or for another.

    python tools/build_kernels.py                          for this machine, into src/charloom/kernels
    python tools/build_kernels.py --target macos-arm64 --out build/macos-arm64
    python tools/build_kernels.py --target wasm            the module for browsers, src/charloom/kernels/charloom.wasm
    python tools/build_kernels.py --sanitize               every undefined operation ends the process

The compiler is ziglang's clang, a wheel that compiles for every target from any machine; no system compiler is needed.
The same files give the same bytes in every build.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "src" / "charloom" / "kernels"
NATIVE = KERNELS / "native"
HEADER = NATIVE / "charloom.h"


class Target(NamedTuple):
    """A platform: zig's name of it, the name of the library, the tag of a wheel, and compiler flags by level."""

    triple: str
    library: str
    tag: str
    levels: dict[str, str]


_X86 = {"base": "x86_64_v2", "v3": "x86_64_v3", "v4": "x86_64_v4", "vnni": "x86_64_v4+avx512vnni"}
_ARM = {"base": "generic", "dotprod": "generic+dotprod"}
_APPLE = {"base": "apple_m1", "dotprod": "apple_m1"}

TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "libcharloom.so", "manylinux_2_17_x86_64", _X86),
    "linux-aarch64": Target("aarch64-linux-gnu.2.17", "libcharloom.so", "manylinux_2_17_aarch64", _ARM),
    "macos-arm64": Target("aarch64-macos.11.0", "libcharloom.dylib", "macosx_11_0_arm64", _APPLE),
    "macos-x86_64": Target("x86_64-macos.11.0", "libcharloom.dylib", "macosx_11_0_x86_64", _X86),
    "windows-x86_64": Target("x86_64-windows-gnu", "charloom.dll", "win_amd64", _X86),
}

WASM = Target(
    "wasm32-wasi-musl",  # for its headers; nothing of it is linked
    "charloom.wasm",
    "",
    {"base": "generic+simd128+bulk_memory+nontrapping_fptoint+sign_ext"},
)
"""The module for browsers has the portable flavour only."""

PROGRAM_TRIPLES = {"linux-aarch64": "aarch64-linux-musl"}
"""Programs for tests that run in an emulator are static."""

FLAVOURS = {
    "f32": ["-ffp-contract=fast-honor-pragmas"],
    "f32p": ["-ffp-contract=off"],
    "f64": ["-ffp-contract=fast-honor-pragmas", "-DDOUBLE"],
}
"""Compiler flags of each flavour: float32, float32 with portable rounding, float64."""

_FLAGS = [
    "-std=c11",
    "-O3",
    "-g0",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-function",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
]


def this_target() -> str | None:
    """The name of this machine's target; None if there is none."""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform)
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    name = f"{system}-{'arm64' if system == 'macos' and machine == 'aarch64' else machine}"
    if system == "linux" and "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or ""):
        return None
    return name if name in TARGETS else None


def header_hash() -> str:
    """What the library and Python compare: the hash of the list of functions."""
    return _hash([HEADER])


def source_hash() -> str:
    """The hash of every file that the library is compiled from; a test compares it in a checkout."""
    return _hash(sorted(NATIVE.iterdir()))


def _hash(paths: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()


def build(name: str, out: Path, *, sanitize: bool = False) -> Path:
    """Compile the library for a target into the folder `out`; return its path."""
    target = TARGETS[name]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        jobs = [
            (level, flavour, work / f"{flavour}-{level}.o") for level in target.levels for flavour in FLAVOURS
        ]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda job: _compile(target, *job, sanitize=sanitize), jobs))
        levels = " ".join(target.levels)
        hashes = [f'-DHEADER_HASH="{header_hash()}"', f'-DSOURCE_HASH="{source_hash()}"']
        defines = [*hashes, f'-DLEVELS="{levels}"']
        loader = work / "loader.o"
        _run([*_zig(target, "base"), *_FLAGS, *_pic(target), *defines, "-c", "loader.c", "-o", str(loader)])
        library = work / target.library
        objects = [str(loader), *(str(job[2]) for job in jobs)]
        extra = ["-fsanitize=undefined"] if sanitize else []
        if "macos" in target.triple:  # a library holds its own name, else the path that it was linked at
            extra.append(f"-Wl,-install_name,@rpath/{target.library}")
        math = [] if "windows" in target.triple else ["-lm"]
        _run([*_zig(target, "base"), "-shared", "-s", *extra, *objects, "-o", str(library), *math])
        return _put_in_place(library, out / target.library)


def build_wasm(out: Path) -> Path:
    """Compile the WebAssembly module into the folder `out`; return its path."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        compiled, module = Path(folder) / "wasm.o", Path(folder) / WASM.library
        flags = [*_FLAGS, *FLAVOURS["f32p"], "-fno-sanitize=undefined", f'-DHEADER_HASH="{header_hash()}"']
        _run([*_zig(WASM, "base"), *flags, "-c", "wasm.c", "-o", str(compiled)])
        linking = ["-nostdlib", "-s", "-Wl,--no-entry", "-Wl,--export-memory", "-Wl,-z,stack-size=65536"]
        _run([*_zig(WASM, "base"), *linking, str(compiled), "-o", str(module)])
        return _put_in_place(module, out / WASM.library)


def _put_in_place(built: Path, path: Path) -> Path:
    """Replace a file in one step: a process that has mapped the old library goes on with it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    fresh.write_bytes(built.read_bytes())
    fresh.replace(path)
    return path


def build_program(
    source: Path, name: str, level: str, place: Path, *, sanitize: bool = False, defines: Sequence[str] = ()
) -> None:
    """Compile a test program that includes `library.c`, in the portable flavour, for a level of a target."""
    triple, link = TARGETS[name].triple, ["-fsanitize=undefined"] if sanitize else []
    if name in PROGRAM_TRIPLES:
        triple, link = PROGRAM_TRIPLES[name], [*link, "-static", "-s"]
    target = TARGETS[name]._replace(triple=triple)
    names = [f"-D{name}" for name in ("SUFFIX=f32p", f"LEVEL={level}", *defines)]
    flags = [*_FLAGS, *FLAVOURS["f32p"], *names, f"-I{NATIVE}", *_checks(sanitize)]
    with tempfile.TemporaryDirectory() as folder:
        compiled = str(Path(folder) / "program.o")
        _run([*_zig(target, level), *flags, "-c", str(source), "-o", compiled])
        _run([*_zig(target, "base"), *link, compiled, "-o", str(place), "-lm"])  # one libc for all levels


def _checks(sanitize: bool) -> list[str]:
    if sanitize:
        return ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    return ["-fno-sanitize=undefined"]


def _zig(target: Target, level: str) -> list[str]:
    return [sys.executable, "-m", "ziglang", "cc", "-target", target.triple, f"-mcpu={target.levels[level]}"]


def _pic(target: Target) -> list[str]:
    return [] if "windows" in target.triple else ["-fPIC"]


def _compile(target: Target, level: str, flavour: str, place: Path, *, sanitize: bool) -> None:
    names = [f"-DSUFFIX={flavour}", f"-DLEVEL={level}"]
    flags = [*_FLAGS, *_pic(target), *FLAVOURS[flavour], *names, *_checks(sanitize)]
    _run([*_zig(target, level), *flags, "-c", "library.c", "-o", str(place)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", choices=[*TARGETS, "wasm"], default=this_target())
    parser.add_argument("--out", type=Path, default=KERNELS)
    parser.add_argument("--sanitize", action="store_true")
    asked = parser.parse_args()
    if asked.target is None:
        raise SystemExit("there is no target for this machine: charloom computes with NumPy here")
    if asked.target == "wasm":
        path, levels = build_wasm(asked.out), WASM.levels
    else:
        path = build(asked.target, asked.out, sanitize=asked.sanitize)
        levels = TARGETS[asked.target].levels
    print(f"{path}: {path.stat().st_size:,} bytes, levels {' '.join(levels)}")


if __name__ == "__main__":
    main()
