"""Random draws of training: dropout masks and initial states, the same for every engine.

Each draw is a function of (seed, purpose, step, lane), the same for engines, batches and resumed runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import State
from charloom.engines.contract import unflatten_state, zero_state
from charloom.kernels import masks
from charloom.parameters import state_shapes
from charloom.rng import Purpose, normals

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt16
    from numpy import ndarray as Array

SITES = {"input": 0, "layer": 1, "branch": 2, "output": 3, "char": 4, "recurrent": 5}
"""Dropout sites. The numbers are part of each mask's address and never change; all but the last mask activations."""

LEVELS = 65536
"""A mask uses 16 random bits per element, so rates are rounded to multiples of 1/65,536."""


class Masks:
    """The dropout masks of one window: update `step` of a run with `seed`, global rows `lanes` of the batch."""

    def __init__(self, config: ModelConfig, seed: int, step: int, lanes: range) -> None:
        self.config, self.seed, self.step, self.lanes = config, seed, step, lanes
        self._branches: dict[int, int] = {}

    def threshold(self, site: str) -> int:
        """Elements whose 16-bit number is below this are dropped; 0 if the site has no dropout."""
        rate: float = getattr(self.config, f"dropout_{site}")
        return round(rate * LEVELS)

    def scale(self, site: str) -> float:
        """The factor on kept elements that leaves the expectation unchanged."""
        return 1 / (1 - self.threshold(site) / LEVELS)

    def purpose(self, site: str, layer: int) -> int:
        """The address of the next mask; the two branches of a residual block get different masks."""
        turn = self._branches[layer] = self._branches.get(layer, -1) + 1 if site == "branch" else 0
        return int(Purpose.DROPOUT) + SITES[site] + 8 * turn + 256 * layer

    def halves(self, site: str, layer: int, length: int, width: int) -> UInt16[Array, "L n"]:
        """The random numbers of a mask, n = length · width; characters lose their whole embedding: width 1."""
        width = 1 if site == "char" else width
        return masks.random_halves(
            self.seed, self.purpose(site, layer), self.step, self.lanes, length * width
        )

    def kept(self, site: str, layer: int, length: int, width: int) -> Bool[Array, "L T W"]:
        """True where an element is kept; (L, T, 1) for characters."""
        halves = self.halves(site, layer, length, width)
        kept: Array = (halves >= self.threshold(site)).reshape(len(self.lanes), length, -1)
        return kept


def has_dropout(config: ModelConfig) -> bool:
    """Whether any site has dropout."""
    return any(getattr(config, f"dropout_{site}") > 0 for site in SITES)


def kept_weights(
    config: ModelConfig, seed: int, step: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Bool[Array, "GH H"]]:
    """The masks of the recurrent matrices among `shapes`, shared by all lanes of a window: True = kept.

    Source: DropConnect, Wan et al. (2013); on the recurrent matrix of an LSTM, Merity et al. (2018).
    """
    masks_ = Masks(config, seed, step, range(0))
    threshold, kept = masks_.threshold("recurrent"), {}
    for name, shape in shapes.items():
        if threshold and name.endswith(".w_hh"):
            purpose = masks_.purpose("recurrent", int(name.split(".")[1]))
            kept[name] = masks.random_halves(seed, purpose, step, range(shape[0]), shape[1]) >= threshold
    return kept


def reset_state(config: ModelConfig, train_config: TrainConfig, step: int, lanes: range) -> State:
    """The state of lanes after a reset: zeros, or normal draws of (step, lane); float64."""
    if train_config.initial_state == "zeros":
        return zero_state(config, len(lanes), np.dtype(np.float64))
    size = sum(int(np.prod(shape)) for layer in state_shapes(config) for shape in layer.values())
    flat = normals(train_config.seed, Purpose.STATE, step, lanes, size)
    return unflatten_state(config, flat * train_config.initial_state_scale)
