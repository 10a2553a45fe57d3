"""Shared by the tests of ranks: start the processes of a launch, as torchrun would, and collect what they print."""

import os
import socket
import subprocess
import sys

from tests.conftest import ROOT


def free_port():
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return asking.getsockname()[1]


def environment(rank, size, port, **more):
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1, "PYTHONPATH": ROOT / "src"}
    return os.environ | {name: str(value) for name, value in {**own, **more}.items()}


def start(words_of_rank, size, folder=ROOT):
    """Start `python WORDS` for each rank; `words_of_rank` maps a rank to its words."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *words_of_rank(rank)],
            cwd=folder,
            env=environment(rank, size, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for rank in range(size)
    ]


def finish(processes, timeout_s=120):
    """Wait for all: [(exit code, stdout, stderr)]; none is left running."""
    try:
        return [
            (*reversed([process.communicate(timeout=timeout_s), process.wait()]),) for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=10)
