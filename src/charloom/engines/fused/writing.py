"""The writing loop, compiled: choose a character for each row, read it, and so on, without Python in between."""

from __future__ import annotations

from typing import Any

import numpy as np

from charloom.engines.fused.network import read
from charloom.engines.fused.sampling import choose, log_probability
from charloom.engines.kernels.compiling import compiled


@compiled
def write(net: Any, work: Any, team: Any, rule: Any, room: Any, rows: Any, ids: Any, log_probs: Any) -> Any:
    """Write up to n characters in each of B rows; ends early where a row writes `rule.end`.

    Args:
        net: a `Network`.
        work: this thread's `Work`, for B rows.
        team: its `Team`.
        rule: a `Rule`.
        room: a `Room`.
        rows: (logits, state, recent, positions, samples), this thread's own; all but samples move along.
        ids: (B, n), what is written.
        log_probs: (B, n), the model's own log-probabilities, or (B, 0) where nobody asks.

    Returns:
        How many characters a row has now, or −1 where a logit was not finite.
    """
    logits, state, recent, positions, samples = rows
    B, n = ids.shape
    now, nowhere = np.empty((1, B), np.int64), np.zeros((1, B), np.bool_)
    behind = logits.reshape((1, B, logits.shape[1]))
    for i in range(n):
        ended = False
        for b in range(B):
            char_id = choose(rule, logits[b], recent[b], samples[b], positions[b], room)
            if char_id < 0:
                return -1
            if log_probs.shape[1] > 0:
                log_probs[b, i] = log_probability(logits[b], char_id, room.weights)
            ids[b, i] = now[0, b] = char_id
            if recent.shape[1] > 0:
                recent[b, positions[b] % recent.shape[1]] = char_id
            positions[b] += 1
            ended = ended or char_id == rule.end
        read(net, work, team, now, nowhere, state, now.shape[0] - 1, behind)
        if ended:
            return i + 1
    return n
