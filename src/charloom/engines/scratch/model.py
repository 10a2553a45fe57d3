"""A trained network in NumPy: forward over windows, step by step, and losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import State
from charloom.engines.contract import NumpyStates, zero_state
from charloom.engines.scratch import loss, network
from charloom.text.batching import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array


class ScratchModel(NumpyStates):
    """The `EngineModel` of the contract, from arrays under the names of `charloom.parameters`."""

    def __init__(self, params: Mapping[str, Array], config: ModelConfig, vocab_size: int) -> None:
        self.params, self.config, self.vocab_size = dict(params), config, vocab_size
        self.dtype = self.params["out.bias"].dtype

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""
        return zero_state(self.config, batch_size, self.dtype)

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters per row; return the logits after each character and the state after the last."""
        logits, after = self._run(ids, state, resets)
        return logits.swapaxes(0, 1), after

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character per row."""
        logits, after = self._run(np.asarray(ids)[:, None], state, None)
        return logits[0], after

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats, and the state after the last character."""
        logits, after = self._run(window.inputs, state, window.resets)
        return loss.losses(loss.log_softmax(logits), window.targets.T).T, after

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names."""
        return {name: p.copy() for name, p in self.params.items()}

    def _run(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None
    ) -> tuple[Float[Array, "T B V"], State]:
        marks = resets.T if resets is not None and resets.any() else None
        logits, after, _ = network.forward(self.config, self.params, np.asarray(ids).T, state, resets=marks)
        return logits, after
