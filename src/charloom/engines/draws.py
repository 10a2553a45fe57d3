"""What training draws at random: dropout masks and initial states, the same for every engine.

Each is a function of (seed, purpose, step, lane), so engines, batches and resumed runs see the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import State
from charloom.engines.kernels import masks
from charloom.parameters import state_shapes
from charloom.rng import Purpose, normals

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt16
    from numpy import ndarray as Array

SITES = {"input": 0, "layer": 1, "branch": 2, "output": 3, "char": 4, "recurrent": 5}
"""Dropout sites; their numbers are part of every mask's address and never change. All but the last mask activations."""

LEVELS = 65536
"""A mask takes 16 random bits an element, so a rate is rounded to a multiple of 1/65,536."""


class Masks:
    """The dropout masks of one window.

    Args:
        config: the rates.
        seed: the run's.
        step: updates taken before this one.
        lanes: global rows of the batch.
    """

    def __init__(self, config: ModelConfig, seed: int, step: int, lanes: range) -> None:
        self.config, self.seed, self.step, self.lanes = config, seed, step, lanes
        self._branches: dict[int, int] = {}

    def threshold(self, site: str) -> int:
        """The first 16-bit number that lets an element stay; 0 where the site has no dropout."""
        rate: float = getattr(self.config, f"dropout_{site}")
        return round(rate * LEVELS)

    def scale(self, site: str) -> float:
        """What the elements that stay are multiplied by, so that the expectation does not change."""
        return 1 / (1 - self.threshold(site) / LEVELS)

    def purpose(self, site: str, layer: int) -> int:
        """The address of the next mask: a residual block asks twice for its branches, and gets two masks."""
        turn = self._branches[layer] = self._branches.get(layer, -1) + 1 if site == "branch" else 0
        return int(Purpose.DROPOUT) + SITES[site] + 8 * turn + 256 * layer

    def halves(self, site: str, layer: int, length: int, width: int) -> UInt16[Array, "L n"]:
        """The numbers behind a mask, n = length · width; a dropped character loses all of its embedding, so its width is 1."""
        width = 1 if site == "char" else width
        return masks.random_halves(
            self.seed, self.purpose(site, layer), self.step, self.lanes, length * width
        )

    def kept(self, site: str, layer: int, length: int, width: int) -> Bool[Array, "L T W"]:
        """True where an element stays, (L, T, 1) for characters."""
        halves = self.halves(site, layer, length, width)
        kept: Array = (halves >= self.threshold(site)).reshape(len(self.lanes), length, -1)
        return kept


def has_dropout(config: ModelConfig) -> bool:
    """Whether any site has dropout."""
    return any(getattr(config, f"dropout_{site}") > 0 for site in SITES)


def kept_weights(
    config: ModelConfig, seed: int, step: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Bool[Array, "GH H"]]:
    """Which recurrent weights stay for one window, the same for all its lanes: True where one does, by parameter.

    Source: DropConnect, Wan et al. (2013); on the recurrent matrix of an LSTM, Merity et al. (2018).

    Args:
        config: the rate, ``dropout_recurrent``.
        seed: the run's.
        step: updates taken before this one.
        shapes: of the network's parameters; those that are no recurrent matrix are left out.
    """
    masks_ = Masks(config, seed, step, range(0))
    threshold, kept = masks_.threshold("recurrent"), {}
    for name, shape in shapes.items():
        if threshold and name.endswith(".w_hh"):
            purpose = masks_.purpose("recurrent", int(name.split(".")[1]))
            kept[name] = masks.random_halves(seed, purpose, step, range(shape[0]), shape[1]) >= threshold
    return kept


def fresh_state(config: ModelConfig, train_config: TrainConfig, step: int, lanes: range) -> State:
    """The state that lanes return to at a reset: zeros, or normal draws of (step, lane); float64."""
    shapes = state_shapes(config)
    sizes = [int(np.prod(shape)) for layer in shapes for shape in layer.values()]
    if train_config.initial_state == "zeros":
        flat = np.zeros((len(lanes), sum(sizes)))
    else:
        flat = normals(train_config.seed, Purpose.STATE, step, lanes, sum(sizes))
        flat = flat * train_config.initial_state_scale
    blocks = iter(np.split(flat, np.cumsum(sizes)[:-1], axis=1))
    return [
        {key: next(blocks).reshape(len(lanes), *shape) for key, shape in layer.items()} for layer in shapes
    ]
