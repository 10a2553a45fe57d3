"""Ctrl-C during training, handled between two ranges of steps and never within one."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from charloom.cli.failures import INTERRUPTED


class Interrupt:
    """Record a request to stop while the block runs.

    A `KeyboardInterrupt` raised within a range of steps would leave the weights some steps ahead of the bookkeeping.
    So the first signal is only recorded, and the loop stops where both agree, half a second later; the second signal
    ends the process.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:  # only the main thread may set signal handlers
            self._before.clear()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.came:
            os._exit(INTERRUPTED)
        self.came = True
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nstopping: saving a checkpoint ...\n")


def quoted(path: Path | str) -> str:
    """Quote a path for the shell."""
    return shlex.quote(str(path))
