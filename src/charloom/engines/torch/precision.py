"""``precision = "bfloat16"`` rounds the factors of matrix products, never weights, sums, states or losses.

A GPU runs the forward pass in torch's autocast. On a CPU that multiplies bfloat16 fast, tensors stay float32 (except
inside `muon`, which iterates in bfloat16) and the compiled loops stay in use; products round their factors and sum in
float32. With tiles (Intel's AMX), oneDNN rounds the large ones and `cpu.gemm` those of the time steps. With AVX-512's
dot products of pairs (AMD from Zen 4 on, Intel's Cooper Lake), oneDNN would compute in float32, so `cpu.gemm` multiplies
them all. Any other CPU computes as with float32.

Source: torch.backends, ``fp32_precision``; oneDNN's guide to floating-point math modes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch

from charloom.kernels.library import library

IN_C, IN_AMX, IN_DOTS = 1, 2, 3
"""How the compiled kernels multiply rounded factors: `Window.tiles`."""

_rounding = 0


def autocast(device: torch.device, *, wanted: bool) -> AbstractContextManager[object]:
    """Round inside this block unless the device is a CPU; torch rounds the backward pass like the forward pass."""
    if not wanted or device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def rounded_products(device: torch.device, *, wanted: bool) -> Iterator[None]:
    """Round inside this block, in every thread of the process, if the device is a CPU that gains from it."""
    global _rounding
    if not (wanted and device.type == "cpu" and fast_way()):
        yield
        return
    settings = _settings()
    before, kept = settings.fp32_precision, _rounding
    _rounding = fast_way()
    if _rounding == IN_AMX:
        settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision, _rounding = before, kept


def rounding() -> int:
    """How products on the CPU round their factors now, IN_AMX or IN_DOTS; 0 if they do not."""
    return _rounding


def is_native(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    return device.type == "cuda" or (device.type == "cpu" and fast_way() != 0)


@cache
def fast_way() -> int:
    """How this CPU multiplies bfloat16 faster than float32, IN_AMX or IN_DOTS; 0 if it does not."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    compiled = library()
    if compiled is None:
        return IN_AMX if onednn and torch.cpu._is_amx_tile_supported() else 0
    way = compiled.tiles()
    return way if onednn or way != IN_AMX else 0


def _settings() -> Any:
    """The settings of oneDNN for matrix products, shared by the whole process."""
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
