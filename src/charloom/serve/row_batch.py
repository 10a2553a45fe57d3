"""The rows of a model that are decoded together; choices join and leave between two calls.

A row's logits, state, position and sample number are its own, so its text does not depend on the others. A row outside
the batch waits in its choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.engines import DecodeState
from charloom.generation.decoding import concat, select
from charloom.serve.job import Choice
from charloom.serve.served_model import Decoder
from charloom.serve.tokens import Likelihood, predictions

if TYPE_CHECKING:
    from jaxtyping import Int64
    from numpy import ndarray as Array


class RowOutput(NamedTuple):
    """What one call wrote for a choice, and its number of characters."""

    choice: Choice
    ids: Int64[Array, " n"]
    predicted: list[Likelihood]
    before: DecodeState  # of all rows, before the call
    row: int


class RowBatch:
    """Choices with the same repetition window, and their rows, one for each."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._choices: list[Choice] = []
        self._rows: DecodeState | None = None

    def __len__(self) -> int:
        return len(self._choices)

    def arrange(self, wanted: Sequence[Choice]) -> None:
        """Make these the choices of the batch; the others take their rows with them."""
        if self._choices == list(wanted):
            return
        staying = {id(choice) for choice in wanted}
        kept = [b for b, choice in enumerate(self._choices) if id(choice) in staying]
        for b, choice in enumerate(self._choices):
            if id(choice) not in staying and choice.finish_reason is None:
                choice.row = self._only([b])
        joining = [choice for choice in wanted if choice.row is not None]
        parts = [self._only(kept)] if kept else []
        parts += [choice.row for choice in joining if choice.row is not None]
        self._choices = [self._choices[b] for b in kept] + joining
        self._rows = concat(self._decoder, parts) if parts else None
        for choice in joining:
            choice.row = None

    def row_of(self, row: int) -> DecodeState:
        """A copy of one row."""
        return self._only([row])

    def decode(self, most: int) -> list[RowOutput]:
        """Write up to `most` characters for each choice, none beyond the length of any."""
        assert self._rows is not None
        before = self._rows
        num_chars = min(most, *(choice.text.max_ids for choice in self._choices))
        output = self._decoder.decode(before, [choice.params for choice in self._choices], num_chars)
        self._rows = output.after
        calls = []
        for b, choice in enumerate(self._choices):
            ids = output.ids[b, : output.lengths[b]].copy()
            calls.append(RowOutput(choice, ids, self._predicted(before, b, choice, ids), before, b))
        return calls

    def _predicted(
        self, before: DecodeState, b: int, choice: Choice, ids: Int64[Array, " n"]
    ) -> list[Likelihood]:
        """The distributions that the ids were drawn from: read again, which gives the same bits."""
        if choice.num_top is None:
            return []
        row = select(before, np.array([b]))
        logits = np.asarray(row.logits)
        if len(ids) > 1:
            later, _ = self._decoder.forward(ids[None, :-1], row.state)
            logits = np.concatenate([logits, later[0]])
        return predictions(logits, ids, choice.num_top)

    def _only(self, rows: Sequence[int]) -> DecodeState:
        assert self._rows is not None
        return select(self._rows, np.array(rows, np.int64))
