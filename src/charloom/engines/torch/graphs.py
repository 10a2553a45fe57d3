"""An update recorded once as a CUDA graph and launched whole.

A small network's step is hundreds of kernels of microseconds: launching them one by one takes longer than running them.

    recorder(update, batch, state, rates) → (numbers, state behind the window)

The update recorded may read nothing but its arguments and what lies still on the device (parameters, moments, averages), and asks
the device for nothing. A graph reads and writes where it was recorded, so arguments are copied into its own; there is one for every shape of
batch.

Source: Nvidia's CUDA graphs; what may stand inside one: torch.cuda.CUDAGraph, "Whole-network capture".
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from charloom.engines import State
from charloom.engines.torch.batch import Batch, Resets

if TYPE_CHECKING:
    from torch import Tensor

Update = Callable[[Batch, State, "Tensor"], "tuple[Tensor, State]"]
"""(batch, state, rates) → (the update's numbers, the state behind the window)."""

WARM_UP = 3
"""Updates of a shape that are launched kernel by kernel before it is recorded: libraries choose their kernels in the first."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: Any
    batch: Batch
    state: State
    rates: Tensor
    numbers: Tensor


_ALONE = threading.Lock()
"""One recording at a time: it begins by waiting for the whole device, which would break into another's."""


class Recorder:
    """Updates of one learner.

    Args:
        noise: the generator that they draw from, if they do.
    """

    def __init__(self, noise: torch.Generator | None) -> None:
        self.noise = noise
        self._stream: torch.cuda.Stream | None = None
        self.forget()

    def forget(self) -> None:
        """Record anew: something now lies elsewhere."""
        self._seen: Counter[Any] = Counter()
        self._recorded: dict[Any, _Recorded] = {}

    def __call__(self, update: Update, batch: Batch, state: State, rates: Tensor) -> tuple[Tensor, State]:
        """One update. What it returns is overwritten by the next."""
        kind = tuple(None if x is None else tuple(x.shape) for x in _leaves(batch))
        self._seen[kind] += 1
        if self._seen[kind] <= WARM_UP:
            return self._one_by_one(update, batch, state, rates)
        if kind not in self._recorded:
            self._recorded[kind] = self._record(update, batch, state, rates)
        own = self._recorded[kind]
        for mine, given in zip(_leaves(own.batch), _leaves(batch), strict=True):
            if mine is not None:
                mine.copy_(given)
        own.rates.copy_(rates)
        if state is not own.state:
            _copy(own.state, state)
        own.graph.replay()
        return own.numbers, own.state

    def _one_by_one(self, update: Update, batch: Batch, state: State, rates: Tensor) -> tuple[Tensor, State]:
        """Launched kernel by kernel, on a stream of its own as a recording is."""
        here, aside = torch.cuda.current_stream(), self._aside()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            found = update(batch, state, rates)
        here.wait_stream(aside)
        return found

    def _aside(self) -> torch.cuda.Stream:
        if self._stream is None:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return self._stream

    def _record(self, update: Update, batch: Batch, state: State, rates: Tensor) -> _Recorded:
        own = Batch(batch.inputs.clone(), batch.targets.clone(), _cloned(batch.resets))
        begin: State = [{key: x.clone() for key, x in layer.items()} for layer in state]
        own_rates, graph = rates.clone(), torch.cuda.CUDAGraph()
        if self.noise is not None:
            graph.register_generator_state(self.noise)
        # other threads may go on: what they do is not recorded
        recording = torch.cuda.graph(graph, stream=self._aside(), capture_error_mode="thread_local")
        with _ALONE, _no_collection(), recording:
            numbers, after = update(own, begin, own_rates)
            _copy(begin, after)
        return _Recorded(graph, own, begin, own_rates, numbers)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's collector rests: it would give back the memory of some old graph in the middle of a recording, and break it."""
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


def _leaves(batch: Batch) -> list[Any]:
    marks = batch.resets
    return [
        batch.inputs,
        batch.targets,
        None if marks is None else marks.first,
        None if marks is None else marks.inside,
    ]


def _copy(into: State, state: State) -> None:
    for mine, given in zip(into, state, strict=True):
        for key, x in mine.items():
            x.copy_(given[key])
