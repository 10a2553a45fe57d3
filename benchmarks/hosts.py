"""Real hosts on one machine: network namespaces with their own names, addresses and links (Linux, root, iproute2).

Each host has its own interfaces, loopback and host name, and reaches the others through a bridge. A link can be slowed
down (tc), cut, and read for the bytes that it carried.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PORT = 29_511


@functools.cache
def cannot() -> str | None:
    """Why this machine cannot make hosts; None if it can."""
    if sys.platform != "linux":
        return "network namespaces are of Linux"
    missing = [tool for tool in ("ip", "tc", "unshare", "nsenter") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is missing: install iproute2 and util-linux"
    name = f"cl-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    try:
        bridge = ["ip", "link", "add", f"cl-t{os.getpid()}", "type", "bridge"]
        made = subprocess.run(["ip", "netns", "exec", name, *bridge], capture_output=True, text=True)
        return f"no bridge can be made here: {made.stderr.strip()}" if made.returncode else None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def run(*words: str) -> str:
    """Run a command that must succeed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Hosts:
    """Some hosts, 10.77.0.1, 10.77.0.2, …, and the bridge between them; use it as a context.

    Args:
        count: how many.
        has_own_core: each has a core of this machine to itself, as machines have; else all share its cores.
    """

    def __init__(self, count: int = 2, *, has_own_core: bool = False) -> None:
        self.count = count
        cores = sorted(os.sched_getaffinity(0))
        if has_own_core and len(cores) < count:
            raise ValueError(f"{count} hosts need a core each, and this process may use {len(cores)}")
        self.cores = cores[:count] if has_own_core else None
        self.bridge = f"cl{os.getpid()}-net"
        self.names = [f"cl{os.getpid()}-{i}" for i in range(count)]
        self.processes: list[subprocess.Popen[str]] = []
        self.table = tempfile.NamedTemporaryFile("w", prefix="hosts-")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Hosts:
        names = "".join(f"{address(i)} host-{i}\n" for i in range(self.count))
        self.table.write(f"127.0.0.1 localhost\n{names}")
        self.table.flush()
        try:
            run(
                "ip", "netns", "add", self.bridge
            )  # the bridge is in a namespace of its own: nothing else sees it
            self._inside(self.bridge, "ip", "link", "add", "br0", "type", "bridge")
            self._inside(self.bridge, "ip", "link", "set", "br0", "up")
            for i, name in enumerate(self.names):
                run("ip", "netns", "add", name)
                plug = ["ip", "link", "add", "eth0", "netns", name, "type", "veth"]
                run(*plug, "peer", "name", f"port{i}", "netns", self.bridge)
                self._inside(self.bridge, "ip", "link", "set", f"port{i}", "master", "br0", "up")
                self._inside(name, "ip", "addr", "add", f"{address(i)}/24", "dev", "eth0")
                self._inside(name, "ip", "link", "set", "lo", "up")
                self._inside(name, "ip", "link", "set", "eth0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name in self.names:
            self._kill_all(name)
        for process in self.processes:
            process.wait(timeout=10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.table.close()
        for name in (*self.names, self.bridge):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def slow(self, mbit: float) -> None:
        """Limit every host's sending rate."""
        for name in self.names:
            words = ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf"]
            self._inside(name, *words, "rate", f"{mbit}mbit", "burst", "16kb", "limit", "8mb")

    def cut(self, i: int) -> None:
        """Cut host i off: packets are lost, and nothing tells either side."""
        self._inside(self.bridge, "ip", "link", "set", f"port{i}", "nomaster")

    def mend(self, i: int) -> None:
        """Connect host i again."""
        self._inside(self.bridge, "ip", "link", "set", f"port{i}", "master", "br0")

    def vanish(self, i: int) -> None:
        """Cut host i off and end everything on it."""
        self.cut(i)
        self._kill_all(self.names[i])

    def sent_bytes(self, i: int) -> int:
        """The bytes that host i has sent so far, with all headers."""
        return int(self._inside(self.names[i], "cat", "/sys/class/net/eth0/statistics/tx_bytes"))

    def start(
        self, i: int, words: Sequence[str], *, folder: Path = ROOT, more: Mapping[str, Any] | None = None
    ) -> subprocess.Popen[str]:
        """Start `python WORDS` on host i, whose name is host-i."""
        named = f'hostname host-{i}; mount --bind {self.table.name} /etc/hosts; exec "$0" "$@"'
        where = ["ip", "netns", "exec", self.names[i], "unshare", "--uts", "sh", "-c", named]
        if self.cores is not None:
            where = ["taskset", "--cpu-list", str(self.cores[i]), *where]
        added = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": 1, **(more or {})}
        process = subprocess.Popen(
            [*where, sys.executable, *words],
            cwd=folder,
            env=os.environ | {name: str(value) for name, value in added.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def start_rank(
        self, i: int, words: Sequence[str], *, folder: Path = ROOT, port: int = PORT
    ) -> subprocess.Popen[str]:
        """Start rank i of one rank on each host, without torchrun."""
        own = {"RANK": i, "WORLD_SIZE": self.count, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        own |= {"MASTER_ADDR": address(0), "MASTER_PORT": port}
        return self.start(i, words, folder=folder, more=own)

    def torchrun(self, i: int, words: Sequence[str], *, folder: Path = ROOT, restarts: int = 0) -> Any:
        """Start torchrun on host i, with one rank on each host."""
        launcher = ["-m", "torch.distributed.run", "--nnodes", str(self.count), "--nproc-per-node", "1"]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{address(0)}:{PORT}", "--rdzv-id", "test"]
        launcher += ["--max-restarts", str(restarts), "--local-addr", address(i)]
        return self.start(i, [*launcher, *words], folder=folder)

    def _kill_all(self, name: str) -> None:
        """End every process in a namespace; torchrun's are in groups of their own."""
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
        for pid in map(int, found.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _inside(self, name: str, *words: str) -> str:
        return run("ip", "netns", "exec", name, *words)


def address(i: int) -> str:
    """The address of host i."""
    return f"10.77.0.{i + 1}"
