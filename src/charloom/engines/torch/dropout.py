"""Dropout: on a CPU every engine's masks, a function of (seed, site, step, lane); on a GPU its own, of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from charloom.config import ModelConfig
from charloom.engines import draws
from charloom.engines.torch.cpu import ops
from charloom.rng import Purpose, random_bits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def noise_of(config: ModelConfig, device: torch.device) -> torch.Generator | None:
    """The generator of a device that draws its own masks; None on a CPU or without dropout."""
    return torch.Generator(device) if device.type != "cpu" and draws.has_dropout(config) else None


def seed_noise(noise: torch.Generator | None, seed: int, step: int, lane: int = 0) -> None:
    """Seed a device's masks for one update with (seed, step, first lane); they are always drawn in the same order."""
    if noise is not None:
        low, high = random_bits(seed, Purpose.DROPOUT, step, [lane], 2)[0].tolist()
        noise.manual_seed(low + (high << 31))


class Dropout:
    """`network.Dropout` for one window, whose rows are the given global lanes, at update `step`."""

    def __init__(
        self, config: ModelConfig, seed: int, step: int, lanes: range, noise: torch.Generator | None = None
    ) -> None:
        self.masks, self.noise = draws.Masks(config, seed, step, lanes), noise

    def __call__(self, site: str, layer: int, x: Float[Tensor, "T B W"]) -> Float[Tensor, "T B W"]:
        """Mask the activations of a site."""
        threshold, scale = self.masks.threshold(site), self.masks.scale(site)
        if threshold == 0:
            return x
        if ops.fit(x):
            return ops.drop(x, self.masks.halves(site, layer, len(x), x.shape[2]), threshold, scale)
        dropped: Tensor = x * self._kept(site, layer, x) * scale
        return dropped

    def _kept(self, site: str, layer: int, x: Float[Tensor, "T B W"]) -> Bool[Tensor, "T B W"]:
        """True for each element that is kept."""
        if self.noise is None:
            return torch.from_numpy(self.masks.kept(site, layer, len(x), x.shape[2])).transpose(0, 1)
        shape = (*x.shape[:2], 1) if site == "char" else x.shape
        return _drawn_on_device(self.noise, self.masks.threshold(site), shape)


def weight_masks(
    config: ModelConfig, seed: int, step: int, params: Mapping[str, Tensor], noise: torch.Generator | None
) -> dict[str, Float[Tensor, "GH H"]]:
    """The factors of every recurrent weight in this window, by name; empty without recurrent dropout."""
    masks = draws.Masks(config, seed, step, range(0))
    threshold, scale = masks.threshold("recurrent"), masks.scale("recurrent")
    if threshold == 0:
        return {}
    shapes = {name: tuple(p.shape) for name, p in params.items() if name.endswith(".w_hh")}
    if noise is None:
        arrays = draws.kept_weights(config, seed, step, shapes)
        kept = {name: torch.from_numpy(mask) for name, mask in arrays.items()}
    else:
        kept = {name: _drawn_on_device(noise, threshold, shape) for name, shape in shapes.items()}
    return {name: mask.to(params[name].dtype) * scale for name, mask in kept.items()}


def _drawn_on_device(noise: torch.Generator, threshold: int, shape: Sequence[int]) -> Bool[Tensor, "..."]:
    drawn = torch.rand(tuple(shape), device=noise.device, generator=noise)
    return drawn >= threshold / draws.LEVELS
