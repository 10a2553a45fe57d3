"""The work on one model: which prompts are read and which choices are written in the next few milliseconds.

    waiting → reading → writing → over

A turn reads one slice of the prompts, all that are being read together, and writes a few characters of every choice
whose client keeps up. So a long prompt delays the others by a slice, and a slow client delays nobody.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from charloom.generation.decoding import select
from charloom.generation.prefill import concat_rows, select_rows
from charloom.serve.counters import Counters
from charloom.serve.job import Choice, Job, PromptReading
from charloom.serve.limits import Limits
from charloom.serve.pace import Pace
from charloom.serve.prefix_cache import Prefix, PrefixCache
from charloom.serve.row_batch import RowBatch, RowOutput
from charloom.serve.served_model import ServedModel
from charloom.serve.tokens import predictions

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from numpy import ndarray as Array

READ_S = 0.01
"""Target time of a slice of prompts."""

WRITE_S, FIRST_WRITE_S = 0.03, 0.01
"""Target time of a call that writes, and of one in which a choice writes its first character."""

MAX_READ, MAX_WRITE = 4096, 4096
"""Most ids of all prompts in a slice, and most characters of a choice in a call."""


class Schedule:
    """The choices of one model, in the batcher's thread."""

    def __init__(self, model: ServedModel, limits: Limits, cache: PrefixCache, counters: Counters) -> None:
        self.model = model
        self._limits, self._cache, self._counters = limits, cache, counters
        self._waiting: deque[tuple[Job, Choice]] = deque()
        self._reading: list[tuple[Job, PromptReading]] = []
        self._begun: list[
            tuple[Job, Choice]
        ] = []  # admitted: its prompt is being read, or it is being written
        self._batches: dict[int, RowBatch] = {}
        self._read_pace, self._write_pace = Pace(), Pace()

    def add(self, job: Job) -> None:
        """Let the choices of a job wait for their turn."""
        self._waiting.extend((job, choice) for choice in job.choices)

    def jobs(self) -> list[Job]:
        """All jobs that have a choice here."""
        held = [*self._waiting, *self._begun]
        return list({id(job): job for job, _ in held}.values())

    def drop(self) -> None:
        """Remove every choice; their jobs have failed."""
        self._waiting.clear()
        self._reading.clear()
        self._begun.clear()
        self._batches.clear()

    def counts(self) -> tuple[int, int, int]:
        """Choices that are read or written, that wait, and that wait for their clients."""
        stalled = sum(choice.row is not None for _, choice in self._begun)
        return len(self._begun) - stalled, len(self._waiting), stalled

    def turn(self) -> tuple[list[tuple[Job, Choice]], bool]:
        """Read and write for a few milliseconds; return the choices that have changed, and whether there was work."""
        self._remove_over()
        can_write = [(job, choice) for job, choice in self._begun if job.has_room()]
        self._admit(self._limits.parallel - len(can_write))
        began = self._read()
        written = self._write()
        changed = list({id(choice): (job, choice) for job, choice in began + written}.values())
        self._begun = [(job, choice) for job, choice in self._begun if choice.finish_reason is None]
        return changed, bool(changed or self._reading)

    def _remove_over(self) -> None:
        self._waiting = deque((job, choice) for job, choice in self._waiting if not job.is_over)
        self._reading = [(job, prompt) for job, prompt in self._reading if not job.is_over]
        self._begun = [(job, choice) for job, choice in self._begun if not job.is_over]

    def _admit(self, free: int) -> None:
        for _ in range(min(free, len(self._waiting))):
            job, choice = self._waiting.popleft()
            self._begun.append((job, choice))
            prompt = choice.prompt
            if prompt.state is None:
                self._start_reading(prompt)
                self._reading.append((job, prompt))

    def _start_reading(self, prompt: PromptReading) -> None:
        """From a kept state if there is one; a prompt that is scored is read from its first character."""
        prompt.state = self.model.decoder.initial_state(1)
        if prompt.num_top is None:
            prompt.num_cached, kept = self._cache.longest(self.model.name, prompt.ids)
            if kept is not None:
                prompt.logits, prompt.state, prompt.num_read = kept.logits, kept.state, prompt.num_cached
                self._counters.cached_chars += prompt.num_cached

    def _read(self) -> list[tuple[Job, Choice]]:
        """Read a slice of the prompts; return the choices that begin."""
        reading = [prompt for _, prompt in self._reading if prompt.num_left > 0]
        if reading:
            self._read_slice(reading)
        self._reading = [(job, prompt) for job, prompt in self._reading if prompt.num_left > 0]
        began = []
        for job, choice in self._begun:
            if not choice.has_begun and choice.prompt.num_left == 0:
                job.note_final(choice.begin())
                began.append((job, choice))
        return began

    def _read_slice(self, prompts: list[PromptReading]) -> None:
        """Read as much of each as is left of the shortest, or as there is time for."""
        rows, began = len(prompts), time.perf_counter()
        length = min(self._read_pace.steps(rows=rows, seconds=READ_S), max(1, MAX_READ // rows))
        length = min(length, *(prompt.num_left for prompt in prompts))
        ids = np.stack([prompt.ids[prompt.num_read : prompt.num_read + length] for prompt in prompts])
        decoder = self.model.decoder
        state = concat_rows(decoder, [prompt.state for prompt in prompts if prompt.state is not None])
        logits, state = decoder.forward(ids, state)
        for b, prompt in enumerate(prompts):
            if prompt.num_top is not None:
                score_prompt(prompt, ids[b], logits[b])
            prompt.logits, prompt.state = logits[b, -1:].copy(), select_rows(state, np.array([b]))
            prompt.num_read += length
            if prompt.num_left == 0:
                self._cache.put(self.model.name, prompt.ids, Prefix(prompt.logits, prompt.state))
        self._counters.read_chars += ids.size
        self._read_pace.note(rows=rows, steps=length, seconds=time.perf_counter() - began)

    def _write(self) -> list[tuple[Job, Choice]]:
        """Write a few characters of every choice whose client keeps up; return those choices."""
        by_window: dict[int, dict[int, tuple[Job, Choice]]] = {window: {} for window in self._batches}
        for job, choice in self._begun:
            if choice.has_begun and choice.finish_reason is None and job.has_room():
                by_window.setdefault(choice.window, {})[id(choice)] = (job, choice)
        written = []
        for window, wanted in by_window.items():
            batch = self._batches.setdefault(window, RowBatch(self.model.decoder))
            batch.arrange([choice for _, choice in wanted.values()])
            if len(batch) > 0:
                is_first = any(choice.text.num_ids == 0 for _, choice in wanted.values())
                for call in self._timed(batch, FIRST_WRITE_S if is_first else WRITE_S):
                    job, choice = wanted[id(call.choice)]
                    job.note_final(self._note(batch, call))
                    written.append((job, choice))
            else:
                del self._batches[window]
        return written

    def _timed(self, batch: RowBatch, seconds: float) -> list[RowOutput]:
        began, rows = time.perf_counter(), len(batch)
        most = min(self._write_pace.steps(rows=rows, seconds=seconds), MAX_WRITE)
        calls = batch.decode(most)
        steps = max(len(call.ids) for call in calls)
        self._write_pace.note(rows=rows, steps=steps, seconds=time.perf_counter() - began)
        return calls

    def _note(self, batch: RowBatch, call: RowOutput) -> int:
        """Add what a call wrote to its choice, and keep the state from which the text may go on.

        Returns the number of characters that are final.
        """
        choice, num_before = call.choice, call.choice.text.num_ids
        num_final = choice.add(call.ids, call.predicted)
        num_new = choice.text.num_ids - num_before
        self._counters.written_chars += num_new
        if choice.finish_reason is None:
            choice.written.append(call.ids)
            return num_final
        if choice.finish_reason == "length" and num_new == len(call.ids):
            choice.written.append(call.ids)
            row = batch.row_of(call.row)
        else:  # it ended within the call: keep the state before
            row = select(call.before, np.array([call.row]))
        ids = np.concatenate([choice.prompt.ids, *choice.written])
        self._cache.put(self.model.name, ids, Prefix(np.asarray(row.logits), row.state))
        return num_final


def score_prompt(prompt: PromptReading, ids: Int64[Array, " T"], logits: Float[Array, "T V"]) -> None:
    """Look up the next ids of a prompt in what was predicted for them; `logits` follow each."""
    assert prompt.num_top is not None
    if prompt.logits is None:
        prompt.predicted += predictions(logits[:-1], ids[1:], prompt.num_top)
    else:
        prompt.predicted += predictions(np.concatenate([prompt.logits, logits[:-1]]), ids, prompt.num_top)
