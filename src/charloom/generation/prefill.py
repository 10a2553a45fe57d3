"""Prefill: read the prompts to get the logits of the first generated character and the state after each prompt.

Each distinct prompt is read once, and its row is copied to every sample that starts with it. Prompts of equal length
are read as one batch; different lengths are read separately, so that no padding enters a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import DecodeState, State, map_state

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Int64
    from numpy import ndarray as Array

    from charloom.engines import EngineModel
    from charloom.text.vocabulary import Vocabulary

READ_LENGTH = 8192
"""Time steps per `EngineModel.forward`; a longer prompt takes several calls, or its logits would fill the memory."""


def with_bos(prompt: Int[Array, " T"], vocab: Vocabulary) -> Int64[Array, " S"]:
    """Prepend what the model reads before the prompt: it needs at least one character to predict the next.

    In documents mode this is the boundary symbol, which also begins every document of the training text. Otherwise an
    empty prompt becomes a newline, a space, or the first character of the vocabulary. Added ids are never printed.
    """
    ids = np.asarray(prompt, dtype=np.int64).reshape(-1)
    if vocab.boundary_id is not None:
        return np.concatenate([[vocab.boundary_id], ids])
    if len(ids) > 0:
        return ids
    known = [char for char in "\n " if not vocab.unknown(char)]
    return np.asarray(vocab.encode(known[0]) if known else [0], dtype=np.int64)


def prefill(model: EngineModel, prompts: Sequence[Int64[Array, " T"]]) -> tuple[Float[Array, "B V"], State]:
    """Read one prompt of at least one id per row, from the initial state; lengths may differ.

    Returns the logits of each row's next character, (B, V), and the state after each prompt, B rows.
    """
    distinct = {prompt.tobytes(): prompt for prompt in prompts}
    by_length = sorted(distinct, key=len)
    groups = (list(group) for _, group in groupby(by_length, key=len))
    parts = [_read(model, np.stack([distinct[key] for key in group])) for group in groups]
    row_of = {key: row for row, key in enumerate(by_length)}
    rows = np.array([row_of[prompt.tobytes()] for prompt in prompts])
    logits = np.concatenate([logits for logits, _ in parts])
    return logits[rows], select_rows(concat_rows(model, [state for _, state in parts]), rows)


def prefill_batch(
    model: EngineModel, prompts: Sequence[Int64[Array, " T"]], samples: Sequence[int], penalty_window: int
) -> DecodeState:
    """Start the samples with these B numbers: each has read its prompt (from `with_bos`) and generated nothing.

    `penalty_window` is W, how many of its last ids each sample keeps for the repetition penalty.
    """
    B = len(prompts)
    recent = np.full((B, penalty_window), -1, np.int64)
    for b, ids in enumerate(prompts):
        last = ids[-penalty_window:] if penalty_window else ids[:0]
        recent[b, penalty_window - len(last) :] = last  # before position 0
    numbers = np.array(samples, np.int64)
    if B == 0:
        return DecodeState(np.empty((0, 0)), [], recent, numbers, numbers)
    logits, state = prefill(model, prompts)
    return DecodeState(logits, state, recent, np.zeros(B, np.int64), numbers)


def select_rows(state: State, rows: Int64[Array, " R"]) -> State:
    """The state of these rows, in this order; a row may be repeated."""
    return map_state(state, lambda leaf: leaf[rows])


def _read(model: EngineModel, ids: Int64[Array, "B T"]) -> tuple[Float[Array, "B V"], State]:
    state = model.initial_state(len(ids))
    for start in range(0, ids.shape[1], READ_LENGTH):
        logits, state = model.forward(ids[:, start : start + READ_LENGTH], state)
    return logits[:, -1], state


def concat_rows(model: EngineModel, states: Sequence[State]) -> State:
    """The rows of several states, in order."""
    if len(states) == 1:
        return states[0]
    exported = [model.export_state(state) for state in states]
    return model.import_state(
        [
            {key: np.concatenate([state[i][key] for state in exported]) for key in layer}
            for i, layer in enumerate(exported[0])
        ]
    )
