"""A sign of life on standard error while a verb computes and prints nothing."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from charloom.cli.output import Show
from charloom.progress import is_live

FIRST_S, LIVE_EVERY_S, PLAIN_EVERY_S = 2.0, 0.5, 5.0


class Heartbeat:
    """Inside the block, say what the verb is doing whenever it has printed nothing for two seconds.

    A terminal shows one line that is rewritten; otherwise a line is printed every few seconds. Progress displays set
    `Show.is_reporting` and are left alone.
    """

    def __init__(self, show: Show) -> None:
        self._show, self._over = show, threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        if not self._show.quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._show.erase()

    def _beat(self) -> None:
        show, live = self._show, is_live(sys.stderr)
        while not self._over.wait(0.1):
            wait_s = FIRST_S if not show.is_beating else LIVE_EVERY_S if live else PLAIN_EVERY_S
            if time.monotonic() - show.printed_at >= wait_s and not show.is_reporting:
                show.beat(self._line(), live=live)

    def _line(self) -> str:
        what, share = self._show.doing
        done = "" if share is None else f", {share:.0%}"
        return f"{what} … {time.monotonic() - self._began:.0f} s{done}"
