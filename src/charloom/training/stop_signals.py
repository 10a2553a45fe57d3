"""Signals that end a training: recorded when they arrive, obeyed between two ranges of steps and never within one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

from charloom.training.events import Event, Finished

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""Ctrl-C, a request to end, a closed terminal; on Windows Ctrl-Break and a closed console."""


class TrainingStopped(KeyboardInterrupt):
    """A signal ended a training after its checkpoint was saved; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """Record a signal to stop while the block runs; `check` raises it at the next event.

    A `KeyboardInterrupt` raised within a range of steps would leave the weights some steps ahead of the bookkeeping.
    So the first signal is only recorded; a Ctrl-C after it raises `KeyboardInterrupt` at once, and the newest checkpoint
    stays. A signal that the process ignores, as `nohup` ignores SIGHUP, remains ignored. Outside the main thread, where
    Python delivers no signals, nothing is recorded.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        with contextlib.suppress(ValueError):  # only the main thread may set signal handlers
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self, event: Event) -> None:
        """Raise `TrainingStopped` if a signal has arrived, unless this event is the end of the training."""
        if self.number is not None and not isinstance(event, Finished):
            raise TrainingStopped(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.number is not None:
            if number == signal.SIGINT:  # a closing terminal may send SIGHUP twice
                raise KeyboardInterrupt
            return
        self.number = number
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(
                sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nstopping: saving a checkpoint ...\n"
            )
