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
from collections.abc import Callable

from charloom.serve.refusal import MAX_HEAD_BYTES

TAKE_AT_ONCE, OPEN_AT_ONCE = 64, 4
"""Connections that are looked at, and made of those without a whole request, before other work has its turn."""

RETRY_S = 0.5
"""How long nothing is accepted after the system refused to, for example for want of open files."""

_log = logging.getLogger("charloom.serve")


class Acceptor:
    """Accepts the connections of a listening socket in an event loop.

    Args:
        listening: the socket; it is closed at the end.
        connect: makes the protocol of a connection.
    """

    def __init__(self, listening: socket.socket, connect: Callable[[], asyncio.Protocol]) -> None:
        self._listening, self._connect = listening, connect
        self._later: deque[socket.socket] = deque()
        self._opening: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()
        self._is_stopped = False
        listening.setblocking(False)
        self._loop.add_reader(listening, self._take)

    def stop(self) -> None:
        """Accept nothing more; connections without a request are closed."""
        if not self._is_stopped:
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
            if self._is_at_once(connection) is False:
                self._later.append(connection)
                if len(self._later) == 1:
                    self._loop.call_soon(self._open_some)

    def _resume(self) -> None:
        if not self._is_stopped:
            self._loop.add_reader(self._listening, self._take)

    def _open_some(self) -> None:
        """Make connections of those that have waited longest."""
        num_opened = 0
        for _ in range(min(len(self._later), TAKE_AT_ONCE)):
            connection = self._later.popleft()
            if self._is_at_once(connection) is False:
                self._open(connection)
                num_opened += 1
            if num_opened == OPEN_AT_ONCE:
                break
        if self._later:
            self._loop.call_soon(self._open_some)

    def _is_at_once(self, connection: socket.socket) -> bool:
        """Open a connection whose request is there, or close one that is abandoned; False if it is neither."""
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
