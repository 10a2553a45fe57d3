"""A warm process that forks a child for each command line, so that a training can be killed without importing all again.

Each line of its input is a JSON object: the words of the command, the folder to run it in, the file for its output, and
what happens at the named points of the writer. It answers with the process id of the child, then with its exit status.
"""

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import warnings

from charloom.cli import main
from charloom.files import atomic
from charloom.training import baselines, loop, recorder


def no_baselines(*_):
    """The n-gram and xz would take longer than the training."""
    yield
    return baselines.Baselines()


def point_action(kind, number, names):
    """What happens at the named points: they are listed, and the one of that number kills, or fails as a full disk does."""
    seen = []

    def reached(point):
        if names is not None:
            names.write(f"{point}\n")
            names.flush()
        seen.append(point)
        if len(seen) - 1 == number:
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, "No space left on device")

    return reached


def limit_file_size(size):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def child(order):
    """Run the command line as a process of its own would; returns its exit code."""
    os.chdir(order["cwd"])
    for stream in (1, 2):
        os.dup2(os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
    if order.get("at") is not None or order.get("names"):
        names = open(order["names"], "w") if order.get("names") else None  # noqa: PTH123, SIM115
        atomic.reached = point_action(order.get("kind"), order.get("at"), names)
    if order.get("user") is not None:
        os.setgid(order["user"])
        os.setuid(order["user"])
    if order.get("file_size") is not None:
        limit_file_size(order["file_size"])
    return main(order["words"])


def warm_up(words):
    """Train once in this process, so that every module is imported and every kernel loaded; no thread may stay."""
    with contextlib.redirect_stdout(sys.stderr):
        assert main(words) == 0
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)


def serve():
    """Fork a child for each order, one at a time."""
    warm_up(json.loads(sys.stdin.readline())["words"])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # a fork of a process with threads: they sleep
            pid = os.fork()
        if pid == 0:
            code = 99
            try:
                code = child(order)
            finally:
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    recorder.CHECKPOINT_EVERY_S = 0.0
    loop.SAMPLE_CHARS = 3
    baselines._measure = no_baselines
    serve()
