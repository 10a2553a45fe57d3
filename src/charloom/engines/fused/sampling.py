"""From logits to a character, compiled: the arithmetic of `generation.filters` for one row.

    s = logits, −∞ if banned, less ln penalty if recently generated        (1)
    temperature 0: the largest s, the lowest id on ties                    (2)
    w = exp((s − max s) / temperature)                                     (3)
    top-k, then top-p of the rest, then min-p: w becomes 0                 (4)
    id = the first with w_0 + … + w_id > u Σ w, in id order                (5)

w is float32 (1e-7), its sums are float64. The likeliest are taken from a heap, so (4) does not sort all V.
Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from charloom.kernels.jit import compiled
from charloom.kernels.masks import fill_words
from charloom.kernels.vector_math import exponential
from charloom.rng import Purpose

_SAMPLE = np.uint32(int(Purpose.SAMPLE))
_NOBODY = -1
_LOWEST = np.finfo(np.float32).min


class CompiledParams(NamedTuple):
    """`SamplingParams` without None."""

    key0: Any  # lower half of the seed
    key1: Any  # upper half
    temperature: float  # 0 = greedy; otherwise 1 / temperature is finite in float32
    top_k: int  # V = all
    top_p: float  # 1 = all
    min_p: float  # 0 = all
    log_penalty: float  # natural logarithm; 0 = none
    banned: Any  # bool, (V,)
    end: int  # the id that ends a sample, or −1


class Scratch(NamedTuple):
    """Scratch space of `choose`."""

    scores: Any  # s, float32 (V,)
    weights: Any  # w, float32 (V,)
    heap: Any  # ids, (V,)
    words: Any  # uint32, (4,)


def new_scratch(vocab_size: int) -> Scratch:
    """Allocate scratch space for a vocabulary."""
    scores, weights = np.empty((2, vocab_size), np.float32)
    return Scratch(scores, weights, np.empty(vocab_size, np.int64), np.empty(4, np.uint32))


@compiled
def choose(rule: Any, logits: Any, recent: Any, sample: Any, position: Any, scratch: Any) -> Any:
    """Choose an id from logits (V,), or return −1 if the largest logit is not finite.

    `rule` is a `CompiledParams`; `recent` has the last ids read or generated, −1 if empty; `sample` is the
    sample's number, `position` the number of characters it has generated; `scratch` is a `Scratch`.
    """
    scores, V = scratch.scores, logits.shape[0]
    for v in range(V):
        scores[v] = -np.inf if rule.banned[v] else logits[v]
    if rule.log_penalty != 0:
        for i in range(recent.shape[0]):
            char_id = recent[i]
            if char_id >= 0 and not rule.banned[char_id]:  # once, however often it occurs
                scores[char_id] = np.float32(logits[char_id]) - np.float32(rule.log_penalty)
    best = 0
    for v in range(1, V):
        if not scores[best] >= scores[v]:  # a NaN wins, and stays
            best = v
            if scores[v] != scores[v]:
                return _NOBODY
    peak = scores[best]
    if not math.isfinite(peak):
        return _NOBODY
    if rule.temperature == 0:
        return best  # (2)
    weights, inverse = scratch.weights, np.float32(1 / rule.temperature)
    for v in range(V):  # a difference of float32 may overflow to −∞, and −∞ · 0 is NaN
        weights[v] = max(scores[v] - peak, _LOWEST) * inverse
    exponential(weights)  # (3)
    for v in range(V):
        weights[v] = np.float32(0) if scores[v] == -np.inf else weights[v]
    if rule.top_k < V or rule.top_p < 1:
        _keep_likeliest(rule, scores, weights, scratch.heap)
    if rule.min_p > 0:
        for v in range(V):  # the largest weight is 1
            weights[v] = weights[v] if weights[v] >= np.float32(rule.min_p) else np.float32(0)
    return _draw(weights, uniform(rule, sample, position, scratch.words))


@compiled
def uniform(rule: Any, sample: Any, position: Any, words: Any) -> Any:
    """The uniform number in [0, 1) for a position of a sample, as from `rng.uniforms`."""
    fill_words(words, rule.key0, rule.key1, np.uint32(sample), np.uint32(position), _SAMPLE)
    return (
        np.float64(words[0] >> np.uint32(5)) * 67108864.0 + np.float64(words[1] >> np.uint32(6))
    ) * 2.0**-53


@compiled
def _draw(weights: Any, u: Any) -> Any:
    """Compute (5)."""
    total = 0.0
    for v in range(weights.shape[0]):
        total += weights[v]
    reached, goal, last = 0.0, u * total, 0
    for v in range(weights.shape[0]):
        if weights[v] > 0:
            last = v
            reached += weights[v]
            if reached > goal:
                break
    return last


@compiled
def _keep_likeliest(rule: Any, scores: Any, weights: Any, heap: Any) -> None:
    """Set to 0 the weights that top-k and then top-p exclude."""
    V = weights.shape[0]
    for v in range(V):
        heap[v] = v
    for parent in range(V // 2 - 1, -1, -1):
        _sift(heap, scores, parent, V)
    num_kept, total = min(rule.top_k, V), 0.0
    if rule.top_k < V:
        for i in range(num_kept):  # move the likeliest to the end of the heap, one by one
            _pop(heap, scores, V - i)
            total += weights[heap[V - 1 - i]]
    else:
        for v in range(V):
            total += weights[v]
    goal, before, kept = rule.top_p * total, 0.0, 0
    while kept < num_kept and (rule.top_p >= 1 or before < goal):
        if rule.top_k >= V:
            _pop(heap, scores, V - kept)
        before += weights[heap[V - 1 - kept]]
        kept += 1
    for i in range(V - kept):
        weights[heap[i]] = 0


@compiled
def _pop(heap: Any, scores: Any, size: Any) -> None:
    """Move the likeliest id of heap[:size] to its end."""
    heap[0], heap[size - 1] = heap[size - 1], heap[0]
    _sift(heap, scores, 0, size - 1)


@compiled
def _sift(heap: Any, scores: Any, parent: Any, size: Any) -> None:
    """Sift heap[parent] down to its place."""
    moving = heap[parent]
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size and _likelier(scores, heap[child + 1], heap[child]):
            child += 1
        if not _likelier(scores, heap[child], moving):
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = moving


@compiled
def _likelier(scores: Any, a: Any, b: Any) -> Any:
    return scores[a] > scores[b] or (scores[a] == scores[b] and a < b)


@compiled
def log_probability(logits: Any, char_id: Any, weights: Any) -> Any:
    """The model's log-probability of a character in nats, over the whole vocabulary at temperature 1."""
    peak = logits[0]
    for v in range(1, logits.shape[0]):
        peak = max(peak, logits[v])
    for v in range(logits.shape[0]):
        weights[v] = logits[v] - peak
    exponential(weights)
    total = 0.0
    for v in range(weights.shape[0]):
        total += weights[v]
    return np.float64(logits[char_id] - peak) - math.log(total)
