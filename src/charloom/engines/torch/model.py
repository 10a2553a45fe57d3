"""A trained network bound to torch: logits of windows or single steps, and losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines import State, map_state
from charloom.engines.torch import network
from charloom.engines.torch.batch import resets_on, to_device
from charloom.engines.torch.cpu.row_threads import RowThreads
from charloom.parameters import state_shapes
from charloom.text.batching import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array
    from torch import Tensor

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchModel:
    """The `EngineModel` of the contract, on the device and in the precision of its parameters."""

    def __init__(self, params: Mapping[str, Tensor], config: ModelConfig, vocab_size: int) -> None:
        self.params, self.config, self.vocab_size = dict(params), config, vocab_size
        bias = self.params["out.bias"]
        self.device, self.dtype = bias.device, bias.dtype
        self.row_threads = RowThreads()

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""
        return zero_state(self.config, batch_size, self.device, self.dtype)

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters per row: logits of the next character after each, and the state after the last."""
        return self._compute(ids, resets, state, lambda logits, _: logits)

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character per row."""
        logits, after = self.forward(np.asarray(ids)[:, None], state)
        return logits[:, 0], after

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats."""

        def nats(logits: Tensor, rows: slice) -> Tensor:
            targets = self._ids(window.targets[rows])
            found = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            return found.view(targets.shape)

        return self._compute(window.inputs, window.resets, state, nats)

    def export_state(self, state: State) -> State:
        """The state as NumPy arrays."""
        return map_state(state, to_numpy)

    def import_state(self, state: State) -> State:
        """The state as tensors, from NumPy arrays."""
        return map_state(state, lambda x: torch.as_tensor(np.array(x), dtype=self.dtype, device=self.device))

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names, as NumPy arrays."""
        return {name: to_numpy(p) for name, p in self.params.items()}

    def _compute(
        self, ids: Any, resets: Any, state: State, reduce: Callable[[Tensor, slice], Tensor]
    ) -> tuple[Array, State]:
        """`reduce` of the logits, and the state after the window; the rows are divided among threads."""
        ids = np.asarray(ids)

        @torch.inference_mode()
        def compute(rows: slice) -> tuple[Tensor, State]:
            marks = None if resets is None else resets_on(self.device, np.asarray(resets)[rows])
            start = map_state(state, lambda x: x[rows])
            inputs = self._ids(ids[rows])
            logits, after = network.forward(self.config, self.params, inputs, start, resets=marks)
            return reduce(logits, rows), after

        with self.row_threads.leading(self.device):
            parts = self.row_threads.run(compute, self.row_threads.split(len(ids), self.device))
        if len(parts) == 1:
            found, after = parts[0]
        else:
            with torch.inference_mode():
                found = torch.cat([part for part, _ in parts])
                after = concat_states([state for _, state in parts])
        return found.cpu().numpy(), after

    def _ids(self, ids: Any) -> Tensor:
        return to_device(np.asarray(ids, np.int64), self.device)


def concat_states(parts: list[State]) -> State:
    """One state from the rows of several."""
    if len(parts) == 1:
        return parts[0]
    return [
        {key: torch.cat([x[key] for x in layer]) for key in layer[0]} for layer in zip(*parts, strict=True)
    ]


def zero_state(config: ModelConfig, batch_size: int, device: Any, dtype: torch.dtype) -> State:
    """The state of zeros."""
    return [
        {key: torch.zeros(batch_size, *shape, device=device, dtype=dtype) for key, shape in layer.items()}
        for layer in state_shapes(config)
    ]


def to_numpy(tensor: Tensor) -> Any:
    """A NumPy copy of a tensor."""
    return tensor.detach().cpu().numpy().copy()
