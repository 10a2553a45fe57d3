"""How the ranks of one start find each other in a store that outlives them.

torchrun keeps its store when it restarts the processes, and the count of restarts differs between hosts: only the host
of the rank that failed counts. So the ranks agree on a name for this start: each says hello with a token of its own,
and rank 0 welcomes that token with the name, until every rank has thanked it. What a dead process left in the store
is welcomed in vain.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any, NamedTuple

from charloom.errors import RankError

_POLL_S = 0.02


class Meeting(NamedTuple):
    """What the ranks of a start agree on."""

    name: str  # of this start, in no other
    attempt: int  # how many starts this store has seen, from 1; 0 in ranks that do not lead


def meet(store: Any, rank: int, size: int, timeout_s: float) -> Meeting:
    """Agree on the name of this start with the other ranks.

    Raises:
        RankError: a rank has not said hello in time.
    """
    until = time.monotonic() + timeout_s
    return _welcome(store, size, until) if rank == 0 else _hello(store, rank, until)


def _welcome(store: Any, size: int, until: float) -> Meeting:
    name, attempt = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}", store.add("attempts", 1)
    welcomed: dict[int, bytes] = {}
    waiting = set(range(1, size))
    while waiting:
        for rank in sorted(waiting):
            token = store.get(f"hello/{rank}") if store.check([f"hello/{rank}"]) else None
            if token is not None and welcomed.get(rank) != token:
                store.set(f"welcome/{rank}", f"{token.decode()} {name}")
                welcomed[rank] = token
        waiting -= {rank for rank in waiting if store.check([f"thanks/{name}/{rank}"])}
        if waiting and time.monotonic() > until:
            missing = ", ".join(map(str, sorted(waiting)))
            raise _late(
                f"ranks {missing} of {size} did not come"
                if len(waiting) > 1
                else f"rank {missing} did not come"
            )
        time.sleep(_POLL_S)
    return Meeting(name, attempt)


def _hello(store: Any, rank: int, until: float) -> Meeting:
    token = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
    store.set(f"hello/{rank}", token)
    while time.monotonic() <= until:
        words = store.get(f"welcome/{rank}").decode().split(" ") if store.check([f"welcome/{rank}"]) else []
        if words and words[0] == token:
            store.set(f"thanks/{words[1]}/{rank}", "1")
            return Meeting(words[1], 0)
        time.sleep(_POLL_S)
    raise _late("rank 0 did not come")


def _late(what: str) -> RankError:
    fix = "run the same torchrun command with doctor --distributed in place of train; it checks the network"
    return RankError(what, why="all ranks of a launch must start within the same minutes", fix=fix)
