"""One batch of the tour: what two steps read, lane by lane, and what lies between a lane's window and its next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charloom.config import TrainConfig
from charloom.text import Corpus, Vocabulary
from charloom.text.windows import Plan, fit_batch

LANES = 4
"""Lanes shown."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of one step's batch.

    Attributes:
        lane: its number in the batch.
        offset: where its first input stands in the training part.
        fresh: the state is the initial one before its first input.
        x: the characters read.
        y: the characters to predict: the text one further.
        x_ids: ids of `x`.
        y_ids: ids of `y`.
    """

    lane: int
    offset: int
    fresh: bool
    x: tuple[str, ...]
    y: tuple[str, ...]
    x_ids: tuple[int, ...]
    y_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Two steps in a row, as the settings batch them.

    Attributes:
        batching: stream, random or sliding.
        objective: every = each y is predicted; last = the last of each row alone.
        batch_size: lanes.
        bptt_length: time steps.
        stride: characters between the rows of sliding windows; None for others.
        carries: whether state flows from a lane's window to its next.
        steps_per_epoch: steps of one pass.
        first: the first lanes of step 0.
        second: the same lanes of step 1.
        gaps: for each of them, the characters between the end of its first window and the beginning of its second: 0 where the
            last y of the one is the first x of the other, negative where they overlap.
        lane_distance: characters from a lane's beginning to the next lane's; None where they lie at random, or there is one.
        notes: what was changed because the text is short.
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


def symbol_names(vocab: Vocabulary) -> list[str]:
    r"""What each id stands for: a character, ``\xNN`` for a byte that is none, or a special's name.

    Example:
        >>> symbol_names(Vocabulary("char", (97, 98), ("<unk>",)))
        ['a', 'b', '<unk>']
    """
    as_bytes = vocab.unit == "byte"
    known = [f"\\x{code:02x}" if as_bytes and code >= 0x80 else chr(code) for code in vocab.symbols]
    return [*known, *vocab.specials]


def batch_of(corpus: Corpus, config: TrainConfig) -> Batch:
    """The first lanes of the first two steps.

    Raises:
        DataError: the training part holds fewer than two symbols.
    """
    config, notes = fit_batch(len(corpus.train), config)
    plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
    names = symbol_names(corpus.vocab)
    lanes = range(min(LANES, config.batch_size))
    first, second = (_lanes(plan, step, lanes, names) for step in (0, 1))
    ends = [lane.offset + len(lane.x) for lane in first]
    random = config.batching == "random" or (config.batching == "sliding" and config.order == "shuffled")
    return Batch(
        batching=config.batching,
        objective=config.objective,
        batch_size=config.batch_size,
        bptt_length=config.bptt_length,
        stride=config.stride if config.batching == "sliding" else None,
        carries=plan.carries,
        steps_per_epoch=plan.steps_per_epoch,
        first=first,
        second=second,
        gaps=tuple(lane.offset - end for lane, end in zip(second, ends)),
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
