"""A trained network bound to the compiled loops: forward over windows, step by step, and straight to losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import State, state_like
from charloom.engines.fused.compiling import compiled
from charloom.engines.fused.functions import ACTIVATIONS
from charloom.engines.fused.online.elman import loss_and_gradient, predict, step
from charloom.engines.fused.online.layout import Layout
from charloom.engines.fused.support import check_model
from charloom.text.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


class FusedModel:
    """The `Model` of the contract, for a plain Elman network of one layer.

    Args:
        params: arrays under the names of `charloom.parameters`; they are copied.
        config: the network.
        precision: float32 or float64.

    Raises:
        ConfigError: another network.
    """

    def __init__(self, params: Mapping[str, Array], config: ModelConfig, *, precision: str) -> None:
        check_model(config)
        self.config, self.vocab_size, self.dtype = config, len(params["out.bias"]), DTYPES[precision]
        self._layout = Layout(config, self.vocab_size)
        self._flat = self._layout.flat(params, self.dtype)
        self._weights, self._activation = self._layout.views(self._flat), ACTIVATIONS[config.activation]

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""
        return [{"h": np.zeros((batch_size, self.config.hidden_size), self.dtype)}]

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters a row: logits of the next character after each, and the state behind the last."""
        ids = np.ascontiguousarray(ids, np.int64)
        marks = np.zeros(ids.shape, np.bool_) if resets is None else np.ascontiguousarray(resets, np.bool_)
        logits = np.empty((*ids.shape, self.vocab_size), self.dtype)
        after = self.import_state(state)
        check_ids(ids, self.vocab_size)
        assert after[0]["h"].shape == (len(ids), self.config.hidden_size)
        run(self._weights, self._activation, ids, marks, after[0]["h"], logits)
        return logits, after

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character a row."""
        logits, after = self.forward(np.asarray(ids)[:, None], state)
        return logits[:, 0], after

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats."""
        logits, after = self.forward(window.inputs, state, window.resets)
        check_ids(window.targets, self.vocab_size)
        nats = np.empty(window.targets.shape, self.dtype)
        score(
            logits.reshape(-1, self.vocab_size),
            np.ascontiguousarray(window.targets, np.int64).reshape(-1),
            nats.reshape(-1),
        )
        return nats, after

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves: copies."""
        return state_like(state, np.array)

    def import_state(self, state: State) -> State:
        """The state in this model's precision: copies."""
        return state_like(state, lambda x: np.array(x, self.dtype))

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names: copies."""
        return {name: np.array(p, order="C") for name, p in self._layout.named(self._flat).items()}


def check_ids(ids: Int[Array, "..."], vocab_size: int) -> None:
    """Refuse ids that have no row: compiled loops would read whatever memory lies there.

    Raises:
        IndexError: as NumPy's indexing would.
    """
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise IndexError(f"ids {ids.min()} to {ids.max()} in a vocabulary of {vocab_size}")


@compiled
def run(weights: Any, activation: Any, ids: Any, resets: Any, h: Any, logits: Any) -> None:
    """Read ids (B, T) from states h (B, H), moved along, into logits (B, T, V)."""
    B, T = ids.shape
    a, outputs = np.empty_like(weights.bias), np.empty((T, h.shape[1]), h.dtype)
    for b in range(B):
        for t in range(T):
            if resets[b, t]:
                h[b] = 0
            step(weights, activation, ids[b, t], h[b], a, outputs[t])
            h[b] = outputs[t]
        predict(weights, outputs, logits[b])


@compiled
def score(logits: Any, targets: Any, nats: Any) -> None:
    """The loss of each target (n,) under its logits (n, V), which are overwritten."""
    for i in range(targets.shape[0]):
        nats[i] = loss_and_gradient(logits[i], targets[i], logits.dtype.type(1))
