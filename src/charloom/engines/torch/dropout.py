"""Dropout as a function of (seed, site, step, lane): the masks of every engine, and torch's own numbers on a GPU."""

from __future__ import annotations

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
        purpose, lane = self.masks.purpose(site, layer), self.masks.lanes.start
        low, high = random_bits(self.masks.seed, purpose, self.masks.step, [lane], 2)[0].tolist()
        generator = torch.Generator(x.device).manual_seed(low + (high << 31))
        shape = (*x.shape[:2], 1) if site == "char" else x.shape
        drawn = torch.rand(shape, device=x.device, generator=generator)
        return drawn >= self.masks.threshold(site) / draws.LEVELS
