"""What every request passes first: the names of the host, where a browser's request comes from, and the key.

A page of a stranger in a browser on this machine can send requests to loopback addresses. The Host header shows a name
that was pointed at this machine (DNS rebinding), the Origin header a page of another site.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charloom.serve.answers import json_bytes
from charloom.serve.counters import Counters
from charloom.serve.refusal import MAX_HEAD_BYTES, Refusal, internal, invalid, large_head
from charloom.serve.throttle import Throttle

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

OPEN_PATHS = frozenset({"/", "/health", "/openapi.json"})
"""What needs no key: it computes nothing and tells nothing of other requests."""

ONCE = ("host", "origin", "authorization", "content-length", "transfer-encoding")
"""Headers of which a second one could mean something else to another program on the way."""

AT_END = "charloom.at_end"
"""The key of a scope under which `at_end` finds what is given back."""

BODY, PIECE_BYTES = "http.response.body", 1 << 16
"""What an answer's content is sent in."""

_THROTTLED = frozenset(range(400, 500)) - {408, 429, 499}
"""Answers to requests that are wrong; those to slow clients and for want of room are not."""

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\s:/?#@\[\]\\]+)(:[0-9]{1,5})?")
"""A name or address, with a port or without."""

_log = logging.getLogger("charloom.serve")


class Guard:
    """Middleware that refuses, counts and logs; no text of a request is logged.

    Args:
        app: the application behind it.
        key: what every path but `OPEN_PATHS` requires as a bearer token; None = nothing.
        names: allowed in Host, without port; None = every name, for a server that requires a key.
        trusted: names whose pages may use the server, besides its own.
        counters: where answers are counted.
        throttle: of refusals.
        send_s: how long a client may take to read a piece of its answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str | None,
        names: Iterable[str] | None,
        trusted: Iterable[str],
        counters: Counters,
        throttle: Throttle,
        send_s: float,
    ) -> None:
        self._app, self._counters, self._throttle, self._send_s = app, counters, throttle, send_s
        self._key = None if key is None else key.encode()
        self._names = None if names is None else frozenset(name.lower() for name in names)
        self._trusted = frozenset(name.lower() for name in trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status in _THROTTLED:
                    await asyncio.sleep(self._throttle.wait_s())
            await self._send(message, send)

        given_back = contextlib.ExitStack()
        inner = {**scope, "headers": _without_range(scope["headers"]), AT_END: given_back}
        try:
            if _head_bytes(scope) > MAX_HEAD_BYTES:  # one that arrives at once is parsed whatever its size
                raise large_head()
            self._check(scope["path"], Headers(scope=scope))
            await self._app(inner, receive, noting_send)
        except Refusal as refusal:
            await send_refusal(noting_send, refusal)
        except ClientDisconnect:
            status = 0
        except TimeoutError:  # the client does not take its answer; uvicorn closes what is not complete
            status = 0
        except Exception:
            _log.exception("%s failed", _shown(scope["path"]))
            if status == 0:
                await send_refusal(noting_send, internal())
        finally:
            given_back.close()
            self._counters.answers[status or 499] += 1
            seconds = time.monotonic() - began
            _log.info("%s %s %d %.3f s", scope["method"], _shown(scope["path"]), status or 499, seconds)

    async def _send(self, message: Message, send: Send) -> None:
        """Send in pieces, for the next of which the client has to take the last."""
        body, more = message.get("body", b""), message.get("more_body", False)
        pieces = [message]
        if len(body) > PIECE_BYTES:
            starts = range(0, len(body), PIECE_BYTES)
            pieces = [
                {
                    "type": BODY,
                    "body": body[start : start + PIECE_BYTES],
                    "more_body": more or start < starts[-1],
                }
                for start in starts
            ]
        for piece in pieces:
            async with asyncio.timeout(self._send_s):
                await send(piece)

    def _check(self, path: str, headers: Headers) -> None:
        for name in ONCE:
            if len(headers.getlist(name)) > 1:
                raise invalid(None, f"the header {name} occurs twice", code="invalid_header")
        if "transfer-encoding" in headers and "content-length" in headers:
            what = "the request has both Transfer-Encoding and Content-Length, which two servers may read differently"
            raise Refusal(400, what, code="invalid_header", headers={"Connection": "close"})
        host = headers.get("host", "")
        if self._names is not None and _name(host) not in self._names:
            raise Refusal(403, f"the Host {host[:100]!r} is not a name of this server", code="wrong_host")
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            raise Refusal(403, f"pages of {origin[:100]!r} may not use this server", code="wrong_origin")
        needs_key = path not in OPEN_PATHS
        if self._key is not None and needs_key and not self._has_key(headers.get("authorization", "")):
            what = "the key is missing or wrong: send it as Authorization: Bearer KEY"
            raise Refusal(401, what, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is one of this server, or of a trusted name."""
        try:
            place = urlsplit(origin)
        except ValueError:
            return False
        if place.scheme not in ("http", "https") or not place.netloc:
            return False
        return place.netloc.lower() == host.lower() or place.hostname in self._trusted

    def _has_key(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        assert self._key is not None
        is_same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._key)
        return kind.lower() == "bearer" and is_same


def at_end(request: Request) -> contextlib.ExitStack:
    """What is closed when the answer to a request has been sent, or its client has left."""
    stack: contextlib.ExitStack = request.scope[AT_END]
    return stack


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Answer with a refusal."""
    body = json_bytes(refusal.envelope())
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in refusal.headers.items()},
    }
    if refusal.status in (413, 503):
        headers["connection"] = "close"
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _head_bytes(scope: Scope) -> int:
    address = len(scope["path"]) + len(scope["query_string"])
    return address + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def _without_range(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """All headers but Range, so that every answer is whole, as HTTP allows."""
    return [(name, value) for name, value in headers if name not in (b"range", b"if-range")]


def _name(host: str) -> str:
    """The name in a Host header, without its port; empty if there is anything else in it."""
    found = _HOST.fullmatch(host)
    return found["name"].strip("[]").lower() if found is not None else ""


def _shown(path: str) -> str:
    """A path for the log, with no line of its own and no control characters."""
    return path[:100].encode("unicode_escape").decode("ascii")
