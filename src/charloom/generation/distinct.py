"""Samples that differ from each other or from known texts: draw until there are enough, or too many were refused.

Samples are judged in the order of their numbers, so the result depends on the seed and not on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from charloom.generation.generate import Generation, Piece, Sample

TRIES_PER_SAMPLE = 20
FEWEST_TRIES = 100


class DistinctSamples(Iterator[Piece | Sample]):
    """An iterator over the first `count` samples that are accepted; like `Generation`, but without pieces.

    Args:
        draw: (first number, count) → a generation of these samples.
        count: how many to accept; at most `TRIES_PER_SAMPLE` times as many are drawn, or `FEWEST_TRIES`.
        unique: whether to refuse a sample equal to an earlier one.
        is_known: whether to refuse a sample as known; None = no sample is.
    """

    def __init__(
        self,
        draw: Callable[[int, int], Generation],
        count: int,
        *,
        unique: bool,
        is_known: Callable[[Sample], bool] | None,
    ) -> None:
        self._draw, self._count, self._unique, self._is_known = draw, count, unique, is_known
        self._seen: set[str] = set()
        self._waiting: list[Sample] = []  # finished, and not yet judged
        self._generation: Generation | None = None
        self._num_accepted = self._num_repeated = self._num_known = 0
        self._samples = self._accepted()

    def __iter__(self) -> Generator[Sample]:
        return self._samples

    def __next__(self) -> Sample:
        return next(self._samples)

    @property
    def shortfall(self) -> str | None:
        """Why there are fewer samples than asked for, in words; None if there are enough."""
        if self._num_accepted == self._count:
            return None
        num_drawn = self._num_accepted + self._num_repeated + self._num_known
        refused = [f"{self._num_repeated:,} were equal to another"] if self._unique else []
        refused += [f"{self._num_known:,} stand in the training text"] if self._is_known is not None else []
        return (
            f"{self._num_accepted:,} of {self._count:,} samples: {num_drawn:,} were drawn, {' and '.join(refused)}; "
            "a higher temperature gives more different ones"
        )

    def interrupt(self) -> list[Sample]:
        """Stop now; return the accepted samples that were finished and not yet yielded."""
        self._samples.close()
        if self._generation is not None:
            finished = self._generation.interrupt()
            self._waiting += [sample for sample in finished if sample.finish_reason != "interrupted"]
        return list(self._judged())

    def _accepted(self) -> Generator[Sample]:
        drawn, size, tries = 0, self._count, max(FEWEST_TRIES, TRIES_PER_SAMPLE * self._count)
        while self._num_accepted < self._count and drawn < tries:
            size = min(size, tries - drawn)
            self._generation = self._draw(drawn, size)
            for event in self._generation:
                if isinstance(event, Sample):
                    self._waiting.append(event)
            drawn, size = drawn + size, 2 * size
            yield from self._judged()

    def _judged(self) -> Generator[Sample]:
        """The samples among those waiting that are accepted, in the order of their numbers."""
        waiting, self._waiting = sorted(self._waiting, key=lambda sample: sample.index), []
        for sample in waiting:
            if self._num_accepted < self._count and self._accepts(sample):
                yield sample

    def _accepts(self, sample: Sample) -> bool:
        whole = sample.prompt + sample.text
        repeated = self._unique and whole in self._seen
        known = not repeated and self._is_known is not None and self._is_known(sample)
        self._num_repeated += repeated
        self._num_known += known
        self._num_accepted += not (repeated or known)
        self._seen.add(whole)
        return not (repeated or known)
