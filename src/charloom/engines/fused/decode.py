"""The decoding loop, compiled: repeatedly choose a character for each sample and read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.engines.fused.network import read
from charloom.engines.fused.sampling import choose, log_probability
from charloom.kernels.jit import compiled


@compiled
def decode_loop(
    net: Any, work: Any, context: Any, params: Any, scratch: Any, rows: Any, ids: Any, log_probs: Any
) -> Any:
    """Generate up to n characters in each of B rows; return early if a row generates `params.end`.

    `net` is a `Network`, `work` this thread's `Workspace` for B rows, `context` its `ThreadContext`, `params`
    a `CompiledParams`, `scratch` a `Scratch`. `rows` is (logits, state, recent, positions, samples), owned by
    this thread; all but samples are updated. Outputs are `ids` (B, n) and the model's `log_probs` (B, n), or
    (B, 0) to skip them.

    Returns:
        The number of characters that each row gained, or −1 if a logit was not finite.
    """
    logits, state, recent, positions, samples = rows
    B, n = ids.shape
    now, nowhere = np.empty((1, B), np.int64), np.zeros((1, B), np.bool_)
    behind = logits.reshape((1, B, logits.shape[1]))
    for i in range(n):
        ended = False
        for b in range(B):
            char_id = choose(params, logits[b], recent[b], samples[b], positions[b], scratch)
            if char_id < 0:
                return -1
            if log_probs.shape[1] > 0:
                log_probs[b, i] = log_probability(logits[b], char_id, scratch.weights)
            ids[b, i] = now[0, b] = char_id
            if recent.shape[1] > 0:
                recent[b, positions[b] % recent.shape[1]] = char_id
            positions[b] += 1
            ended = ended or char_id == params.end
        read(net, work, context, now, nowhere, state, now.shape[0] - 1, behind)
        if ended:
            return i + 1
    return n
