"""The server under load: characters per second, time to the first character and memory for 1, 8 and 64 streams.

The server runs in a process of its own; this process reads the streams from loopback, so its work takes a share of the
same cores. After that, bursts of more requests than the server holds: how many are answered, how fast the others are
refused, and what memory remains after each.

    python -m benchmarks serve [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import string
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness import write_results
from charloom.config import ModelConfig, TextConfig
from charloom.modelfile import ModelFile, write_model
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary

STREAMS = (1, 8, 64)
LENGTH, PROMPT = 2000, "Once upon a time there was a tale. " * 6
BURST, BURSTS = 400, 3
LARGE = ModelConfig(cell="lstm", hidden_size=512, num_layers=2)
TEXT = re.compile(rb'"text":("(?:[^"\\]|\\.)*")')


@dataclass
class Server:
    """A running server and where it answers."""

    process: subprocess.Popen[str]
    host: str
    port: int

    def memory_mb(self, what: str = "VmRSS") -> float | None:
        """Its resident memory, or the highest so far (``VmHWM``); None where the system does not tell it."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith(what))
        return round(int(line.split()[1]) / 1024, 1)


def cached_states_mb(server: Server) -> float:
    """The memory of the states that the server keeps to continue texts from, as its metrics tell."""
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/metrics", timeout=10) as answer:
        found = re.search(r"^charloom_cached_state_bytes ([\d.e+]+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return round(float(found[1]) / 2**20, 1)


@dataclass
class Measured:
    """What the readers of one round have seen."""

    chars: int = 0
    first_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    answered: int = 0


@contextlib.contextmanager
def serving(model: Path, *words: str) -> Iterator[Server]:
    """``charloom serve`` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "charloom",
        "serve",
        str(model),
        "--port",
        "0",
        "--json",
        "--quiet",
        *words,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = urlsplit(json.loads(process.stdout.readline())["url"])
        yield Server(process, str(url.hostname), int(url.port or 0))
    finally:
        process.terminate()
        process.wait()


async def parts_of(server: Server, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The status line of an answer, then its body as it arrives."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        content = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(content)}"
        writer.write(head.encode() + b"\r\n\r\n" + content)
        yield await reader.readuntil(b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        while part := await reader.read(1 << 16):
            yield part
    finally:
        writer.close()


async def read_one(server: Server, seed: int, length: int, measured: Measured, until: float) -> None:
    """Read one stream and count what arrives before `until`."""
    body = {"prompt": PROMPT, "max_tokens": length, "seed": seed, "stream": True}
    began, is_first, rest = time.perf_counter(), True, b""
    async with contextlib.aclosing(parts_of(server, body)) as parts:  # type: ignore[type-var]
        async for part in parts:
            now = time.perf_counter()
            if part.startswith(b"HTTP/1.1 429"):
                measured.refused_s.append(now - began)
                return
            assert not part.startswith(b"HTTP/1.1 4"), part
            *lines, rest = (rest + part).split(b"\n")
            texts = [json.loads(found) for line in lines for found in TEXT.findall(line)]
            if is_first and any(texts):
                measured.first_s.append(now - began)
                is_first = False
            if now > until:
                return
            measured.chars += sum(map(len, texts))
    measured.answered += 1


async def keep_reading(server: Server, streams: int, seconds: float) -> Measured:
    """So many streams at a time, one after the other, for so many seconds."""
    measured, until = Measured(), time.perf_counter() + seconds

    async def reader(number: int) -> None:
        seed = number
        while time.perf_counter() < until:
            await read_one(server, seed, LENGTH, measured, until)
            seed += streams

    await asyncio.gather(*(reader(number) for number in range(streams)))
    return measured


async def burst(server: Server) -> Measured:
    """More requests at once than the server holds."""
    measured = Measured()
    forever = time.perf_counter() + 600
    await asyncio.gather(*(read_one(server, seed, 300, measured, forever) for seed in range(BURST)))
    return measured


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return {"p50_ms": round(statistics.median(ordered) * 1000, 1), "p99_ms": round(high * 1000, 1)}


def measure(model: Path, precision: str, seconds: float) -> dict[str, Any]:
    """All numbers of streams and the burst, with one server."""
    rows: list[dict[str, Any]] = []
    with serving(model, "--precision", precision) as server:
        asyncio.run(keep_reading(server, 2, min(2.0, seconds)))  # every page of memory is touched once
        idle, idle_cache = server.memory_mb(), cached_states_mb(server)
        for streams in STREAMS:
            measured = asyncio.run(keep_reading(server, streams, seconds))
            row = {
                "streams": streams,
                "chars_per_s": round(measured.chars / seconds),
                "first_char": milliseconds(measured.first_s),
                "requests": len(measured.first_s),
                "refused": len(measured.refused_s),
                "memory_mb": server.memory_mb(),
            }
            rows.append(row)
            print(f"  {precision:8} {row}", flush=True)
        crowd, after_each = Measured(), []
        for _ in range(BURSTS):
            crowd = asyncio.run(burst(server))
            time.sleep(1)
            after_each.append(server.memory_mb())
        after = {
            "requests": BURST,
            "answered": crowd.answered,
            "refused": len(crowd.refused_s),
            "refusal": milliseconds(crowd.refused_s) if crowd.refused_s else None,
            "highest_memory_mb": server.memory_mb("VmHWM"),
            "memory_before_mb": idle,
            "memory_after_each_burst_mb": after_each,
            "cached_states_before_mb": idle_cache,
            "cached_states_after_mb": cached_states_mb(server),
        }
        print(f"  {precision:8} burst {after}", flush=True)
    ratio = rows[-1]["chars_per_s"] / rows[0]["chars_per_s"]
    return {"precision": precision, "rows": rows, "many_to_one": round(ratio, 1), "burst": after}


def main(options: Sequence[str] = ()) -> None:
    """Measure, print and write ``results/serve.json``."""
    parser = argparse.ArgumentParser(prog="benchmarks serve")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each number of streams")
    seconds = parser.parse_args(list(options)).seconds
    vocab = Vocabulary.from_text(string.ascii_letters + string.digits + " \n" + string.punctuation[:19])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.safetensors"
        params = initial_parameters(LARGE, len(vocab), 0)
        write_model(path, ModelFile(params, LARGE, TextConfig(), vocab))
        found = [measure(path, precision, seconds) for precision in ("float32", "int8")]
    reached = {
        "64 streams ≥ 4 × one stream (float32)": found[0]["many_to_one"] >= 4,
        "64 streams ≥ 40,000 characters/s (int8)": found[1]["rows"][-1]["chars_per_s"] >= 40_000,
    }
    print("\n".join(f"{'reached' if done else 'missed'}: {what}" for what, done in reached.items()))
    if not os.environ.get("CHARLOOM_DRY_RUN"):
        model = {
            "model": "LSTM 2×512",
            "vocab_size": len(vocab),
            "prompt_chars": len(PROMPT),
            "text_chars": LENGTH,
        }
        print(write_results("serve", {**model, "seconds": seconds, "results": found, "reached": reached}))


if __name__ == "__main__":
    main(sys.argv[1:])
