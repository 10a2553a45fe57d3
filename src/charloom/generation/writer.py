"""Writing: samples side by side, as events that a reader may show as they come.

The uniform number of sample s at output position t is a function of (seed, s, t) alone. So one sample can be written
again by itself, and the batch, the grouping of prompts and the way of reading cannot change a draw. (Logits may differ
in their last bits between batch sizes on torch and scratch: that is the engine's arithmetic, not a draw.)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import SampleConfig
from charloom.engines import Choice, Rows
from charloom.errors import ConfigError
from charloom.generation.pens import new_pen, take
from charloom.generation.reading import first_rows, with_opening
from charloom.generation.rows import FinishReason, Row, never_written

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Int64
    from numpy import ndarray as Array

    from charloom.engines import Model
    from charloom.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that a sample has just gained and will keep.

    Attributes:
        sample: the sample's number.
        text: at least one character; the pieces of a sample that was not interrupted, joined, are its text.
    """

    sample: int
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that has ended.

    Attributes:
        index: its number; with the seed, the address of its draws: `write` it again with ``first_sample=index``.
        prompt: the prompt as the model read it.
        text: what the model wrote, without prompt, stop string and boundary symbol.
        finish_reason: ``length``, ``stop``, ``boundary`` or ``interrupted``.
        seed: the seed of the whole writing.
        log_probs: where they were asked for, the model's log-probability of each written character in nats, at temperature 1 and
            before all filters (of a byte model: of each byte).
    """

    index: int
    prompt: str
    text: str
    finish_reason: FinishReason
    seed: int
    log_probs: tuple[float, ...] | None = None


class Writing(Iterator[Piece | Sample]):
    """Samples being written: an iterator of events, made by `write`.

    Each sample gives its pieces and then, once, itself. Samples of one batch take turns, so they end in any order, and where one ends
    the next begins. To leave early, `interrupt` it: the samples that had begun are not lost.
    """

    def __init__(
        self,
        model: Model,
        vocab: Vocabulary,
        prompts: Sequence[Int[Array, " T"]],
        *,
        config: SampleConfig,
        seed: int,
        stops: tuple[str, ...],
        first_sample: int,
        log_probs: bool,
    ) -> None:
        self._model, self._vocab, self._config = model, vocab, config
        self._seed, self._stops, self._log_probs = seed, stops, log_probs
        self._openings = [with_opening(prompt, vocab) for prompt in prompts]
        self._prompts = [vocab.decode(prompt) for prompt in prompts]
        self._waiting = iter(range(first_sample, first_sample + config.count))
        self._first = first_sample
        self._read: dict[bytes, Rows] = {}
        self._open: dict[int, Row] = {}
        self._events = self._write_all()

    def __next__(self) -> Piece | Sample:
        return next(self._events)

    def interrupt(self) -> list[Sample]:
        """End the writing now, for example after a `KeyboardInterrupt`.

        Returns:
            The samples that had begun and were not yet given, with all their text (also what was held back as the
            possible beginning of a stop string); ``finish_reason`` is ``interrupted`` unless one had just ended.
        """
        self._events.close()
        for row in self._open.values():
            if row.finish_reason is None:
                row.finish("interrupted")
        return [self._closed(row) for row in list(self._open.values())]

    def _write_all(self) -> Generator[Piece | Sample]:
        rows, opened = self._begin(self._config.batch)
        pen = new_pen(self._model, opened, self._choice(), log_probs=self._log_probs)
        while rows:
            ids, lengths, log_probs = pen.write(min(row.most for row in rows))
            for b, row in enumerate(rows):
                yield from self._advance(row, ids[b, : lengths[b]], log_probs[b, : lengths[b]])
            going = [b for b, row in enumerate(rows) if row.finish_reason is None]
            if len(going) < len(rows):
                rows = [rows[b] for b in going]
                pen.keep(np.array(going, np.int64))
            free = self._config.batch - len(rows)
            if 4 * free >= self._config.batch:  # seldom, for taking rows up costs about as much as a step
                begun, opened = self._begin(free)
                if begun:
                    rows += begun
                    pen.add(opened)

    def _begin(self, free: int) -> tuple[list[Row], Rows]:
        """Up to so many samples that wait, their prompts read."""
        numbers = list(islice(self._waiting, free))
        which = [(number - self._first) % len(self._prompts) for number in numbers]
        rows = [self._opened(number, prompt) for number, prompt in zip(numbers, which, strict=True)]
        return rows, self._rows(numbers, [self._openings[prompt] for prompt in which])

    def _rows(self, numbers: list[int], openings: list[Int64[Array, " T"]]) -> Rows:
        """Where these samples begin; of one prompt for all, what was read is kept for those who come later."""
        key = self._openings[0].tobytes()
        if len(self._openings) > 1 or key not in self._read:
            rows = first_rows(self._model, openings, numbers, remembered(self._config))
            if len(self._openings) == 1 and numbers:
                self._read[key] = take(rows, np.zeros(1, np.int64))
            return rows
        same = take(self._read[key], np.zeros(len(numbers), np.int64))
        return replace(same, samples=np.array(numbers, np.int64))

    def _choice(self) -> Choice:
        return choice_of(self._config, self._vocab, self._seed)

    def _advance(
        self, row: Row, ids: Int64[Array, " n"], log_probs: Float[Array, " n"]
    ) -> Iterator[Piece | Sample]:
        text = row.read(ids, log_probs)
        if text:
            yield Piece(row.index, text)
        if row.finish_reason is not None:
            yield self._closed(row)

    def _opened(self, index: int, prompt: int) -> Row:
        row = Row(
            index, self._prompts[prompt], self._vocab, stops=self._stops, length=self._config.length or None
        )
        self._open[index] = row
        return row

    def _closed(self, row: Row) -> Sample:
        assert row.finish_reason is not None
        del self._open[row.index]
        log_probs = row.log_probs if self._log_probs else None
        return Sample(row.index, row.prompt, row.text, row.finish_reason, self._seed, log_probs)


def choice_of(config: SampleConfig, vocab: Vocabulary, seed: int) -> Choice:
    """How a configuration chooses characters of a vocabulary."""
    return Choice(
        seed,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
        banned=never_written(vocab),
        end_id=vocab.boundary_id,
    )


def remembered(config: SampleConfig) -> int:
    """How many characters a row remembers for the repetition penalty; 0 where there is none."""
    return 0 if config.repetition_penalty is None else config.repetition_window


def write(
    model: Model,
    vocab: Vocabulary,
    prompts: Sequence[Int[Array, " T"]],
    config: SampleConfig,
    *,
    seed: int,
    stop: str | Sequence[str] = (),
    first_sample: int = 0,
    log_probs: bool = False,
) -> Writing:
    """Write `config.count` samples, `config.batch` of them side by side.

    The whole prompt is read first; then the state is carried from character to character. In documents mode a sample
    ends at the boundary symbol. ``<unk>`` is never written.

    Args:
        model: any engine's model.
        vocab: its vocabulary.
        prompts: ids as `encode_prompt` gives them: one prompt for all samples, or one for each.
        config: length in characters (0 = until stopped), count, batch, temperature and filters; `config.seed` is not
            read, for by now somebody has drawn one.
        seed: with a sample's number, the address of its draws.
        stop: a sample ends before the first of these to be complete in what the model writes (the prompt does not
            count); pieces never show a part of it.
        first_sample: the first sample's number.
        log_probs: whether samples come with the log-probability of each character.

    Returns:
        An iterator of `Piece` and `Sample`: pieces as they come, and each sample when it has ended.

    Raises:
        ConfigError: there are neither one nor `config.count` prompts, or a stop string is empty. Raised here, before
            the first character.

    Example:
        >>> from types import SimpleNamespace
        >>> from charloom.text.vocabulary import Vocabulary
        >>> always_b = SimpleNamespace(
        ...     initial_state=lambda rows: [],
        ...     forward=lambda ids, state: (np.array([[[-99.0, 99.0]]]), state),
        ...     step=lambda ids, state: (np.array([[-99.0, 99.0]]), state),
        ... )
        >>> for event in write(always_b, Vocabulary.from_text("ab"), [[0]], SampleConfig(length=2), seed=5):
        ...     print(event)
        Piece(sample=0, text='b')
        Piece(sample=0, text='b')
        Sample(index=0, prompt='a', text='bb', finish_reason='length', seed=5, log_probs=None)
    """
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    _check(len(prompts), config.count, stops)
    return Writing(
        model,
        vocab,
        prompts,
        config=config,
        seed=seed,
        stops=stops,
        first_sample=first_sample,
        log_probs=log_probs,
    )


def sample(
    model: Model,
    vocab: Vocabulary,
    prompts: Sequence[Int[Array, " T"]],
    config: SampleConfig,
    *,
    seed: int,
    stop: str | Sequence[str] = (),
    first_sample: int = 0,
) -> list[Sample]:
    """Write samples and return them in the order of their numbers: `write` without the pieces.

    Raises:
        ConfigError: as `write`, and where `config.length` is 0 and nothing could ever end a sample.
    """
    if config.length == 0 and vocab.boundary_id is None and not stop:
        raise ConfigError(
            "length is 0 and nothing ends a sample",
            why="without a stop string or documents the text goes on for ever, and a list of it is never complete",
            fix="set --length, give --stop, or read the pieces of write() as they come",
        )
    events = write(model, vocab, prompts, config, seed=seed, stop=stop, first_sample=first_sample)
    return sorted((event for event in events if isinstance(event, Sample)), key=lambda done: done.index)


def _check(num_prompts: int, count: int, stops: tuple[str, ...]) -> None:
    if num_prompts not in (1, count):
        raise ConfigError(
            f"{num_prompts} prompts for {count} samples",
            why="either all samples begin with one prompt, or each has its own",
            fix=f"give 1 prompt or {count}, or set --count {max(num_prompts, 1)}",
        )
    if "" in stops:
        raise ConfigError(
            "a stop string is empty",
            why="it would end every sample before its first character",
            fix="give --stop at least one character, or leave it out",
        )
