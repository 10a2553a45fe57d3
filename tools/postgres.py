"""Start a private PostgreSQL, for tests and for trying out a search that several machines share.

    python tools/postgres.py        prints a URL for --storage and serves until Ctrl-C

The server has a new, empty data folder, listens on a Unix socket in it only, and writes nothing durably. PostgreSQL
refuses to run as root; root starts it as the user ``postgres``, which Debian's package creates.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USER = "postgres"
PROGRAMS = ("initdb", "postgres", "pg_isready")
START_S = 30.0
OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=60",
)


def binaries() -> Path | None:
    """The folder with the programs of the newest version installed, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)  # Debian's place
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    return next((folder for folder in folders if all((folder / name).is_file() for name in PROGRAMS)), None)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", folder.parent.name)))


def why_not() -> str | None:
    """Why no server can be started here; None if one can."""
    if binaries() is None:
        return "PostgreSQL is not installed"
    if os.name != "posix":
        return "a private PostgreSQL needs Unix sockets"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {USER}"
    return None


@contextlib.contextmanager
def private_postgres() -> Iterator[str]:
    """Start a server, yield its URL, and remove it with its data.

    Raises:
        RuntimeError: it does not start; the message has its log.
    """
    folder = binaries()
    assert folder is not None, why_not()
    as_user: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    place = Path(tempfile.mkdtemp(prefix="charloom-postgres-"))
    try:
        if as_user:
            shutil.chown(place, USER, USER)
        initdb = [
            str(folder / "initdb"),
            "-D",
            str(place / "data"),
            "-U",
            USER,
            "--auth=trust",
            "-E",
            "UTF8",
            "-N",
        ]
        made = subprocess.run(
            [*initdb, "--locale=C"], cwd=place, capture_output=True, text=True, check=False, **as_user
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        with _server(folder, place, as_user):
            yield f"postgresql:///postgres?host={place}&user={USER}"
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _server(folder: Path, place: Path, as_user: dict[str, Any]) -> Iterator[None]:
    options = [word for option in (*OPTIONS, f"unix_socket_directories={place}") for word in ("-c", option)]
    log = place / "log"
    with log.open("wb") as handle:
        command = [str(folder / "postgres"), "-D", str(place / "data"), *options]
        server = subprocess.Popen(command, cwd=place, stdout=handle, stderr=handle, **as_user)
    try:
        until = time.monotonic() + START_S
        while not _answers(folder, place):
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        yield
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)  # "fast": connections are cut, nothing is waited for
            server.wait(START_S)


def _answers(folder: Path, place: Path) -> bool:
    asked = subprocess.run([str(folder / "pg_isready"), "-q", "-h", str(place), "-U", USER], check=False)
    return asked.returncode == 0


if __name__ == "__main__":
    if (reason := why_not()) is not None:
        raise SystemExit(reason)
    with private_postgres() as url, contextlib.suppress(KeyboardInterrupt):
        print(url, flush=True)
        while True:
            time.sleep(3600)
