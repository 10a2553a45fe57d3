"""Dropout as a function of (seed, site, step, lane): the masks of every engine, and torch's own numbers on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from charloom.config import ModelConfig
from charloom.engines import draws
from charloom.engines.torch import loops
from charloom.rng import random_bits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class Dropout:
    """`network.Dropout` for the given lanes of one window.

    Args:
        config: the rates.
        seed: the run's.
        step: updates taken before this one.
        lanes: global rows that the window's rows are.
    """

    def __init__(self, config: ModelConfig, seed: int, step: int, lanes: range) -> None:
        self.masks = draws.Masks(config, seed, step, lanes)

    def __call__(self, site: str, layer: int, x: Float[Tensor, "T B W"]) -> Float[Tensor, "T B W"]:
        """Mask the activations of a site."""
        threshold, scale = self.masks.threshold(site), self.masks.scale(site)
        if threshold == 0:
            return x
        if loops.fit(x):
            return loops.drop(x, self.masks.halves(site, layer, len(x), x.shape[2]), threshold, scale)
        dropped: Tensor = x * self._kept(site, layer, x) * scale
        return dropped

    def _kept(self, site: str, layer: int, x: Float[Tensor, "T B W"]) -> Bool[Tensor, "T B W"]:
        """True where an element stays; on another device torch's generator draws, seeded by the same address."""
        if x.device.type == "cpu":
            return torch.from_numpy(self.masks.kept(site, layer, len(x), x.shape[2])).transpose(0, 1)
        shape = (*x.shape[:2], 1) if site == "char" else x.shape
        return _drawn_there(self.masks, site, layer, self.masks.lanes.start, shape, x.device)


def thinned(
    config: ModelConfig, seed: int, step: int, params: Mapping[str, Tensor]
) -> dict[str, Float[Tensor, "GH H"]]:
    """What each recurrent weight is multiplied with in this window; empty where all stay.

    Args:
        config: the rate.
        seed: the run's.
        step: updates taken before this one.
        params: the network's tensors.
    """
    masks = draws.Masks(config, seed, step, range(0))
    if masks.threshold("recurrent") == 0:
        return {}
    matrices = {name: p for name, p in params.items() if name.endswith(".w_hh")}
    device = next(iter(params.values())).device
    if device.type == "cpu":
        shapes = {name: tuple(p.shape) for name, p in matrices.items()}
        here = draws.kept_weights(config, seed, step, shapes)
        kept = {name: torch.from_numpy(mask) for name, mask in here.items()}
    else:
        kept = {
            name: _drawn_there(masks, "recurrent", int(name.split(".")[1]), 0, p.shape, device)
            for name, p in matrices.items()
        }
    return {name: mask.to(params[name].dtype) * masks.scale("recurrent") for name, mask in kept.items()}


def _drawn_there(
    masks: draws.Masks, site: str, layer: int, lane: int, shape: Sequence[int], device: torch.device
) -> Bool[Tensor, "..."]:
    """A mask of the device's own generator, seeded by the address that the numbers of a CPU have."""
    low, high = random_bits(masks.seed, masks.purpose(site, layer), masks.step, [lane], 2)[0].tolist()
    generator = torch.Generator(device).manual_seed(low + (high << 31))
    drawn = torch.rand(tuple(shape), device=device, generator=generator)
    return drawn >= masks.threshold(site) / draws.LEVELS
