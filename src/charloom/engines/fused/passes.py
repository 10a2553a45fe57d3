"""What a pass through the compiled network needs besides the network: memory, thread contexts, samples and their rule."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.engines import SamplingParams
from charloom.engines.fused.packing import Network, aligned
from charloom.kernels.library import struct

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array


def new_workspace(net: Network, rows: int) -> ctypes.Structure:
    """One thread's memory for passes of up to `rows` rows (time steps times batch)."""
    dtype = net.numbers.dtype
    return struct(
        "Workspace",
        stream=aligned(rows * net.width, dtype),
        x=aligned(rows * net.max_input_size, dtype),
        scratch=aligned(net.width, dtype),
        small=aligned(rows * net.max_int8_size, np.int8),
        scales=aligned(rows, dtype),
    )


def new_thread_contexts(net: Network, rows: int, parts: int) -> list[ctypes.Structure]:
    """The contexts of `parts` threads that share passes of up to `rows` rows."""
    shared, of_state = (aligned(2 * rows * net.max_output_size, net.numbers.dtype) for _ in range(2))
    memory: dict[str, Any] = {"arrived": np.zeros(1, np.int64), "shared": shared, "of_state": of_state}
    return [struct("ThreadContext", part=part, parts=parts, **memory) for part in range(parts)]


def sampling_rule(params: SamplingParams, vocab_size: int) -> ctypes.Structure:
    """Sampling parameters for the compiled loop, where None becomes the value without effect."""
    banned = (
        np.zeros(vocab_size, np.bool_)
        if params.banned is None
        else np.ascontiguousarray(params.banned, np.bool_)
    )
    penalty = params.repetition_penalty
    return struct(
        "SamplingRule",
        key0=params.seed & 0xFFFFFFFF,
        key1=params.seed >> 32,
        temperature=0.0 if params.is_greedy else float(params.temperature),
        top_k=vocab_size if params.top_k is None else min(params.top_k, vocab_size),
        top_p=1.0 if params.top_p is None else float(params.top_p),
        min_p=0.0 if params.min_p is None else float(params.min_p),
        log_penalty=0.0 if penalty is None else float(np.log(float(penalty))),
        banned=banned,
        end=-1 if params.end_id is None else params.end_id,
        bias=0 if params.logit_bias is None else np.ascontiguousarray(params.logit_bias, np.float32),
    )


class SamplingRules(NamedTuple):
    """The rule of each row, as the compiled loop reads them, and what they were made from."""

    params: list[SamplingParams]
    array: ctypes.Array[Any]
    owners: list[ctypes.Structure]  # of the arrays that the rules point to

    def are_of(self, params: Sequence[SamplingParams]) -> bool:
        """Whether they were made from the very same parameters."""
        return len(self.params) == len(params) and all(map(is_, self.params, params))

    def row(self, number: int) -> Any:
        """A reference to the rules from this row on."""
        return ctypes.byref(self.array, number * ctypes.sizeof(self.owners[0]))


def sampling_rules(params: Sequence[SamplingParams], vocab_size: int) -> SamplingRules:
    """Make the rules of rows; equal parameters are made into one rule once."""
    compiled = {id(one): sampling_rule(one, vocab_size) for one in params}
    each = [compiled[id(one)] for one in params]
    return SamplingRules(list(params), (type(each[0]) * len(each))(*each), each)


def new_samples(
    logits: Float[Array, "B V"],
    state: Float[Array, "B S"],
    recent: Int[Array, "B R"],
    positions: Int[Array, "B"],
    samples: Int[Array, "B"],
) -> ctypes.Structure:
    """The samples of a thread, with scratch space; the arrays are changed in place."""
    scores, weights = np.empty((2, logits.shape[1]), np.float32)
    return struct(
        "Samples",
        num_rows=len(logits),
        num_recent=recent.shape[1],
        logits=logits,
        state=state,
        recent=recent,
        positions=positions,
        samples=samples,
        scores=scores,
        weights=weights,
        heap=np.empty(logits.shape[1], np.int64),
    )
