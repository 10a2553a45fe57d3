"""The batcher: one thread, off the event loop, that reads and writes the texts of all requests together.

    event loop ── submit(job) ──▶ schedules, one for each model ── pieces ──▶ event loop ── client

The thread alternates between the models that have work, a few milliseconds each. It gives text to the event loop in
pieces, not more often than a reader notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping

from charloom.serve.counters import Counters
from charloom.serve.job import Choice, Job, TextPart
from charloom.serve.limits import Limits
from charloom.serve.prefix_cache import PrefixCache
from charloom.serve.refusal import Refusal, busy, internal, stopping, too_late
from charloom.serve.schedule import Schedule
from charloom.serve.served_model import ServedModel

PIECE_EVERY_S, PIECES_PER_S = 0.04, 320
"""Shortest time between two pieces of a text, and most pieces of all texts: a piece costs more than its characters."""

LOOK_EVERY_S = 0.25
"""How often deadlines are checked if there is nothing to do."""

_log = logging.getLogger("charloom.serve")


class Batcher:
    """Serves jobs until it is closed; every method may be called from any thread.

    Args:
        models: by name.
        limits: of the server.
        counters: to count in.
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, counters: Counters) -> None:
        self._limits, self._counters = limits, counters
        self._cache = PrefixCache(limits.max_cache_bytes, limits.max_cached_states)
        self._schedules = {
            name: Schedule(model, limits, self._cache, counters) for name, model in models.items()
        }
        self._arrived: list[Job] = []
        self._failing: Refusal | None = None  # what to fail every job with, once
        self._num_held, self._is_changed = 0, False
        self._is_stopping = self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def check_room(self, num_choices: int = 1) -> None:
        """Check that a job may be submitted.

        Raises:
            Refusal: there is no place for it (429), or the server is stopping (503).
        """
        if self._is_stopping:
            raise stopping()
        if self._num_held + num_choices > self._limits.max_held:
            raise busy(num_choices, self._num_held, self._limits.max_held)

    def submit(self, job: Job) -> None:
        """Serve a job.

        Raises:
            Refusal: as `check_room`.
        """
        with self._changed:
            self.check_room(len(job.choices))
            self._num_held += len(job.choices)
            self._arrived.append(job)
            self._note_change()

    def wake(self) -> None:
        """Look again: a job was cancelled, or its client has taken text."""
        with self._changed:
            self._note_change()

    def stop_admitting(self) -> None:
        """Refuse further jobs; those that are here go on."""
        with self._changed:
            self._is_stopping = True

    def cut(self) -> None:
        """Refuse further jobs, and fail those that are here."""
        with self._changed:
            self._is_stopping, self._failing = True, stopping()
            self._note_change()

    def close(self) -> None:
        """Fail what is left and end the thread."""
        self.cut()
        with self._changed:
            self._is_closed = True
            self._note_change()
        self._thread.join()

    def gauges(self) -> dict[str, tuple[str, float]]:
        """What the batcher holds now, for `Counters.text`."""
        counts = [schedule.counts() for schedule in self._schedules.values()]
        active, waiting, stalled = (sum(column) for column in zip(*counts, strict=True))
        return {
            "choices_active": ("Texts that are read or written.", active),
            "choices_waiting": ("Texts that wait for their turn.", waiting),
            "choices_stalled": ("Texts that wait for their clients.", stalled),
            "choices_held": ("Places that are taken.", self._num_held),
            "cached_states": ("States kept to continue texts from.", len(self._cache)),
            "cached_state_bytes": ("Memory of these states.", self._cache.num_bytes),
        }

    def _note_change(self) -> None:
        self._is_changed = True
        self._changed.notify()

    def _run(self) -> None:
        is_busy = False
        while True:
            with self._changed:
                if not (is_busy or self._is_changed):
                    self._changed.wait(LOOK_EVERY_S)
                self._is_changed = False
                arrived, self._arrived = self._arrived, []
                failing, self._failing = self._failing, None
                is_closed = self._is_closed
            for job in arrived:
                self._schedules[job.choices[0].model.name].add(job)
            turns = [self._turn(schedule, failing) for schedule in self._schedules.values()]
            is_busy = any(turns)
            if is_closed:
                return

    def _turn(self, schedule: Schedule, failing: Refusal | None) -> bool:
        """One turn of a model; return whether there was work."""
        try:
            if failing is not None:
                self._fail(schedule.jobs(), failing)
            now = time.monotonic()
            for job in schedule.jobs():
                if now > job.deadline:
                    self._fail([job], too_late(job.deadline_s))
            changed, was_busy = schedule.turn()
            self._deliver(changed)
        except Exception:  # the thread serves every other request too
            _log.exception("a model failed")
            self._fail(schedule.jobs(), internal())
            schedule.drop()
            was_busy = False
        self._count_held()
        return was_busy

    def _fail(self, jobs: list[Job], refusal: Refusal) -> None:
        for job in jobs:
            if not job.is_over:
                job.is_over = True
                _call(job.loop, job.deliver, refusal)

    def _count_held(self) -> None:
        """Free the places of choices that are over."""
        with self._changed:
            held = [*self._arrived]
            for schedule in self._schedules.values():
                held += [job for job in schedule.jobs() if not job.is_over]
            open_ = (choice for job in held for choice in job.choices if choice.finish_reason is None)
            self._num_held = sum(1 for _ in open_)

    def _deliver(self, changed: list[tuple[Job, Choice]]) -> None:
        """Hand new text to the event loops, in one call for each."""
        now, by_job = time.monotonic(), dict[int, tuple[Job, list[TextPart]]]()
        wait_s = max(PIECE_EVERY_S, len(changed) / PIECES_PER_S)
        for job, choice in changed:
            every_s = wait_s if job.has_room() else 0.0  # what fills the room is on its way
            piece = choice.take(now, every_s) if job.streams or choice.finish_reason else None
            if piece is not None:
                by_job.setdefault(id(job), (job, []))[1].append(piece)
            if choice.text.num_ids > 0 and not job.was_answered:
                job.was_answered = True
                self._counters.first_char.observe(now - job.arrived)
        by_loop: dict[int, list[tuple[Job, list[TextPart]]]] = {}
        for job, pieces in by_job.values():
            by_loop.setdefault(id(job.loop), []).append((job, pieces))
        for deliveries in by_loop.values():
            _call(deliveries[0][0].loop, _deliver_all, deliveries)


def _deliver_all(deliveries: list[tuple[Job, list[TextPart]]]) -> None:
    for job, pieces in deliveries:
        job.deliver(pieces)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    """Run a function in an event loop, unless the loop is closed, as the server's is when it has stopped."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)
