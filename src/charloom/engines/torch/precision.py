"""What ``precision = "bfloat16"`` rounds, and where: factors of matrix products, never weights, sums, states or losses.

On a GPU that is torch's autocast, around the way forwards. On a CPU whose processor multiplies tiles of bfloat16 (Intel's AMX) the
library rounds the factors of every float32 product inside and adds up in float32: tensors stay float32 (but inside `muon`, which
iterates in bfloat16), and the compiled loops stay in use; a walk through a window rounds for itself (`tiles`). Any other processor
computes as with float32: without tiles oneDNN multiplies float32 too, a tenth slower than what torch takes otherwise.

Source: torch.backends, ``fp32_precision``; oneDNN's guide to floating-point math modes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch


def autocast(device: torch.device, *, wanted: bool) -> AbstractContextManager[object]:
    """Round inside this block where the device is no CPU; torch rounds the way back as it did the way forwards."""
    if not wanted or device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def exact(device: torch.device) -> AbstractContextManager[object]:
    """Round nothing inside this block of an autocast: cuDNN's recurrence would round to float16, which has no room for gradients."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def tiles(device: torch.device, *, wanted: bool) -> Iterator[None]:
    """Round inside this block, in every thread of the process, where the device is a CPU that has tiles."""
    if not (wanted and device.type == "cpu" and has_tiles()):
        yield
        return
    products = _products()
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def in_tiles() -> bool:
    """Whether products on the CPU are being rounded now."""
    return bool(_products().fp32_precision == "bf16")


def is_native(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    return device.type == "cuda" or (device.type == "cpu" and has_tiles())


@cache
def has_tiles() -> bool:
    """Whether this processor multiplies tiles of bfloat16."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(onednn and torch.cpu._is_amx_tile_supported())


def _products() -> Any:
    """What oneDNN is told about matrix products; it belongs to the whole process."""
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
