"""A trained network bound to the compiled loops: forward over windows, steps, losses, and generated text."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from ctypes import byref
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import DecodeOutput, DecodeState, SamplingParams, State
from charloom.engines.contract import NumpyStates, unflatten_state, zero_state
from charloom.engines.fused.helper_threads import HelperThreads, shares
from charloom.engines.fused.packing import pack
from charloom.engines.fused.passes import (
    SamplingRules,
    new_samples,
    new_thread_contexts,
    new_workspace,
    sampling_rules,
)
from charloom.engines.fused.thread_tuner import ThreadTuner
from charloom.errors import DivergedError
from charloom.kernels.library import library, pointer
from charloom.text.batching import Window
from charloom.threads import available as threads_available

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int8": np.dtype(np.float32),
}
"""The type of numbers between the products, for each precision."""

Samples = tuple["Array", "Array", "Array", "Array", "Array"]
"""Logits (B, V), state (B, S), recent ids (B, R), positions (B,) and numbers (B,) of samples."""

PASS_ROWS = 256
"""Most rows (time steps times batch) of one compiled pass: data between two products stays in the caches."""

CHARS_A_THREAD = 128
"""Fewest characters of a window per thread: for fewer, starting another costs more than it saves."""

ROWS_A_THREAD = 8
"""Fewest samples per thread; for fewer, another thread does not pay off."""


class FusedModel(NumpyStates):
    """The `EngineModel` and the `BatchDecoder` of the contract, for every network, with copies of its parameters.

    `precision` is float32, float64, or int8 (matrices in int8, everything else in float32). `threads` is the
    most threads: several rows are divided among them, and generation splits one stream by the panels of each product
    if that is faster. None = one thread for one stream, all available threads for several. `portable` computes float32
    and int8 with the same bits on every processor.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        precision: str = "float32",
        threads: int | None = None,
        portable: bool = False,
    ) -> None:
        self.config, self.vocab_size, self.dtype = config, len(params["out.bias"]), DTYPES[precision]
        self._row_threads = threads_available() if threads is None else threads
        self._tuner = ThreadTuner(1 if threads is None else threads)
        self._threads = HelperThreads()
        self._parameters = {name: np.array(p, self.dtype) for name, p in params.items()}
        self.net = pack(params, config, dtype=self.dtype, int8=precision == "int8")
        self._rules: SamplingRules | None = None
        compiled = library()
        assert compiled is not None, "load_engine asks first"
        flavour = "portable" if portable else "float64" if precision == "float64" else "float32"
        self._read_window, self._decode, self._nats = (
            compiled.function(name, flavour) for name in ("read_window", "decode", "nats_of_targets")
        )

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""
        return zero_state(self.config, batch_size, self.dtype)

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters per row; return the logits after each character and the state after the last."""
        check_ids(ids, self.vocab_size)
        ids = np.ascontiguousarray(np.asarray(ids).T, np.int64)
        (T, B), flat = ids.shape, self.flat_state(state)
        marks = np.zeros((T, B), np.bool_) if resets is None else np.ascontiguousarray(resets.T, np.bool_)
        logits = np.empty((B, T, self.vocab_size), self.dtype)

        def read_rows(rows: slice) -> int:
            self._read(ids[:, rows], marks[:, rows], flat[rows], logits[rows])
            return 0

        self._threads.run(read_rows, [(rows,) for rows in self._rows(B, T * B)])
        return logits, unflatten_state(self.config, flat)

    def _rows(self, B: int, num_chars: int) -> list[slice]:
        """Divide the rows of a window among threads, if there is enough to read."""
        return shares(B, min(self._row_threads, B, num_chars // CHARS_A_THREAD))

    def _read(
        self,
        ids: Int[Array, "T B"],
        marks: Bool[Array, "T B"],
        flat: Float[Array, "B S"],
        logits: Float[Array, "B T V"],
    ) -> None:
        """Read a window of rows on this thread; changes `flat` and fills `logits`."""
        T, B = ids.shape
        length = max(1, PASS_ROWS // B)
        most = min(T, length)
        (context,), work = new_thread_contexts(self.net, most * B, 1), new_workspace(self.net, most * B)
        ids, marks = np.ascontiguousarray(ids), np.ascontiguousarray(marks)
        found = np.empty((most, B, self.vocab_size), self.dtype)
        net = self.net.struct
        for t in range(0, T, length):
            now, resets = ids[t : t + length], marks[t : t + length]
            arrays = (pointer(now), pointer(resets), pointer(flat), 0, pointer(found))
            self._read_window(byref(net), byref(work), byref(context), len(now), B, *arrays)
            logits[:, t : t + length] = found[: len(now)].swapaxes(0, 1)

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character per row."""
        logits, after = self.forward(np.asarray(ids)[:, None], state)
        return logits[:, 0], after

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats, and the state after the last character."""
        check_ids(window.targets, self.vocab_size)
        logits, after = self.forward(window.inputs, state, window.resets)
        nats = np.empty(window.targets.shape, self.dtype)
        targets = np.ascontiguousarray(window.targets, np.int64).reshape(-1)
        self._nats(pointer(logits), pointer(targets), pointer(nats), targets.size, self.vocab_size)
        return nats, after

    def decode(
        self,
        before: DecodeState,
        params: SamplingParams | Sequence[SamplingParams],
        num_chars: int,
        *,
        log_probs: bool = False,
    ) -> DecodeOutput:
        """Generate and read up to `num_chars` characters per sample, with several threads if that pays off."""
        B = len(before.positions)
        ids, scores = np.empty((B, num_chars), np.int64), np.empty((B, num_chars * log_probs))
        samples = (
            np.array(before.logits, self.dtype, order="C"),
            self.flat_state(before.state),
            np.array(before.recent, np.int64, order="C"),
            np.array(before.positions, np.int64),
            np.array(before.samples, np.int64),
        )
        began, rules = time.perf_counter(), self._rules_of(params, B)

        shares = self._share_one(samples, ids, scores) if B == 1 else self._share_many(samples, ids, scores)
        calls = []
        for context, first, own, own_ids, own_scores in shares:
            work, rows = new_workspace(self.net, len(own_ids)), new_samples(*own)
            passed = [byref(part) for part in (self.net.struct, work, context)]
            passed += [rules.row(first), byref(rows)]
            outputs = (pointer(own_ids), pointer(own_scores) if log_probs else None)
            calls.append((*passed, num_chars, *outputs))
        count = self._threads.run(self._decode, calls)
        if count < 0:
            raise not_a_distribution()
        if B == 1:
            self._tuner.note(len(calls), (time.perf_counter() - began) / max(1, count))
        logits, flat, recent, positions, _ = samples
        after = DecodeState(logits, unflatten_state(self.config, flat), recent, positions, before.samples)
        return DecodeOutput(after, ids, positions - before.positions, scores)

    def _rules_of(self, params: SamplingParams | Sequence[SamplingParams], B: int) -> SamplingRules:
        """The rules of B rows; those of the last call again if they are for the same parameters."""
        each = [params] * B if isinstance(params, SamplingParams) else params
        rules = self._rules
        if rules is None or not rules.are_of(each):
            rules = self._rules = sampling_rules(each, self.vocab_size)
        return rules

    def _share_many(self, samples: Samples, ids: Array, scores: Array) -> list[tuple[Any, ...]]:
        """Divide the samples among threads: context, number of the first sample, samples and outputs of each."""
        B = len(ids)
        return [
            (
                new_thread_contexts(self.net, rows.stop - rows.start, 1)[0],
                rows.start,
                tuple(array[rows] for array in samples),
                ids[rows],
                scores[rows],
            )
            for rows in shares(B, min(self._row_threads, B // ROWS_A_THREAD))
        ]

    def _share_one(self, samples: Samples, ids: Array, scores: Array) -> list[tuple[Any, ...]]:
        """Divide the panels of every product among threads; each decodes its own copy of the sample."""
        parts, own = self._tuner.threads, (samples, ids, scores)
        copies = [own, *(copy.deepcopy(own) for _ in range(1, parts))]
        contexts = new_thread_contexts(self.net, 1, parts)
        return [(context, 0, *mine) for context, mine in zip(contexts, copies, strict=True)]

    def parameters(self) -> dict[str, Array]:
        """Copies of the parameters, under their names."""
        return {name: p.copy() for name, p in self._parameters.items()}

    def flat_state(self, state: State) -> Float[Array, "B S"]:
        """A new array with the state of every row, layer after layer."""
        leaves = [np.asarray(leaf, self.dtype) for layer in state for leaf in layer.values()]
        return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def not_a_distribution() -> DivergedError:
    """The error for logits of which the largest is not finite."""
    return DivergedError(
        "the largest logit of the next character is not finite",
        why="only finite logits define a distribution over characters",
        fix="check the model file; if training diverged, use an earlier checkpoint or a lower learning rate",
    )


def check_ids(ids: Int[Array, "..."], vocab_size: int) -> None:
    """Raise an IndexError for ids outside the vocabulary, as compiled loops do not check bounds."""
    ids = np.asarray(ids)
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise IndexError(f"ids {ids.min()} to {ids.max()} in a vocabulary of {vocab_size}")
