"""One batch of the tour: the windows that two consecutive steps read, lane by lane, and the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charloom.config import TrainConfig
from charloom.summary import short_fields
from charloom.text import Corpus, Vocabulary
from charloom.text.batching import Plan, fit_batch

LANES = 4
"""Lanes shown."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a step's batch: the characters read, x, and to predict, y (x shifted by one), with their ids.

    `offset` is the position of x in the training part; `fresh` means that the state is reset before it.
    """

    lane: int
    offset: int
    fresh: bool
    x: tuple[str, ...]
    y: tuple[str, ...]
    x_ids: tuple[int, ...]
    y_ids: tuple[int, ...]

    __repr__ = short_fields


@dataclass(frozen=True, slots=True)
class BatchGrid:
    """Two consecutive steps, batched according to the settings.

    Attributes:
        batching: stream, random or sliding.
        objective: every = each y is predicted; last = only the last y of each row.
        stride: characters between the starts of sliding windows; None for other batchings.
        carries: whether state is carried from a lane's window to its next.
        steps_per_epoch: steps per pass over the text.
        first, second: the same lanes of step 0 and of step 1.
        gaps: for each of them, the characters between the end of its first window and the start of its second; 0 if the
            last y of one is the first x of the other, negative if the windows overlap.
        lane_distance: characters between the starts of neighbouring lanes; None if random or for a single lane.
        notes: settings changed because the text is short.
    """

    batching: str
    objective: str
    batch_size: int
    bptt_length: int
    stride: int | None
    carries: bool
    steps_per_epoch: int
    first: tuple[Lane, ...]
    second: tuple[Lane, ...]
    gaps: tuple[int, ...]
    lane_distance: int | None
    notes: tuple[str, ...]

    __repr__ = short_fields


def symbol_names(vocab: Vocabulary) -> list[str]:
    r"""The name of each id: a character, ``\xNN`` for a non-ASCII byte, or a special's name.

    Example:
        >>> symbol_names(Vocabulary("char", (97, 98), ("<unk>",)))
        ['a', 'b', '<unk>']
    """
    as_bytes = vocab.unit == "byte"
    known = [f"\\x{code:02x}" if as_bytes and code >= 0x80 else chr(code) for code in vocab.symbols]
    return [*known, *vocab.specials]


def batch_of(corpus: Corpus, config: TrainConfig) -> BatchGrid:
    """Batch the first lanes of the first two steps.

    Raises:
        DataError: the training part has fewer than two symbols.
    """
    config, notes = fit_batch(len(corpus.train), config)
    plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
    names = symbol_names(corpus.vocab)
    lanes = range(min(LANES, config.batch_size))
    first, second = (_lanes(plan, step, lanes, names) for step in (0, 1))
    random = config.batching == "random" or (config.batching == "sliding" and config.order == "shuffled")
    return BatchGrid(
        batching=config.batching,
        objective=config.objective,
        batch_size=config.batch_size,
        bptt_length=config.bptt_length,
        stride=config.stride if config.batching == "sliding" else None,
        carries=plan.carries,
        steps_per_epoch=plan.steps_per_epoch,
        first=first,
        second=second,
        gaps=tuple(after.offset - before.offset - len(before.x) for before, after in zip(first, second)),
        lane_distance=None if random or len(first) < 2 else first[1].offset - first[0].offset,
        notes=notes,
    )


def _lanes(plan: Plan, step: int, lanes: range, names: Sequence[str]) -> tuple[Lane, ...]:
    window = plan.window(step, lanes)
    return tuple(
        Lane(
            lane=lane,
            offset=int(plan.places(step, 1, lane).starts[0]),
            fresh=bool(resets[0]),
            x=tuple(names[i] for i in x),
            y=tuple(names[i] for i in y),
            x_ids=tuple(x.tolist()),
            y_ids=tuple(y.tolist()),
        )
        for lane, x, y, resets in zip(lanes, window.inputs, window.targets, window.resets)
    )
