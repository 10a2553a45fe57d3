"""What honest clients of the server notice of an attack: their p99 during it, as a multiple of the idle p99.

The server runs in a process of its own, the attackers in another, both on the cores of this machine; this process is
the honest client: one request after the other, each for fifty characters on a connection of its own. Idle and attacked
stretches alternate, and the ratio is that of all the idle requests before and after. After each attack, the server's
memory.

    python -m benchmarks attacks [--seconds 10] [--only NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import string
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import write_results
from benchmarks.serve import LARGE, PROMPT, Measured, Server, milliseconds, read_one, serving
from charloom.config import TextConfig
from charloom.modelfile import ModelFile, write_model
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary

CHARS, PAUSE_S, MOST_RATIO = 50, 0.02, 3.0
MIB = 1 << 20
MARKS = ("a" + "\u0301\u0327" * 4000) * 8


def request(body: bytes, length: int | None = None) -> bytes:
    """A request to complete, which may announce more than it has."""
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length or len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def filled(start: bytes, unit: bytes, end: bytes) -> bytes:
    """A body of almost 1 MiB."""
    return start + unit * ((MIB - len(start) - len(end)) // len(unit)) + end


REPEATED: dict[str, tuple[int, bytes]] = {
    "bodies beyond the limit": (8, request(b" " * 2 * MIB)),
    "a MiB of empty lists": (4, request(filled(b'{"metadata": {"a": [', b"[],", b"[]]}}"))),
    "a MiB of ids": (4, request(filled(b'{"prompt": [', b"1,", b"1]}"))),
    "deep nesting": (4, request(filled(b'{"prompt": ', b"[", b""))),
    "an unknown field of a MiB": (4, request(filled(b'{"', b"temper", b'": 1}'))),
    "combining marks": (
        4,
        request(json.dumps({"prompt": [MARKS] * 8, "unknown": "skip"}, ensure_ascii=False).encode()),
    ),
    "log-probabilities of long prompts": (
        4,
        request(json.dumps({"prompt": "a" * 50_000, "max_tokens": 0, "echo": True, "logprobs": 5}).encode()),
    ),
    "small wrong requests": (16, request(b'{"temprature": 1}')),
    "no HTTP": (16, b"\x16\x03\x01\x02\r\n\r\n"),
}
"""Requests that so many attackers send again as soon as they are answered."""


async def repeat(port: int, content: bytes) -> None:
    """Send the same on connection after connection, and read what comes."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content)
                while await reader.read(1 << 16):
                    if content.startswith(b"POST"):
                        break  # the head of the answer, after which the connection would wait
            finally:
                writer.close()


async def trickle(port: int, start: bytes) -> None:
    """Send a byte a second after a beginning that never ends, and begin again when cut off."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(start)
                while not writer.is_closing():
                    await asyncio.sleep(1)
                    writer.write(b"a")
                    await writer.drain()
            finally:
                writer.close()


async def crowd(port: int, number: int, start: bytes) -> None:
    """Open so many connections at once, send a beginning on each, close them, and again every two seconds."""
    while True:
        opened = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", port) for _ in range(number)), return_exceptions=True
        )
        for one in opened:
            if not isinstance(one, BaseException):
                one[1].write(start)
                one[1].close()
        await asyncio.sleep(2)


def many(number: int, attack: Callable[..., Awaitable[None]], *given: Any) -> Callable[[int], Awaitable[Any]]:
    """So many attackers together."""
    return lambda port: asyncio.gather(*(attack(port, *given) for _ in range(number)))


ATTACKS: dict[str, Callable[[int], Awaitable[Any]]] = {
    "1,000 half-sent heads": many(1000, trickle, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
    "300 half-sent bodies": many(300, trickle, request(b'{"prompt": "', MIB)),
    "1,000 connections at once": many(1, crowd, 1000, b""),
    "1,000 beginnings at once": many(1, crowd, 1000, b"P"),
    **{name: many(number, repeat, content) for name, (number, content) in REPEATED.items()},
}


def attack(name: str, port: int) -> None:
    """The attackers' process."""
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 1 << 16), most))

    async def run() -> None:
        await ATTACKS[name](port)

    asyncio.run(run())


def honest(server: Server, seconds: float) -> list[float]:
    """The seconds of each request, sent one after the other."""
    taken, seed = [], 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        measured = Measured()
        asyncio.run(read_one(server, seed, CHARS, measured, began + 600))
        assert measured.answered == 1, "an honest request was refused"
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
        seed += 1
    return taken


def measure(server: Server, name: str, seconds: float) -> dict[str, Any]:
    """Idle, attacked, idle, attacked, idle."""
    idle, attacked = honest(server, seconds / 2), []
    for _ in range(2):
        attackers = multiprocessing.get_context("spawn").Process(target=attack, args=(name, server.port))
        attackers.start()
        try:
            time.sleep(2)  # the attackers have begun
            attacked += honest(server, seconds / 2)
        finally:
            attackers.kill()
            attackers.join()
        time.sleep(1)
        idle += honest(server, seconds / 4)
    found = {"idle": milliseconds(idle), "attacked": milliseconds(attacked)}
    ratio = found["attacked"]["p99_ms"] / found["idle"]["p99_ms"]
    row = {"attack": name, **found, "p99_ratio": round(ratio, 2), "requests": [len(idle), len(attacked)]}
    row |= {"memory_mb": server.memory_mb(), "highest_memory_mb": server.memory_mb("VmHWM")}
    print(row, flush=True)
    return row


def main(options: Sequence[str] = ()) -> None:
    """Measure, print and write ``results/attacks.json``."""
    parser = argparse.ArgumentParser(prog="benchmarks attacks")
    parser.add_argument("--seconds", type=float, default=10.0, help="of honest requests during each attack")
    parser.add_argument("--only", choices=ATTACKS, help="one attack; nothing is written")
    given = parser.parse_args(list(options))
    vocab = Vocabulary.from_text(string.ascii_letters + string.digits + " \n" + string.punctuation[:19])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.safetensors"
        write_model(path, ModelFile(initial_parameters(LARGE, len(vocab), 0), LARGE, TextConfig(), vocab))
        with serving(path) as server:
            honest(server, 2)
            before = server.memory_mb()
            names = [given.only] if given.only else list(ATTACKS)
            rows = [measure(server, name, given.seconds) for name in names]
    held = [row["attack"] for row in rows if row["p99_ratio"] <= MOST_RATIO]
    missed = [row["attack"] for row in rows if row["p99_ratio"] > MOST_RATIO]
    print(
        f"p99 at most {MOST_RATIO} × idle: {len(held)} of {len(rows)}; missed: {', '.join(missed) or 'none'}"
    )
    if not (given.only or os.environ.get("CHARLOOM_DRY_RUN")):
        about = {"model": "LSTM 2×512", "chars": CHARS, "prompt_chars": len(PROMPT), "seconds": given.seconds}
        print(write_results("attacks", {**about, "memory_before_mb": before, "rows": rows, "missed": missed}))


if __name__ == "__main__":
    main(sys.argv[1:])
