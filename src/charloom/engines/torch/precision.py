"""``precision = "bfloat16"`` rounds the factors of matrix products, never weights, sums, states or losses.

A GPU runs the forward pass in torch's autocast. A CPU that multiplies tiles of bfloat16 (Intel's AMX) rounds the
factors of every float32 product internally and sums in float32: tensors stay float32 (except inside `muon`, which
iterates in bfloat16), and the compiled loops stay in use; the time steps of a window round their own factors
(`cpu.gemm`). Any other CPU computes as with float32: without tiles, oneDNN multiplies float32 too, a tenth slower
than torch's usual product.

Source: torch.backends, ``fp32_precision``; oneDNN's guide to floating-point math modes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch

from charloom.kernels.library import library


def autocast(device: torch.device, *, wanted: bool) -> AbstractContextManager[object]:
    """Round inside this block unless the device is a CPU; torch rounds the backward pass like the forward pass."""
    if not wanted or device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def tiles(device: torch.device, *, wanted: bool) -> Iterator[None]:
    """Round inside this block, in every thread of the process, if the device is a CPU with tiles."""
    if not (wanted and device.type == "cpu" and has_tiles()):
        yield
        return
    settings = _settings()
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def in_tiles() -> bool:
    """Whether products on the CPU are being rounded now."""
    return bool(_settings().fp32_precision == "bf16")


def is_native(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    return device.type == "cuda" or (device.type == "cpu" and has_tiles())


@cache
def has_tiles() -> bool:
    """Whether this CPU multiplies tiles of bfloat16, in oneDNN and in the compiled kernels if they are here."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    compiled = library()
    return bool(onednn and torch.cpu._is_amx_tile_supported() and (compiled is None or compiled.has_tiles()))


def _settings() -> Any:
    """The settings of oneDNN for matrix products, shared by the whole process."""
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
