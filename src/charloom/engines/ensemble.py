"""An ensemble of models as one: the probabilities of the next character are the mean of the members'.

    p(x) = (1/K) Σ_k p_k(x)                                  (1)
    log p(x) = logsumexp_k(log p_k(x)) − log K               (2)

The state is the members' states, one after the other. Members may differ in cell, width and depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines.contract import EngineModel, State
from charloom.text.batching import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array


class EnsembleModel:
    """The `EngineModel` of several; `members` have one vocabulary. Its logits are log-probabilities."""

    def __init__(self, members: Sequence[EngineModel]) -> None:
        self.members = tuple(members)
        self.config, self.vocab_size = self.members[0].config, self.members[0].vocab_size

    def initial_state(self, batch_size: int) -> State:
        """The all-zero states of the members."""
        return [layer for member in self.members for layer in member.initial_state(batch_size)]

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters per row with every member."""
        return self._mean(state, lambda member, own: member.forward(ids, own, resets), log_softmax_of)

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character per row with every member."""
        return self._mean(state, lambda member, own: member.step(ids, own), log_softmax_of)

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats: minus (2) at the target."""
        log_probs, after = self._mean(state, lambda member, own: member.losses(window, own), np.negative)
        return -log_probs, after

    def parameters(self) -> dict[str, Array]:
        """The parameters of every member, under ``member.{k}.`` and their names."""
        return {
            f"member.{k}.{name}": array
            for k, member in enumerate(self.members)
            for name, array in member.parameters().items()
        }

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""
        parts = zip(self.members, self.split(state), strict=True)
        return [layer for member, own in parts for layer in member.export_state(own)]

    def import_state(self, state: State) -> State:
        """The state with the leaves of the members' engine."""
        parts = zip(self.members, self.split(state), strict=True)
        return [layer for member, own in parts for layer in member.import_state(own)]

    def split(self, state: State) -> list[State]:
        """The state of each member."""
        parts, first = [], 0
        for member in self.members:
            parts.append(state[first : first + member.config.num_layers])
            first += member.config.num_layers
        return parts

    def _mean(
        self,
        state: State,
        read: Callable[[EngineModel, State], tuple[Array, State]],
        log_probs_of: Callable[[Array], Array],
    ) -> tuple[Array, State]:
        """Let every member read; the log of its probabilities' mean by (2), and the members' new states."""
        total: Array | None = None
        after: State = []
        for member, own in zip(self.members, self.split(state), strict=True):
            found, new = read(member, own)
            log_probs = log_probs_of(found)
            total = log_probs if total is None else np.logaddexp(total, log_probs)
            after += new
        assert total is not None
        mean: Array = total - total.dtype.type(math.log(len(self.members)))
        return mean, after


def log_softmax_of(logits: Float[Array, "... V"]) -> Float[Array, "... V"]:
    """Log-probabilities from logits over the last axis, in their precision."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs
