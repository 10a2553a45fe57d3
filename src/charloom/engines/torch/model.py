"""A trained network bound to torch: forward over windows, step by step, and straight to losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines import State, state_like
from charloom.engines.torch import network
from charloom.engines.torch.batch import resets_on, to_device
from charloom.engines.torch.shards import Shards
from charloom.parameters import state_shapes
from charloom.text.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array
    from torch import Tensor

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchModel:
    """The `Model` of the contract, on one device and in one precision.

    Args:
        params: tensors under the names of `charloom.parameters`.
        config: the network.
        vocab_size: V.
    """

    def __init__(self, params: Mapping[str, Tensor], config: ModelConfig, vocab_size: int) -> None:
        self.params, self.config, self.vocab_size = dict(params), config, vocab_size
        bias = self.params["out.bias"]
        self.device, self.dtype = bias.device, bias.dtype
        self.shards = Shards()

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""
        return zero_state(self.config, batch_size, self.device, self.dtype)

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters a row: logits of the next character after each, and the state behind the last."""
        return self._shared(ids, resets, state, lambda logits, _: logits)

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character a row."""
        logits, after = self.forward(np.asarray(ids)[:, None], state)
        return logits[:, 0], after

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats."""

        def nats(logits: Tensor, rows: slice) -> Tensor:
            targets = self._ids(window.targets[rows])
            found = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            return found.view(targets.shape)

        return self._shared(window.inputs, window.resets, state, nats)

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""
        return export_state(state)

    def import_state(self, state: State) -> State:
        """The state with torch leaves, from NumPy ones."""
        return state_like(state, lambda x: torch.as_tensor(np.array(x), dtype=self.dtype, device=self.device))

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names, as NumPy arrays."""
        return {name: to_numpy(p) for name, p in self.params.items()}

    def _shared(
        self, ids: Any, resets: Any, state: State, reduce: Callable[[Tensor, slice], Tensor]
    ) -> tuple[Array, State]:
        """`reduce` of the logits and the state behind them, rows shared among threads."""
        ids = np.asarray(ids)

        @torch.inference_mode()
        def compute(rows: slice) -> tuple[Tensor, State]:
            part = None if resets is None else resets_on(self.device, np.asarray(resets)[rows])
            begin = state_like(state, lambda x: x[rows])
            logits, after = network.forward(
                self.config, self.params, self._ids(ids[rows]), begin, resets=part
            )
            return reduce(logits, rows), after

        found = self.shards.run(compute, self.shards.split(len(ids), self.device))
        with torch.inference_mode():
            whole = torch.cat([part for part, _ in found]) if len(found) > 1 else found[0][0]
            after = joined([behind for _, behind in found]) if len(found) > 1 else found[0][1]
        return whole.cpu().numpy(), after

    def _ids(self, ids: Any) -> Tensor:
        return to_device(np.asarray(ids, np.int64), self.device)


def joined(parts: list[State]) -> State:
    """The rows of several states behind one another."""
    return [
        {key: torch.cat([part[i][key] for part in parts]) for key in layer}
        for i, layer in enumerate(parts[0])
    ]


def zero_state(config: ModelConfig, batch_size: int, device: Any, dtype: torch.dtype) -> State:
    """The all-zero state."""
    return [
        {key: torch.zeros(batch_size, *shape, device=device, dtype=dtype) for key, shape in layer.items()}
        for layer in state_shapes(config)
    ]


def export_state(state: State) -> State:
    """The state with NumPy leaves."""
    return state_like(state, to_numpy)


def to_numpy(tensor: Tensor) -> Any:
    """A NumPy copy of a tensor."""
    return tensor.detach().cpu().numpy().copy()
