"""An update recorded once as a CUDA graph and launched whole.

A step of a small network is hundreds of kernels of microseconds each: launching them takes longer than running them.

    recorder(update, batch, state, rates) → (numbers, state after the window)

A recorded update may read only its arguments and tensors that keep their address (parameters, moments, averages), and
it must not read from the device. A graph uses the addresses it was recorded with, so arguments are copied into its
own tensors; there is one graph per batch shape.

Source: Nvidia's CUDA graphs; their limits: torch.cuda.CUDAGraph, "Whole-network capture".
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from charloom.engines import State, map_state
from charloom.engines.torch.batch import Batch, Resets

if TYPE_CHECKING:
    from torch import Tensor

Update = Callable[[Batch, State, "Tensor"], "tuple[Tensor, State]"]
"""(batch, state, rates) → (the update's numbers, the state after the window)."""

WARM_UP = 3
"""Updates per batch shape before one is recorded: libraries choose their kernels in the first."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: Any
    batch: Batch
    state: State
    rates: Tensor
    numbers: Tensor


_ALONE = threading.Lock()
"""One recording at a time: it starts with a wait for the whole device, which would break another recording."""


class GraphRecorder:
    """The recorded updates of one learner; `noise` is the generator that they draw from, if any."""

    def __init__(self, noise: torch.Generator | None) -> None:
        self.noise = noise
        self.forget()

    def forget(self) -> None:
        """Discard all graphs: some tensors have moved."""
        self._seen: Counter[Any] = Counter()
        self._recorded: dict[Any, _Recorded] = {}

    def __call__(self, update: Update, batch: Batch, state: State, rates: Tensor) -> tuple[Tensor, State]:
        """Take one update. The next one overwrites the result."""
        shape = tuple(None if x is None else tuple(x.shape) for x in _tensors(batch))
        self._seen[shape] += 1
        if self._seen[shape] <= WARM_UP:
            return self._unrecorded(update, batch, state, rates)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(update, batch, state, rates)
        own = self._recorded[shape]
        for mine, given in zip(_tensors(own.batch), _tensors(batch), strict=True):
            if mine is not None:
                mine.copy_(given)
        own.rates.copy_(rates)
        if state is not own.state:
            _copy(own.state, state)
        own.graph.replay()
        return own.numbers, own.state

    def _unrecorded(self, update: Update, batch: Batch, state: State, rates: Tensor) -> tuple[Tensor, State]:
        """Launch the update kernel by kernel, on the stream on which it will be recorded."""
        current, side = torch.cuda.current_stream(), self._side_stream
        side.wait_stream(current)
        with torch.cuda.stream(side):
            found = update(batch, state, rates)
        current.wait_stream(side)
        return found

    @cached_property
    def _side_stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def _record(self, update: Update, batch: Batch, state: State, rates: Tensor) -> _Recorded:
        soft = None if batch.soft_targets is None else batch.soft_targets.clone()
        own = Batch(batch.inputs.clone(), batch.targets.clone(), _cloned(batch.resets), soft)
        start, own_rates, graph = map_state(state, torch.clone), rates.clone(), torch.cuda.CUDAGraph()
        if self.noise is not None:
            graph.register_generator_state(self.noise)
        # other threads may use the device meanwhile: their work is not recorded
        recording = torch.cuda.graph(graph, stream=self._side_stream, capture_error_mode="thread_local")
        with _ALONE, _no_collection(), recording:
            numbers, after = update(own, start, own_rates)
            _copy(start, after)
        return _Recorded(graph, own, start, own_rates, numbers)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause Python's garbage collector: freeing the memory of an old graph during a recording would break it."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _cloned(resets: Resets | None) -> Resets | None:
    if resets is None:
        return None
    return Resets(resets.first.clone(), None if resets.inside is None else resets.inside.clone())


def _tensors(batch: Batch) -> list[Any]:
    resets = (None, None) if batch.resets is None else (batch.resets.first, batch.resets.inside)
    return [batch.inputs, batch.targets, *resets, batch.soft_targets]


def _copy(into: State, state: State) -> None:
    for mine, given in zip(into, state, strict=True):
        for key, x in mine.items():
            x.copy_(given[key])
