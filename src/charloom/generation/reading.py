"""Reading prompts: from ids to the logits of the first character to write, and the state behind the prompt.

Each distinct prompt is read once, whole, and its row is then copied to every sample that begins with it. Prompts of
one length are read side by side; prompts of different lengths apart, so that no padding enters a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import Rows, State, state_like

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Int64
    from numpy import ndarray as Array

    from charloom.engines import Model
    from charloom.text.vocabulary import Vocabulary

READ_LENGTH = 8192
"""Time steps of one `Model.forward`; a longer prompt is read in several, or its logits would fill the memory."""


def with_opening(prompt: Int[Array, " T"], vocab: Vocabulary) -> Int64[Array, " S"]:
    """What the model reads before it writes: never nothing, for there is no distribution before the first character.

    In documents mode the boundary symbol begins every prompt, as it begins every document of the training text.
    Elsewhere an empty prompt is read as a newline, or a space, or the first character that the vocabulary has.

    Args:
        prompt: ids, perhaps none.
        vocab: the model's vocabulary.

    Returns:
        int64, at least one id. What was put before the prompt is read and never printed.
    """
    ids = np.asarray(prompt, dtype=np.int64).reshape(-1)
    if vocab.boundary_id is not None:
        return np.concatenate([[vocab.boundary_id], ids])
    if len(ids) > 0:
        return ids
    known = [char for char in "\n " if not vocab.unknown(char)]
    return np.asarray(vocab.encode(known[0]) if known else [0], dtype=np.int64)


def read_prompts(model: Model, prompts: Sequence[Int64[Array, " T"]]) -> tuple[Float[Array, "B V"], State]:
    """Read one prompt a row, from the initial state.

    Args:
        model: the model to read with.
        prompts: B arrays of at least one id each; lengths may differ.

    Returns:
        The logits of each row's next character, (B, V), and the state behind each prompt, B rows.
    """
    distinct = {prompt.tobytes(): prompt for prompt in prompts}
    by_length = sorted(distinct, key=len)
    parts = [
        _read(model, np.stack([distinct[key] for key in group])) for _, group in groupby(by_length, key=len)
    ]
    place = {key: row for row, key in enumerate(by_length)}
    rows = np.array([place[prompt.tobytes()] for prompt in prompts])
    logits = np.concatenate([logits for logits, _ in parts])
    return logits[rows], take_rows(join_rows(model, [state for _, state in parts]), rows)


def first_rows(
    model: Model, openings: Sequence[Int64[Array, " T"]], samples: Sequence[int], remembered: int
) -> Rows:
    """Rows that have read one prompt each and written nothing.

    Args:
        model: the model to read with.
        openings: B arrays of at least one id each, as `with_opening` gives them.
        samples: B numbers.
        remembered: W, how many of the last ids a row keeps.
    """
    B = len(openings)
    recent = np.full((B, remembered), -1, np.int64)
    for b, ids in enumerate(openings):
        last = ids[-remembered:] if remembered else ids[:0]
        recent[b, remembered - len(last) :] = last  # written before position 0, so behind its turn
    numbers = np.array(samples, np.int64)
    if B == 0:
        return Rows(np.empty((0, 0)), [], recent, numbers, numbers)
    logits, state = read_prompts(model, openings)
    return Rows(logits, state, recent, np.zeros(B, np.int64), numbers)


def take_rows(state: State, rows: Int64[Array, " R"]) -> State:
    """The state of the given rows, in their order; a row may be taken more than once."""
    return state_like(state, lambda leaf: leaf[rows])


def _read(model: Model, ids: Int64[Array, "B T"]) -> tuple[Float[Array, "B V"], State]:
    state = model.initial_state(len(ids))
    for start in range(0, ids.shape[1], READ_LENGTH):
        logits, state = model.forward(ids[:, start : start + READ_LENGTH], state)
    return logits[:, -1], state


def join_rows(model: Model, states: Sequence[State]) -> State:
    """The rows of several states below each other."""
    if len(states) == 1:
        return states[0]
    exported = [model.export_state(state) for state in states]
    return model.import_state(
        [
            {key: np.concatenate([state[i][key] for state in exported]) for key in layer}
            for i, layer in enumerate(exported[0])
        ]
    )
