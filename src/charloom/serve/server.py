"""Run the server: its socket, its signals, and its end.

On SIGTERM or Ctrl-C no further request is taken, running texts have `FINISH_S` to end, and what is left is cut with an
error that says so. The process then exits with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from charloom.errors import ConfigError
from charloom.serve.acceptor import Acceptor
from charloom.serve.app import Service, create_app
from charloom.serve.connection import Connections
from charloom.serve.guard import LOOPBACK_NAMES
from charloom.serve.limits import Limits
from charloom.serve.refusal import MAX_HEAD_BYTES
from charloom.serve.served_model import ServedModel

FINISH_S, EXIT_S = 3, 4
"""Seconds after a signal until running texts are cut, and until open connections are."""

BACKLOG = 1024
"""New connections that the system holds."""

SWEEP_EVERY_S = 0.5
"""How often connections that wait too long are looked for."""

SPARE_FILES = 64
"""Files that the server may open besides its connections."""

FIRST_BYTE_S = 5
"""How long the system keeps a new connection to itself that has sent nothing, where it can (Linux)."""

SWITCH_S = 0.0005
"""How long a thread of Python may go on while another waits: a tenth of the default, for what many hands pass on."""

SEND_BYTES = 1 << 16
"""What the system holds for a client that does not read: seconds of text, where its own choice is megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens, and who may use it.

    Attributes:
        host: an address or name of this machine.
        port: 0 = any free one.
        key: required from clients; None = none, on loopback only.
        names: further names in Host and Origin, such as that of a proxy.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    names: tuple[str, ...] = ()

    def allowed_names(self, is_loopback: bool) -> frozenset[str] | None:
        """The names in Host that are served; None = every name, as then a key is required."""
        return frozenset((*LOOPBACK_NAMES, self.host, *self.names)) if is_loopback else None


def run_server(
    models: Mapping[str, ServedModel],
    address: Address,
    limits: Limits,
    *,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until a signal arrives.

    Args:
        models: what is served, by name.
        address: where.
        limits: of the server.
        on_ready: called with the server's URL once it answers.

    Raises:
        ConfigError: the address cannot be used, or is open to others without a key.
    """
    listening, is_loopback = listen(address)
    service = Service(models, limits)
    names = address.allowed_names(is_loopback)
    app = create_app(service, key=address.key, names=names, trusted=address.names)
    server, connections = new_server(app, limits)
    # uvicorn repeats the signal after its end, for these handlers
    handlers = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what is loaded by now stays, and is not searched again
    try:
        asyncio.run(serve_on(server, service, connections, listening, on_ready))
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        service.close()


def new_server(app: ASGIApp, limits: Limits) -> tuple[uvicorn.Server, Connections]:
    """A uvicorn server with our connections, which it makes when it accepts one."""
    connections = Connections(replace(limits, max_connections=_allowed_connections(limits.max_connections)))
    make: Any = connections.connect
    config = uvicorn.Config(
        app,
        http=make,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=EXIT_S,
        ws="none",
    )
    return uvicorn.Server(config), connections


async def serve_on(
    server: uvicorn.Server,
    service: Service,
    connections: Connections,
    listening: socket.socket,
    on_ready: Callable[[str], None],
) -> None:
    """Answer on a listening socket until the server is to exit."""
    accepts = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    acceptor = Acceptor(listening, server, connections) if accepts else None
    tasks = [
        asyncio.create_task(_watch(server, service, listening, acceptor, on_ready)),
        asyncio.create_task(_sweep(connections)),
    ]
    try:
        await server.serve(sockets=[] if accepts else [listening])  # Windows has another kind of loop
    finally:
        for task in tasks:
            task.cancel()


async def _sweep(connections: Connections) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        connections.close_late()


async def _watch(
    server: uvicorn.Server,
    service: Service,
    listening: socket.socket,
    acceptor: Acceptor | None,
    on_ready: Callable[[str], None],
) -> None:
    """Say when the server answers; end the running texts when it is to exit."""
    while not server.started:
        await asyncio.sleep(0.01)
    url = _url(listening)
    with contextlib.ExitStack() as stack:
        if acceptor is not None:
            stack.enter_context(acceptor)
        else:
            listening.listen(BACKLOG)  # asyncio has set it to a hundred
        on_ready(url)
        while not server.should_exit:
            await asyncio.sleep(0.05)
    service.stop()
    await asyncio.sleep(FINISH_S)
    service.batcher.cut()


def _allowed_connections(wanted: int) -> int:
    """How many connections this process may have: it asks the system for as many files."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return wanted
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most > wanted + SPARE_FILES:
        most = wanted + SPARE_FILES
    if allowed != resource.RLIM_INFINITY and allowed < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            allowed = most
    return wanted if allowed == resource.RLIM_INFINITY else max(1, min(wanted, allowed - SPARE_FILES))


def _ignore(_number: int, _frame: object) -> None:
    """A signal that uvicorn has already obeyed."""


def listen(address: Address) -> tuple[socket.socket, bool]:
    """A listening socket, and whether only this machine reaches it."""
    place, listening = f"{address.host}:{address.port}", None
    try:
        if not 0 <= address.port < 1 << 16:  # the system would take its lower bits
            raise OSError("a port is a number from 0 to 65535")
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        is_loopback = ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback
        if not is_loopback and address.key is None:
            raise ConfigError(
                f"the host is {address.host!r} and there is no key",
                why="everyone who reaches this address could use the server",
                fix="set CHARLOOM_API_KEY or --api-key, or leave out --host",
            )
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        if sys.platform == "linux":
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, FIRST_BYTE_S)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise ConfigError(
            f"cannot listen on {place}", why=str(error), fix="choose another --port, or 0 for any free one"
        ) from error
    return listening, is_loopback


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
