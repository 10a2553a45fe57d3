"""Where a search keeps its journal and its leases: in its folder, or in a PostgreSQL database.

The journal is a list of entries that is only appended to; Optuna replays it. A lease says who works on a trial, and
until when, by the one clock of the store. Both are shared by every worker.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Any, Protocol

from charloom.errors import ConfigError

SETUP = -1
"""The key of the lease under which a search is set up; trials have the keys 0, 1, …"""


class SearchStore(Protocol):
    """The journal and the leases of one search."""

    name: str

    def journal(self) -> Any:
        """The journal as a backend of Optuna's `JournalStorage`."""

    def now(self) -> float:
        """Seconds since 1970 by the clock that all workers share."""

    def claim(self, key: int, holder: str, lease_s: float) -> int | None:
        """Take the lease of a key if it is free or expired; returns how often it was taken, or None."""

    def renew(self, key: int, holder: str, lease_s: float) -> bool:
        """Extend a lease; False if it was lost."""

    def release(self, key: int, holder: str) -> None:
        """Give a lease back, if it is still held."""

    def held(self) -> dict[int, str]:
        """{key: holder} of the leases that have not expired."""

    def close(self) -> None:
        """Close what is open."""


def open_store(folder: Path, url: str | None = None) -> SearchStore:
    """Open the store of a search; its name is that of the folder.

    Args:
        folder: the search's folder, which exists.
        url: of a PostgreSQL database; None = files in the folder.

    Raises:
        ConfigError: the URL is of another kind.
        MissingExtraError: Optuna or psycopg is not installed.
        RunError: the database cannot be reached.
    """
    if url is None:
        from charloom.tuning.journal_file import FileStore

        return FileStore(folder)
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(
            f"storage is {url!r}",
            why="a search is kept in its folder or in a PostgreSQL database",
            fix="leave --storage out, or give postgresql://USER@HOST/DATABASE",
        )
    from charloom.tuning.postgres import PostgresStore

    return PostgresStore(url, folder.absolute().name)


def new_holder() -> str:
    """A name for this worker: host, process, and a random part for a process id that is used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
