"""A server in a thread of this process, with limits of a test's choice, and requests written byte by byte."""

import asyncio
import contextlib
import json
import socket
import sys
import threading
from typing import NamedTuple

from charloom.serve import Limits

PATIENCE_S = 20
UNSLOWED = {"refusal_share": 1000.0}

SEND_BUFFER = 16_384
"""Bytes that the system takes for a client that reads nothing; by default, megabytes of an answer would fit."""


class Listening(NamedTuple):
    """Where a server in this process answers, and its parts."""

    port: int
    service: object
    connections: object
    loop: asyncio.AbstractEventLoop

    @contextlib.contextmanager
    def held_up(self):
        """The server does nothing meanwhile."""
        begins, ends = threading.Event(), threading.Event()
        self.loop.call_soon_threadsafe(lambda: (begins.set(), ends.wait(PATIENCE_S)))
        assert begins.wait(PATIENCE_S)
        try:
            yield
        finally:
            ends.set()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def send(self, content):
        """The answer to bytes: its status, and its body as JSON if it is JSON; (0, None) without one."""
        with self.connect() as client, contextlib.suppress(ConnectionError):
            client.sendall(content)
            return answer_of(client)
        return 0, None


def answer_of(client):
    """Read one answer: its status and its body, from JSON if it says so; (0, None) if the server closed without one."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(1 << 16)
        if not part:
            return 0, None
        head += part
    head, _, body = head.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(headers.get(b"content-length", b"0")):
        part = client.recv(1 << 16)
        if not part:
            break
        body += part
    is_json = headers.get(b"content-type") == b"application/json"
    return int(head.split()[1]), json.loads(body) if is_json else body


def request(body=b"", *headers, target="/v1/completions", method="POST", host="localhost"):
    """The bytes of a request; Content-Length is left out if the headers have one, or a coding."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.contextmanager
def listening(models, *, key=None, defers=False, **limits):
    """A server of these models, which stops at the end; refusals are not slowed, connections are accepted at once."""
    from charloom.serve.app import Service, create_app
    from charloom.serve.guard import LOOPBACK_NAMES
    from charloom.serve.server import Address, listen, new_server, serve_on

    bounds = Limits(**UNSLOWED | limits)
    service = Service(models, bounds)
    app = create_app(service, key=key, names=LOOPBACK_NAMES)
    server, connections = new_server(app, bounds)
    place, _ = listen(Address(port=0))
    place.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # of its connections too
    if sys.platform == "linux" and not defers:
        place.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
    is_ready, loops = threading.Event(), []

    def note_ready(_url):
        loops.append(asyncio.get_running_loop())
        is_ready.set()

    def run():
        asyncio.run(serve_on(server, service, connections, place, note_ready))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert is_ready.wait(PATIENCE_S)
        yield Listening(place.getsockname()[1], service, connections, loops[0])
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE_S)
        service.close()
        place.close()
