"""What goes wrong between machines, checked before a training: names, interfaces, ports, clocks, versions, texts.

Each rank checks its own host; then they meet, and rank 0 compares what all of them report (`compared`).
"""

from __future__ import annotations

import functools
import hashlib
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import charloom
from charloom.distributed.interfaces import GLOO, address_towards, addresses, choose_interface
from charloom.distributed.launch import Launch
from charloom.files import text_of_file
from charloom.versions import versions

if TYPE_CHECKING:
    from charloom.distributed.ranks import Ranks

MOST_CLOCK_S = 1.0
"""The most by which clocks may differ: events and files of several hosts are compared by their times."""

PROBE_BYTES, PROBES = 1 << 18, 3
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Finding(NamedTuple):
    """The result of one check, as a `doctor.Check` has it."""

    name: str
    status: Literal["ok", "warn", "fail"]
    says: str
    fix: str = ""


@functools.cache
def source_digest() -> str:
    """The first digits of the SHA-256 of charloom's own source files: equal on two machines with the same commit."""
    folder, found = Path(charloom.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]


def commit() -> str:
    """The commit of the folder that charloom runs from; empty if it is installed, or git is not."""
    folder = Path(charloom.__file__).parent
    try:
        words = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def check_name() -> Finding:
    """Check what this host's own name resolves to: where gloo listens, if it is not told an interface."""
    name = socket.gethostname()
    try:
        found = socket.gethostbyname(name)
    except OSError:
        says = (
            f"{name} does not resolve, which torchrun's rendezvous needs; gloo is told the interface instead"
        )
        return Finding("host name", "warn", says, f"add a line for {name} to /etc/hosts")
    if found.startswith("127."):
        says = f"{name} is {found}, which other hosts cannot reach; gloo is told the interface instead"
        return Finding("host name", "ok", says)
    return Finding("host name", "ok", f"{name} is {found}")


def check_interface(launch: Launch) -> Finding:
    """Check that the ranks connect through an interface that reaches the other hosts."""
    own, chosen = address_towards(launch.master), choose_interface(launch)
    known = ", ".join(f"{name} {address}" for name, address in addresses()) or "none known"
    if launch.on_one_host:
        return Finding("interface", "ok", f"{chosen or 'chosen by gloo'}, all ranks are on this host")
    if own is None:
        fix = "give torchrun an address that every host reaches: --rdzv-endpoint ADDRESS:PORT"
        return Finding("interface", "fail", f"there is no way to {launch.master}; interfaces: {known}", fix)
    if own.startswith("127.") and launch.rank > 0:
        says = f"{launch.master} is {own} here, so this rank would look for rank 0 on its own host"
        return Finding(
            "interface", "fail", says, f"name rank 0's address in --rdzv-endpoint; interfaces: {known}"
        )
    if chosen is None:
        fix = f"export {GLOO}=NAME with the interface that reaches {launch.master}"
        return Finding("interface", "warn", f"not found, gloo guesses; interfaces: {known}", fix)
    return Finding("interface", "ok", f"{chosen}, {own} reaches {launch.master}")


def ports_hint(launch: Launch) -> str:
    """What a firewall must let through."""
    try:
        first, last = text_of_file(_PORTS).split()
    except (OSError, ValueError):
        first, last = "32768", "60999"
    return (
        f"open the port of --rdzv-endpoint on {launch.master}, and ports {first} to {last} between all hosts: "
        "gloo connects every rank with every other"
    )


def own_facts(ranks: Ranks, corpus: str | None) -> dict[str, Any]:
    """What this rank reports about itself; `corpus` is the SHA-256 of its text."""
    found = versions()
    kept = {
        name: found.get(name, "") for name in ("charloom", "python", "torch", "numpy", "machine", "processor")
    }
    own = {"rank": ranks.rank, "host": ranks.host, "interface": ranks.interface or "", "corpus": corpus or ""}
    return {**own, **kept, "source": source_digest(), "commit": commit()}


def lead_checks(ranks: Ranks, corpus: str | None) -> list[Finding]:
    """As rank 0, ask the others, measure the way to them and compare."""
    ranks.tell({"do": "facts"})
    facts = [own_facts(ranks, corpus), *(message for message, _ in ranks.answers())]
    trips, clocks = [], []
    for _ in range(PROBES):
        began = time.time()
        ranks.tell({"do": "clock"})
        heard = [message["time"] for message, _ in ranks.answers()]
        trips.append(time.time() - began)
        clocks.append(max((abs(t - (began + time.time()) / 2) for t in heard), default=0.0))
    began = time.perf_counter()
    ranks.tell({"do": "probe"}, {"probe": np.zeros(PROBE_BYTES, np.uint8)})
    ranks.answers()
    probe_s = max(1e-9, time.perf_counter() - began - min(trips))
    ranks.tell({"do": "end"})
    ranks.released = True
    speed = 8 * PROBE_BYTES / probe_s / 1e6
    says = f"{statistics.median(trips) * 1e3:.1f} ms to all ranks and back, about {speed:,.0f} Mbit/s"
    theirs = [
        Finding(name, status, f"rank {fact['rank']} on {fact['host']}: {text}", fix)
        for fact in facts[1:]
        for name, status, text, fix in fact["findings"]
    ]
    return [*theirs, Finding("connection", "ok", says), check_clock(min(clocks)), *compared(facts)]


def follow_checks(ranks: Ranks, corpus: str | None, own: Sequence[Finding]) -> None:
    """As another rank, answer rank 0 until it ends; `own` are the findings about this host."""
    answers: Mapping[str, Callable[[], dict[str, Any]]] = {
        "facts": lambda: own_facts(ranks, corpus) | {"findings": [one for one in own if one.status != "ok"]},
        "clock": lambda: {"time": time.time()},
        "probe": dict,
    }
    while (order := ranks.hear()[0]["do"]) != "end":
        ranks.answer(answers[order]())


def check_clock(difference_s: float) -> Finding:
    """Check by how much the ranks' clocks differ.

    Example:
        >>> check_clock(2.5).status
        'warn'
    """
    says = f"the clocks differ by {difference_s:.3f} s at most"
    if difference_s <= MOST_CLOCK_S:
        return Finding("clock", "ok", says)
    return Finding("clock", "warn", says, "synchronise the clocks, for example with chrony")


def compared(facts: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Compare what the ranks report; `facts` are in the order of the ranks."""
    reinstall = "install the same versions on every host, from the same commit"
    needed = ("charloom", "torch", "numpy", "machine", "source")
    different = [text for name in needed if (text := _difference(facts, name))]
    code = f"charloom {facts[0]['charloom']}, source {facts[0]['source']}, commit {facts[0]['commit'] or 'unknown'}"
    found = [
        Finding("versions", "fail", "; ".join(different), reinstall)
        if different
        else Finding("versions", "ok", code)
    ]
    if text := _difference(facts, "processor"):
        fix = "nothing: rank 0's weights are kept where the ranks round differently"
        found.append(Finding("processors", "warn", text, fix))
    hosts = sorted({fact["host"] for fact in facts})
    found.append(
        Finding(
            "ranks",
            "ok",
            f"{len(facts)} ranks on {len(hosts)} host{'s' * (len(hosts) > 1)}: {', '.join(hosts)}",
        )
    )
    if text := _difference(facts, "corpus"):
        fix = "copy the same text to every host, at the same place"
        found.append(Finding("corpus", "fail", text, fix))
    elif facts[0]["corpus"]:
        found.append(Finding("corpus", "ok", f"the same on all ranks, SHA-256 {facts[0]['corpus'][:12]}…"))
    return found


def _difference(facts: Sequence[Mapping[str, Any]], name: str) -> str:
    """The first rank that reports another value than rank 0; empty if there is none."""
    first = facts[0]
    for other in facts[1:]:
        if other[name] != first[name]:
            values = (str(fact[name])[:60] or "nothing" for fact in (other, first))
            return "{} {} on rank {} ({}), {} on rank 0".format(
                name, next(values), other["rank"], other["host"], next(values)
            )
    return ""
