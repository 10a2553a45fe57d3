"""Fixtures for tests of compiled functions."""

import platform
import shutil
import sys
from pathlib import Path

import pytest

from charloom.kernels import crc32, linear_scan, masks, sha256, suffix_automaton, utf8
from tests.scripts import script

NATIVE = Path(__file__).parent / "native"


@pytest.fixture
def without_library(monkeypatch):
    """A call after which NumPy, or Python, computes in place of the compiled library."""

    def switch_off():
        for module in (crc32, linear_scan, masks, sha256, suffix_automaton, utf8):
            monkeypatch.setattr(module, "library", lambda: None)

    return switch_off


@pytest.fixture(scope="session")
def build_kernels():
    """The build script as a module."""
    return script("tools/build_kernels.py")


@pytest.fixture(scope="session")
def wasm_module(build_kernels, tmp_path_factory):
    """The WebAssembly module, built from these sources."""
    return build_kernels.build_wasm(tmp_path_factory.mktemp("wasm"))


@pytest.fixture(scope="session")
def driver(build_kernels, tmp_path_factory):
    """A function: (target, level) → the command line of the test driver there, or a skip with its reason."""
    made = {}

    def command(target, level, *, sanitize=False, defines=()):
        emulator = []
        if target == "linux-aarch64" and platform.machine() != "aarch64":
            emulator = [shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")]
            if emulator == [None]:
                pytest.skip("qemu-aarch64 is not installed: Debian has it in qemu-user")
        elif target != build_kernels.this_target() or sys.platform != "linux":
            pytest.skip(f"a program for {target} does not run here")
        key = target, level, sanitize, defines
        if key not in made:
            made[key] = tmp_path_factory.mktemp("driver") / "driver"
            flags = {"sanitize": sanitize, "defines": defines}
            build_kernels.build_program(NATIVE / "driver.c", target, level, made[key], **flags)
        return [*emulator, str(made[key])]

    return command
