"""The baselines of a run: the n-gram of the best order and xz, measured while the network trains.

Both are primed with the training part and scored on the held-out text that measures the network. On Linux, a thread of
the lowest priority measures them, in the time that training leaves idle; elsewhere only if training leaves a core free.
What is left at the end of the training is measured then.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.evaluation.compressors import xz_bits_in_steps
from charloom.evaluation.ngram import ngram_surprisals
from charloom.steps import result_of
from charloom.text.corpus import Corpus

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

LEAST_TRAIN_CHARS, MOST_TRAIN_CHARS = 1_000_000, 4_000_000
"""The baselines are primed with the end of the training part: ten times the held-out text, within these bounds."""

MOST_HELD_OUT_CHARS = 1_000_000
MAX_ORDER = 10
LOWEST_PRIORITY = 19


class Baselines(NamedTuple):
    """Results of the baselines on the held-out text; None without one."""

    ngram_bits_per_char: float | None = None
    ngram_order: int | None = None
    xz_bits_per_char: float | None = None
    baseline_train_chars: int = 0


class BaselineMeasurement:
    """One measurement of the baselines, in steps that a background thread or the caller takes.

    Args:
        corpus: its training part primes the baselines.
        held_out: the text to score, (M,).
    """

    def __init__(self, corpus: Corpus, held_out: Int[Array, "M"]) -> None:
        train_chars = max(LEAST_TRAIN_CHARS, min(MOST_TRAIN_CHARS, 10 * len(held_out)))
        self._steps = _measure(corpus, held_out, train_chars)
        self._lock, self._stops = threading.Lock(), threading.Event()
        self._found = Baselines()
        self._error: BaseException | None = None

    def start(self, *, spare_cores: int) -> None:
        """Measure in the background, if that takes no time from the training."""
        if sys.platform == "linux" or spare_cores > 0:
            threading.Thread(target=self._run, name="baselines", daemon=True).start()

    def stop(self) -> None:
        """Take no further step in the background."""
        self._stops.set()

    def finish(self, stops: Callable[[], bool] = lambda: False) -> Generator[float, None, Baselines]:
        """Take the remaining steps here; yields now and then, and returns the results.

        When `stops` returns true, the results are what is measured by then.

        Raises:
            Exception: whatever a step raised.
        """
        self.stop()
        while not self._lock.acquire(timeout=0.5):  # a step in the background is not interrupted
            yield 0.5
        try:
            while not stops() and self._step():
                yield 0.5
        finally:
            self._lock.release()
        if self._error is not None:
            raise self._error
        return self._found

    def _run(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        while not self._stops.is_set():
            with self._lock:
                if not self._step():
                    return

    def _step(self) -> bool:
        """Take a step; whether more may follow."""
        try:
            self._found = next(self._steps)
        except StopIteration as end:
            self._found = end.value or self._found
            return False
        except Exception as error:
            self._error = error
            return False
        return self._error is None


def measure_baselines(corpus: Corpus, held_out: Int[Array, "M"] | None = None) -> Baselines:
    """Measure the baselines now; `held_out` is the validation part, or its beginning, by default."""
    held_out = corpus.validation if held_out is None else held_out
    if held_out is None or len(held_out) < 2:
        return Baselines()
    return result_of(_measure(corpus, held_out[:MOST_HELD_OUT_CHARS], MOST_TRAIN_CHARS))


def _measure(
    corpus: Corpus, held_out: Int[Array, "M"], train_chars: int
) -> Generator[Baselines, None, Baselines]:
    """Yields what is measured so far."""
    train = corpus.train[-train_chars:]
    found, by_order = Baselines(), list[float]()
    for bits in ngram_surprisals(train, held_out, len(corpus.vocab), max_order=MAX_ORDER):
        by_order.append(float(bits.mean()))
        best = int(np.argmin(by_order))
        found = Baselines(by_order[best], best + 1, None, len(train))
        yield found
    steps = xz_bits_in_steps(corpus.vocab.decode(train), corpus.vocab.decode(held_out))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return found._replace(xz_bits_per_char=end.value)
        yield found
