"""A request while it is served: prompts to read, choices to write, and the way of the text to its client.

The batcher's thread reads and writes; the event loop takes what is final. A client that takes nothing holds up its own
choices only: `Job.has_room` is false until it takes again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.engines import DecodeState, SamplingParams, State
from charloom.generation.prefill import with_bos
from charloom.generation.sample_text import SampleText
from charloom.serve.refusal import Refusal
from charloom.serve.served_model import ServedModel
from charloom.serve.tokens import Likelihood, Token, TokenLog

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from numpy import ndarray as Array


class PromptReading:
    """A prompt, and how far the model has read it.

    Args:
        model: the model that reads it.
        ids: as from `encode_prompt`.
        num_top: with how many alternatives its characters are scored; None = they are not scored.
    """

    def __init__(self, model: ServedModel, ids: Int64[Array, " T"], num_top: int | None) -> None:
        self.ids, self.text = with_bos(ids, model.vocab), model.vocab.decode(ids)
        self.num_ids, self.num_top = len(ids), num_top
        self.num_read = self.num_cached = 0
        self.logits: Float[Array, "1 V"] | None = None
        self.state: State | None = None
        self.predicted: list[Likelihood | None] = [None]  # of each of `ids`; nothing predicts the first

    @property
    def num_left(self) -> int:
        """Ids that are not read yet."""
        return len(self.ids) - self.num_read

    def tokens(self, model: ServedModel) -> list[Token]:
        """The scored characters of the prompt, without what was read before it."""
        log = TokenLog(model.vocab, model.token_names, with_top=bool(self.num_top))
        own = self.ids[len(self.ids) - self.num_ids :] if self.num_ids else self.ids[:0]
        log.add(own.tolist(), self.predicted[len(self.ids) - len(own) : len(self.ids)])
        return log.take(len(self.text))

    def begin(self, sample: int, window: int) -> DecodeState:
        """The state in which a choice begins, after the whole prompt; `window` is as in `prefill_batch`."""
        assert self.logits is not None
        assert self.state is not None
        recent = np.full((1, window), -1, np.int64)
        last = self.ids[-window:] if window else self.ids[:0]
        recent[0, window - len(last) :] = last
        return DecodeState(self.logits, self.state, recent, np.zeros(1, np.int64), np.array([sample]))


class TextPart(NamedTuple):
    """New final text of a choice; the last one has a reason."""

    choice: Choice
    text: str
    tokens: list[Token]
    finish_reason: str | None


class Choice:
    """One text of a request.

    Args:
        index: its number, which with the seed determines the draws.
        model: the model that writes it.
        prompt: what it continues; several choices may share one.
        params: how its characters are chosen.
        window: how many characters its repetition penalty covers.
        length: most characters.
        stops: stop texts.
        num_top: alternatives for each character; None = no log-probabilities.
        echo: whether its text begins with the prompt.
    """

    def __init__(
        self,
        index: int,
        model: ServedModel,
        prompt: PromptReading,
        *,
        params: SamplingParams,
        window: int,
        length: int,
        stops: Sequence[str],
        num_top: int | None,
        echo: bool,
    ) -> None:
        self.index, self.model, self.prompt, self.params, self.window = index, model, prompt, params, window
        self.text = SampleText(index, "", model.vocab, stops=stops, length=length or None)
        self.length, self.echo, self.num_top = length, echo, num_top
        self.has_begun = False
        self.row: DecodeState | None = None  # while it is in no batch
        self.written: list[Int64[Array, " n"]] = []  # all ids up to `row`, call by call
        self.finish_reason: str | None = None
        self._num_final = len(prompt.text) if echo else 0
        self._log = None
        if num_top is not None:
            with_top, offset = num_top > 0, self._num_final
            self._log = TokenLog(model.vocab, model.token_names, with_top=with_top, offset=offset)
        self._unsent: list[str] = []
        self._tokens: list[Token] = []
        self._sent_at = 0.0

    def begin(self) -> int:
        """Start writing, as the prompt has been read; return the number of characters that are echoed."""
        self.has_begun = True
        if self.echo:
            self._unsent.append(self.prompt.text)
            if self.num_top is not None:
                self._tokens += self.prompt.tokens(self.model)
        if self.length == 0:
            self.finish_reason = "length"
        else:
            self.row = self.prompt.begin(self.index, self.window)
        return len(self.prompt.text) if self.echo else 0

    def add(self, ids: Int64[Array, " n"], found: Sequence[Likelihood]) -> int:
        """Add the ids of a call, and return the number of characters that are final with them.

        `found` has a prediction for each id if log-probabilities are wanted.
        """
        final = self.text.add(ids)
        self._unsent.append(final)
        if self.text.finish_reason is not None:
            self.finish_reason = "length" if self.text.finish_reason == "length" else "stop"
        if self._log is not None:
            self._log.add(ids.tolist(), found)
            self._num_final += len(final)
            self._tokens += self._log.take(self._num_final)
        return len(final)

    def take(self, now: float, every_s: float) -> TextPart | None:
        """What is new for the client: at once at the beginning and at the end, otherwise not too often."""
        if self.finish_reason is None and now - self._sent_at < every_s:
            return None
        text, tokens = "".join(self._unsent), self._tokens
        if not text and self.finish_reason is None:
            return None
        self._unsent, self._tokens, self._sent_at = [], [], now
        return TextPart(self, text, tokens, self.finish_reason)


class Job:
    """The choices of a request, on their way from the batcher's thread to the event loop that made the job.

    Args:
        choices: all of one model.
        deadline_s: seconds until the request is given up.
        streams: whether text is delivered as it is written, or each choice in one piece.
        max_pending: characters not yet taken before the choices wait.
        on_change: called from the event loop when the batcher has reason to look again.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        *,
        deadline_s: float,
        streams: bool,
        max_pending: int,
        on_change: Callable[[], None],
    ) -> None:
        self.choices, self.streams = list(choices), streams
        self.arrived = time.monotonic()
        self.deadline, self.deadline_s = self.arrived + deadline_s, deadline_s
        self.is_over = False  # cancelled, failed or complete
        self.loop = asyncio.get_running_loop()
        self.was_answered = False
        self._queue: asyncio.Queue[list[TextPart] | Refusal] = asyncio.Queue()
        self._max_pending, self._on_change = max_pending, on_change
        self._pending, self._is_full, self._lock = 0, False, threading.Lock()

    @property
    def prompt_ids(self) -> int:
        """Ids of all prompts; one that several choices share counts once."""
        return sum(prompt.num_ids for prompt in self._prompts())

    @property
    def cached_ids(self) -> int:
        """How many ids of the prompts were not read, because a state after them was kept."""
        return sum(min(prompt.num_cached, prompt.num_ids) for prompt in self._prompts())

    @property
    def written_ids(self) -> int:
        """Ids of all choices' texts."""
        return sum(choice.text.num_ids for choice in self.choices)

    def _prompts(self) -> list[PromptReading]:
        return list({id(choice.prompt): choice.prompt for choice in self.choices}.values())

    async def pieces(self) -> AsyncGenerator[list[TextPart]]:
        """The pieces as they arrive; what a yield returns from counts as taken.

        Raises:
            Refusal: the job has failed.
        """
        num_open = len(self.choices)
        try:
            while num_open > 0:
                arrived = await self._queue.get()
                if isinstance(arrived, Refusal):
                    raise arrived
                yield arrived
                num_open -= sum(piece.finish_reason is not None for piece in arrived)
                self._note_taken(sum(len(piece.text) for piece in arrived))
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Give the job up, if it is not complete; the batcher drops its choices."""
        if not self.is_over:
            self.is_over = True
            self._on_change()

    def has_room(self) -> bool:
        """Whether to go on writing: not after the client has left too much untaken, until it has taken half."""
        with self._lock:
            limit = self._max_pending // 2 if self._is_full else self._max_pending
            self._is_full = self.streams and self._pending >= limit
            return not self._is_full

    def note_final(self, num_chars: int) -> None:
        """Count what the client has to take (the batcher's thread)."""
        with self._lock:
            self._pending += num_chars

    def deliver(self, arrived: list[TextPart] | Refusal) -> None:
        """Put pieces, or a failure, where `pieces` finds them (the event loop)."""
        self._queue.put_nowait(arrived)

    def _note_taken(self, num_chars: int) -> None:
        with self._lock:
            self._pending -= num_chars
            wakes = self._is_full and self._pending < self._max_pending // 2
        if wakes:
            self._on_change()
