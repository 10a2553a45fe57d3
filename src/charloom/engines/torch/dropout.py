"""Dropout as a function of (seed, site, step, lane): the masks of every engine, and on a GPU its own numbers, of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from charloom.config import ModelConfig
from charloom.engines import draws
from charloom.engines.torch import loops
from charloom.rng import Purpose, random_bits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def noise_of(config: ModelConfig, device: torch.device) -> torch.Generator | None:
    """What draws the masks on a device that draws them itself; None on a CPU, whose masks have an address each."""
    return None if device.type == "cpu" or not draws.has_dropout(config) else torch.Generator(device)


def begin_noise(noise: torch.Generator | None, seed: int, step: int) -> None:
    """Let a device's masks of one update be a function of (seed, step): the network asks for them in the same order every time."""
    if noise is not None:
        low, high = random_bits(seed, Purpose.DROPOUT, step, [0], 2)[0].tolist()
        noise.manual_seed(low + (high << 31))


class Dropout:
    """`network.Dropout` for the given lanes of one window.

    Args:
        config: the rates.
        seed: the run's.
        step: updates taken before this one.
        lanes: global rows that the window's rows are.
        noise: as `noise_of` gives it.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int,
        step: int,
        lanes: range,
        noise: torch.Generator | None = None,
    ) -> None:
        self.masks, self.noise = draws.Masks(config, seed, step, lanes), noise

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
        """True where an element stays."""
        if self.noise is None:
            return torch.from_numpy(self.masks.kept(site, layer, len(x), x.shape[2])).transpose(0, 1)
        shape = (*x.shape[:2], 1) if site == "char" else x.shape
        return _drawn_there(self.noise, self.masks.threshold(site), shape)


def thinned(
    config: ModelConfig,
    seed: int,
    step: int,
    params: Mapping[str, Tensor],
    noise: torch.Generator | None = None,
) -> dict[str, Float[Tensor, "GH H"]]:
    """What each recurrent weight is multiplied with in this window; empty where all stay.

    Args:
        config: the rate.
        seed: the run's.
        step: updates taken before this one.
        params: the network's tensors.
        noise: as `noise_of` gives it.
    """
    masks = draws.Masks(config, seed, step, range(0))
    if masks.threshold("recurrent") == 0:
        return {}
    matrices = {name: p for name, p in params.items() if name.endswith(".w_hh")}
    if noise is None:
        shapes = {name: tuple(p.shape) for name, p in matrices.items()}
        here = draws.kept_weights(config, seed, step, shapes)
        kept = {name: torch.from_numpy(mask) for name, mask in here.items()}
    else:
        kept = {
            name: _drawn_there(noise, masks.threshold("recurrent"), p.shape) for name, p in matrices.items()
        }
    return {name: mask.to(params[name].dtype) * masks.scale("recurrent") for name, mask in kept.items()}


def _drawn_there(noise: torch.Generator, threshold: int, shape: Sequence[int]) -> Bool[Tensor, "..."]:
    drawn = torch.rand(tuple(shape), device=noise.device, generator=noise)
    return drawn >= threshold / draws.LEVELS
