"""Connections, and what is done about clients that keep the server waiting.

    a request's head, 10 s    then it is answered with 408
    its body, 30 s            likewise, by the application
    an answer, 60 s           without taking any of it: the connection is cut

Every connection has its place in `Connections`. When all are taken, the one that has waited longest for a request loses
its own, so thousands of idle or half-sent requests do not keep others out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from charloom.serve.answers import json_bytes
from charloom.serve.limits import Limits
from charloom.serve.refusal import Refusal, crowded, large_head, too_slow


class Connections:
    """The open connections of a server, all in one event loop.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def connect(self, **given: Any) -> Connection:
        """A connection whose place is here; uvicorn calls this for each that it accepts."""
        return Connection(self, **given)

    def add(self, connection: Connection) -> None:
        """Give a new connection its place; if all are taken, another one or itself is closed."""
        self._open.add(connection)
        if len(self._open) <= self._limits.max_connections:
            return
        waiting = [one for one in self._open if one.waits_since is not None and not one.is_closing]
        oldest = min(waiting, key=lambda one: one.waits_since or 0.0)
        oldest.refuse(crowded(self._limits.max_connections), even_unasked=oldest is connection)

    def remove(self, connection: Connection) -> None:
        """Free the place of a connection that is lost."""
        self._open.discard(connection)

    def close_late(self) -> None:
        """Close the connections that have waited too long for a request, and cut those that do not take their rest."""
        now = time.monotonic()
        for connection in list(self._open):
            waited_s = 0.0 if connection.waits_since is None else now - connection.waits_since
            if connection.is_closing:
                connection.waits_since = now - waited_s
                if waited_s > self._limits.send_s:
                    connection.transport.abort()
            elif waited_s > self._limits.head_s:
                connection.refuse(too_slow("the head of a request", waited_s))


class Connection(H11Protocol):
    """A client's connection: uvicorn's, with a place in `Connections` and refusals in our envelope.

    Attributes:
        waits_since: when it began to wait for a request, by `time.monotonic`; None while one is read or answered.
    """

    def __init__(self, places: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self.waits_since: float | None = time.monotonic()

    @property
    def is_closing(self) -> bool:
        """Whether it is only sending its rest."""
        return self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place."""
        super().connection_made(transport)
        self._places.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self._places.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what the client has sent."""
        if self.is_closing:
            return
        super().data_received(data)
        self._note_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have come already."""
        self.waits_since = time.monotonic()
        super().on_response_complete()
        self._note_waiting()

    def _note_waiting(self) -> None:
        """A request is being read or answered from its head to the end of its answer."""
        if not self.is_closing and self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY):
            self.waits_since = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; uvicorn calls this while it handles h11's exception."""
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", 400) == 431:
            self.refuse(large_head(), even_unasked=True)
        else:
            refusal = Refusal(400, f"this is not HTTP/1.1: {error or msg}"[:200], code="invalid_http")
            self.refuse(refusal, even_unasked=True)

    def refuse(self, refusal: Refusal, *, even_unasked: bool = False) -> None:
        """Answer with a refusal, if part of a request has arrived and no answer has begun, and close."""
        self.waits_since = time.monotonic()
        is_asked = self.conn.our_state is h11.SEND_RESPONSE or bool(self.conn.trailing_data[0])
        if self.cycle is not None:
            self.cycle.disconnected = True
        if (is_asked or even_unasked) and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json_bytes(refusal.envelope())
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                **refusal.headers,
            }
            lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}", "connection: close"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.transport.close()
