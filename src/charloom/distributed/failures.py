"""Who has failed, and why: asked of the store that all ranks share, after an operation between ranks has failed.

A rank that fails by itself posts its reason. A rank whose operation fails reads it there; without one, it asks which
ranks still answer, and names those that do not.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from datetime import timedelta
from typing import Any

from charloom.errors import CharloomError, RankError
from charloom.files import json_text
from charloom.schema import json_value

SETTLE_S = 3.0
"""After a failed operation, how long a rank waits for the others to report that they run."""

STORE_S = 5.0
"""How long the store may take to answer after a failure."""


class Failures:
    """What this rank says and learns of failures; `store` is torch's, shared by all ranks."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.host, self.hosts = socket.gethostname(), dict[int, str]()

    def announce(self) -> None:
        """Leave the name of this rank's host in the store, for the message when it is gone."""
        self.store.set(f"host/{self.rank}", f"{self.host} (process {os.getpid()})")

    def learn_hosts(self) -> None:
        """Read the names of all hosts, while the store can be reached."""
        self.hosts = {rank: self.store.get(f"host/{rank}").decode() for rank in range(self.size)}

    def post(self, error: CharloomError) -> bool:
        """Write for the other ranks why this one fails; whether it is the first to do so, which is believed."""
        facts = {"rank": self.rank, "host": self.host, "what": error.what, "why": error.why, "fix": error.fix}
        text = json_text(facts)
        kept = _in_time(lambda: self.store.compare_set("failure", "", text))
        return kept is None or kept.decode() == text

    def explained(self, error: RuntimeError, waited_s: float, timeout_s: float) -> RankError:
        """The error for a failed operation: who has failed and why, or who does not answer."""
        found: tuple[dict[str, Any], list[int]] = _in_time(self._asked) or ({}, [])
        posted, answering = found
        if posted:
            what = str(posted["what"])
            if not what.startswith("rank "):
                what = f"rank {posted['rank']} on {posted['host']} failed: {what}"
            told = posted["rank"] != self.rank
            return RankError(what, why=posted["why"], fix=posted["fix"], is_told=told)
        lost = [rank for rank in range(self.size) if rank not in answering and rank != self.rank]
        names = ", ".join(f"rank {rank} on {self.hosts.get(rank, 'an unknown host')}" for rank in lost)
        what = f"{names} is gone or hangs" if len(lost) == 1 else f"{names} are gone or hang"
        if not lost:
            what = "the ranks lost their connection, although all of them run"
        waited = f"rank {self.rank} on {self.host} waited {waited_s:.1f} s of at most {timeout_s:g} s"
        return RankError(
            what,
            why=f"{first_sentence(error)} ({waited})",
            fix="look at that host; --resume with the folder of the run continues from its last checkpoint",
            is_told=bool(answering) and min(answering) < self.rank,
        )

    def linger(self) -> None:
        """Keep the store for the other ranks until they have read a failure.

        Under torchrun the store is its own; without it, it ends with rank 0.
        """
        if self.rank > 0 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return
        others = [f"answers/{rank}" for rank in range(1, self.size)]
        until = time.monotonic() + SETTLE_S
        with contextlib.suppress(RuntimeError):
            while time.monotonic() < until and not all(self.store.check([other]) for other in others):
                time.sleep(0.05)
        time.sleep(0.2)  # their reading follows their answer

    def _asked(self) -> tuple[dict[str, Any], list[int]]:
        """The failure that a rank has posted, if any, and the ranks that report that they run."""
        self.store.set_timeout(timedelta(seconds=STORE_S))
        self.store.set(f"answers/{self.rank}", "1")
        until = time.monotonic() + SETTLE_S
        while True:
            if self.store.check(["failure"]):
                posted: dict[str, Any] = json_value(self.store.get("failure"))
                return posted, []
            answering = [r for r in range(self.size) if self.store.check([f"answers/{r}"])]
            if len(answering) == self.size or time.monotonic() > until:
                return {}, answering
            time.sleep(0.1)


def _in_time(ask: Callable[[], Any]) -> Any:
    """The result of a question to the store; None if it fails, or takes longer than `SETTLE_S` + `STORE_S`."""
    asking = ThreadPoolExecutor(1)
    try:
        return asking.submit(ask).result(SETTLE_S + STORE_S)
    except (RuntimeError, Late, ValueError, OSError):
        return None
    finally:
        asking.shutdown(wait=False, cancel_futures=True)


def first_sentence(error: Exception) -> str:
    """The first sentence of torch's message, without the place in its source.

    Example:
        >>> first_sentence(RuntimeError("[/pytorch/x.cpp:9] Read error [10.0.0.1]: reset. This is typical."))
        'Read error [10.0.0.1]: reset'
    """
    line = re.sub(r"^\[/[^]]*\] ", "", str(error).strip().split("\n")[0])
    return re.split(r"\. (?=[A-Z])", line)[0].rstrip(".")[:200]
