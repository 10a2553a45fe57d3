"""One step's characters on a device, ready for the network: nothing in them has to be asked for again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from charloom.text.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from numpy import ndarray as Array
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Resets:
    """Before which characters a row begins anew.

    Attributes:
        first: before the first, (B,).
        inside: before a later one, time first, (T, B), False at the first; None where no row does.
    """

    first: Bool[Tensor, "B"]
    inside: Bool[Tensor, "T B"] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A `Window` on a device.

    Attributes:
        inputs: ids read, (B, T).
        targets: ids to predict, (B, T).
        resets: None where no row begins anew.
    """

    inputs: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    resets: Resets | None


def to_device(array: Array, device: torch.device) -> Tensor:
    """The same numbers on a device; a GPU fetches them while the host goes on."""
    tensor = torch.as_tensor(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def resets_on(device: torch.device, resets: Bool[Array, "B T"]) -> Resets | None:
    """Marks on a device. They are looked at here, on the CPU: to ask a GPU what they hold would be to wait for it."""
    if not resets.any():
        return None
    inside = None
    if resets[:, 1:].any():
        rest = resets.T.copy()
        # a fresh state may hold inputs of a convolution: a reset inside the window would cut them off
        rest[0] = False
        inside = to_device(rest, device)
    return Resets(to_device(resets[:, 0].copy(), device), inside)


def upload(window: Window, rows: slice, device: torch.device) -> Batch:
    """Some rows of a window on a device."""
    return Batch(
        to_device(window.inputs[rows], device),
        to_device(window.targets[rows], device),
        resets_on(device, window.resets[rows]),
    )
