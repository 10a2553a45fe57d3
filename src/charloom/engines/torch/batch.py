"""The characters of one step on a device: the network reads nothing else from the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from charloom.text.batching import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Resets:
    """The characters before which a row's state is reset."""

    first: Bool[Tensor, "B"]  # before the first character
    inside: (
        Bool[Tensor, "T B"] | None
    )  # before a later one, False at the first; None if no row is reset there


@dataclass(frozen=True, slots=True)
class Batch:
    """A `Window` on a device."""

    inputs: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    resets: Resets | None  # None if no row's state is reset
    soft_targets: Float[Tensor, "B T V"] | None = None  # the teacher's probabilities, if there is one


def to_device(array: Array, device: torch.device) -> Tensor:
    """Copy an array to a device; a copy to a GPU is asynchronous."""
    tensor = torch.as_tensor(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def resets_on(device: torch.device, resets: Bool[Array, "B T"]) -> Resets | None:
    """Copy resets to a device; they are tested here, on the CPU, because reading them from a GPU would wait for it."""
    if not resets.any():
        return None
    first, inside = resets[:, 0].copy(), resets.T.copy()
    # the reset state may hold inputs of a convolution, which a reset inside the window would cut off
    inside[0] = False
    return Resets(to_device(first, device), to_device(inside, device) if inside.any() else None)


def upload(window: Window, rows: slice, device: torch.device) -> Batch:
    """Copy some rows of a window to a device."""
    inputs, targets = (to_device(ids[rows], device) for ids in (window.inputs, window.targets))
    soft = None if window.soft_targets is None else to_device(window.soft_targets[rows], device)
    return Batch(inputs, targets, resets_on(device, window.resets[rows]), soft)
