"""Accept connections: first those whose request is there, a few of the others at a time, and never what is abandoned.

A connection costs the event loop a tenth of a millisecond. asyncio makes one of each in the order of their arrival, so
an honest client would stand in line behind a thousand that have sent nothing, or a byte, or have left already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import sys
from collections import deque
from functools import partial

import uvicorn

from charloom.serve.connection import Connections
from charloom.serve.refusal import MAX_HEAD_BYTES

TAKE_AT_ONCE, OPEN_AT_ONCE = 64, 4
"""Connections that are looked at, and made of those without a whole request, before other work has its turn."""

MOST_WAITING = 256
"""Of more that wait without a whole request, the first are made: each holds an open file, which the limits then count."""

RETRY_S = 0.5
"""How long nothing is accepted after the system refused to, for example for want of open files."""

_log = logging.getLogger("charloom.serve")


class Acceptor:
    """Accepts the connections of a listening socket in a running event loop, from the beginning of a `with` block to its end.

    Args:
        listening: the socket; it is closed at the end.
        server: uvicorn's, with the settings and the state that its connections share.
        connections: makes them.
    """

    def __init__(self, listening: socket.socket, server: uvicorn.Server, connections: Connections) -> None:
        self._listening = listening
        shared = {"config": server.config, "server_state": server.server_state, "app_state": {}}
        self._connect = partial(connections.connect, **shared)
        self._later: deque[socket.socket] = deque()
        self._opening: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()
        self._is_stopped = False

    def __enter__(self) -> Acceptor:
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._take)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_stopped = True
        self._loop.remove_reader(self._listening)
        self._listening.close()
        while self._later:
            self._later.popleft().close()

    def _take(self) -> None:
        """Look at the next connections."""
        for _ in range(TAKE_AT_ONCE):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("no connection can be accepted for %s s: %s", RETRY_S, error)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(RETRY_S, self._resume)
                return
            if not self._settle(connection):
                self._later.append(connection)
                if len(self._later) == 1:
                    self._loop.call_soon(self._open_some)
                if len(self._later) > MOST_WAITING:
                    self._open(self._later.popleft())

    def _resume(self) -> None:
        if not self._is_stopped:
            self._loop.add_reader(self._listening, self._take)

    def _open_some(self) -> None:
        """Make connections of those that have waited longest."""
        num_opened = 0
        for _ in range(min(len(self._later), TAKE_AT_ONCE)):
            connection = self._later.popleft()
            if not self._settle(connection):
                self._open(connection)
                num_opened += 1
            if num_opened == OPEN_AT_ONCE:
                break
        if self._later:
            self._loop.call_soon(self._open_some)

    def _settle(self, connection: socket.socket) -> bool:
        """Open a connection whose request is there, close one that is abandoned; False if it is neither."""
        sent, has_left = _arrived(connection)
        is_whole = len(sent) >= MAX_HEAD_BYTES or b"\n\r\n" in sent or b"\n\n" in sent
        if is_whole:
            self._open(connection)
        elif has_left:
            connection.close()
        return is_whole or has_left

    def _open(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._opened(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _opened(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was reset
            await self._loop.connect_accepted_socket(self._connect, connection)


def _arrived(connection: socket.socket) -> tuple[bytes, bool]:
    """What a client has sent, at most the longest head of a request; and whether it has closed its end, where that is seen."""
    connection.setblocking(False)
    try:
        sent = connection.recv(MAX_HEAD_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return b"", False
    except OSError:
        return b"", True
    if not sent or sys.platform != "linux":
        return sent, not sent
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return sent, bool(poll.poll(0))
