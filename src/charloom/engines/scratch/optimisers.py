"""Optimisers on one flat vector of all parameters: a few passes, however many arrays there are.

d is the gradient, w the parameters, η the learning rate, λ the weight decay (of matrices only), ε `epsilon`.

    sgd        v ← μ v + d;  w ← w − η v
    adagrad    G ← G + d²;  w ← w − η d / (√G + ε), or / √(G + ε)                    (Duchi et al. 2011)
    rmsprop    G ← β₂ G + (1 − β₂) d²;  v ← μ v + d / (√G + ε);  w ← w − η v          (Tieleman & Hinton 2012)
    adam       m ← β₁ m + (1 − β₁) d;  G ← β₂ G + (1 − β₂) d²
               w ← w − η m̂ / (√Ĝ + ε),  m̂ = m / (1 − β₁ᵗ),  Ĝ = G / (1 − β₂ᵗ)        (Kingma & Ba 2015)
    adamw      w ← w − η λ w, then adam                                               (Loshchilov & Hutter 2019)

The other rules first apply L2 decay: d ← d + λ w. Moments have the names that every engine's checkpoints use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import TrainConfig
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

_MOMENTS = {
    "sgd": (),
    "adagrad": ("sum",),
    "rmsprop": ("square_avg",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
}


def check_method(config: TrainConfig) -> None:
    """Refuse an optimiser that the scratch engine does not have, with a ConfigError."""
    if config.optimizer not in _MOMENTS:
        raise ConfigError(
            f"optimizer is {config.optimizer} and engine is scratch",
            why=f"the scratch engine has {', '.join(_MOMENTS)}",
            fix="use --optimizer adamw, or --engine torch",
        )


class Flat:
    """Named arrays as views of one vector."""

    def __init__(self, values: Mapping[str, Array], dtype: np.dtype) -> None:
        self.shapes = {name: np.shape(x) for name, x in values.items()}
        ends = np.cumsum([np.size(x) for x in values.values()])
        self._slices = {
            name: slice(int(end - np.size(x)), int(end))
            for (name, x), end in zip(values.items(), ends, strict=True)
        }
        self.vector = np.concatenate([np.ravel(x) for x in values.values()]).astype(dtype)

    def views(self, vector: Float[Array, "P"]) -> dict[str, Array]:
        """The named parts of a vector with this layout; they share its memory."""
        return {name: vector[place].reshape(self.shapes[name]) for name, place in self._slices.items()}

    def gather(self, values: Mapping[str, Array], out: Float[Array, "P"]) -> None:
        """Write named arrays into a vector with this layout."""
        for name, place in self._slices.items():
            out[place] = values[name].ravel()

    def decays(self, weight_decay: float, *, frozen: frozenset[str] = frozenset()) -> Float[Array, "P"]:
        """The weight decay of each element; biases and frozen parameters do not decay."""
        parts = [
            np.full(np.prod(shape, dtype=int), weight_decay * (len(shape) > 1 and name not in frozen))
            for name, shape in self.shapes.items()
        ]
        return np.concatenate(parts).astype(self.vector.dtype)


class Optimiser:
    """An optimiser over a flat vector; the caller keeps the gradient of frozen parameters at zero.

    A method that the scratch engine does not have raises a ConfigError.
    """

    def __init__(self, flat: Flat, config: TrainConfig, *, frozen: frozenset[str] = frozenset()) -> None:
        check_method(config)
        self.flat, self.config, self.num_steps = flat, config, 0
        names = _MOMENTS[config.optimizer]
        if config.momentum and config.optimizer in ("sgd", "rmsprop"):
            names = (*names, "momentum_buffer")
        self.moments = {name: np.zeros_like(flat.vector) for name in names}
        self._decays = flat.decays(config.weight_decay, frozen=frozen) if config.weight_decay else None

    def step(self, d: Float[Array, "P"], learning_rate: float) -> None:
        """Update the parameters in place from their gradient."""
        config, w = self.config, self.flat.vector
        self.num_steps += 1
        if self._decays is not None:
            if config.optimizer == "adamw":
                w *= 1 - learning_rate * self._decays
            else:
                d = d + self._decays * w
        w -= learning_rate * self._direction(d)

    def _direction(self, d: Float[Array, "P"]) -> Float[Array, "P"]:
        config, moments = self.config, self.moments
        if config.optimizer == "adagrad":
            G = moments["sum"]
            G += d * d
            inside = config.epsilon_inside_root
            d = d / (np.sqrt(G + config.epsilon) if inside else np.sqrt(G) + config.epsilon)
        if config.optimizer in ("adam", "adamw"):
            m, G = moments["exp_avg"], moments["exp_avg_sq"]
            m += (1 - config.beta1) * (d - m)
            G += (1 - config.beta2) * (d * d - G)
            root = np.sqrt(G / (1 - config.beta2**self.num_steps))
            move: Array = m / (1 - config.beta1**self.num_steps) / (root + config.epsilon)
            return move
        if config.optimizer == "rmsprop":
            G = moments["square_avg"]
            G += (1 - config.beta2) * (d * d - G)
            d = d / (np.sqrt(G) + config.epsilon)
        if "momentum_buffer" in moments:
            v = moments["momentum_buffer"]
            v *= config.momentum
            v += d
            return v
        return d

    def tensors(self) -> dict[str, Array]:
        """Every moment as ``name.key``, and the number of steps as ``name.step``."""
        named = {
            f"{name}.{key}": view.copy()
            for key, vector in self.moments.items()
            for name, view in self.flat.views(vector).items()
        }
        uncounted = {"sgd"} | ({"adagrad"} if self.config.epsilon_inside_root else set())  # as in torch
        counted = self.config.optimizer not in uncounted
        counts = {f"{name}.step": np.float32(self.num_steps) for name in self.flat.shapes if counted}
        return named | {name: np.asarray(count) for name, count in counts.items()}

    def load(self, tensors: Mapping[str, Array]) -> None:
        """Restore what `tensors` returned; an empty mapping means that no step was taken yet."""
        for key, vector in self.moments.items():
            for name, view in self.flat.views(vector).items():
                view[...] = tensors.get(f"{name}.{key}", 0)
        counts = [int(count) for name, count in tensors.items() if name.endswith(".step")]
        self.num_steps = max(counts, default=0)
