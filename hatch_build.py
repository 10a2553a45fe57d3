"""Hatchling's hook: a wheel, or an editable install, gets the kernels of its platform."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


class KernelHook(BuildHookInterface[Any]):
    """Compile the kernels for this machine, or for the target that ``CHARLOOM_TARGET`` names.

    On a machine without a target, the wheel has none, and NumPy computes. Every wheel has the WebAssembly module, which
    exported pages run.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the files are collected."""
        del version
        spec = importlib.util.spec_from_file_location("build_kernels", ROOT / "tools" / "build_kernels.py")
        assert spec is not None
        assert spec.loader is not None
        kernels = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernels)
        name = os.environ.get("CHARLOOM_TARGET") or kernels.this_target()
        if name is not None and name not in kernels.TARGETS:
            raise SystemExit(
                f"CHARLOOM_TARGET is {name!r}; wheels are built for {', '.join(kernels.TARGETS)}"
            )
        self._add(build_data, kernels.build_wasm(kernels.KERNELS))
        if name is None:
            return
        self._add(build_data, kernels.build(name, kernels.KERNELS))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{kernels.TARGETS[name].tag}"

    def _add(self, build_data: dict[str, Any], path: Path) -> None:
        build_data["artifacts"].append(f"/{path.relative_to(ROOT).as_posix()}")
