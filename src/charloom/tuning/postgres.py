"""A search in PostgreSQL: a journal table, from which Optuna replays, and a table of leases.

Optuna's own tables for databases need many statements per trial, and its heartbeats do not work with ask and tell; the
journal needs one statement per entry, and the leases are ours. Times are those of the database server, so that the
clocks of the workers do not matter.

An entry carries a random id: an append whose answer was lost with the connection is sent again and stored once.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from charloom.errors import RunError, missing_extra
from charloom.schema import json_value

_TABLES = """
SELECT pg_advisory_xact_lock(7243316);
CREATE TABLE IF NOT EXISTS charloom_journal (
    search text NOT NULL, number bigint NOT NULL, id uuid NOT NULL UNIQUE, entry text NOT NULL,
    PRIMARY KEY (search, number));
CREATE TABLE IF NOT EXISTS charloom_leases (
    search text NOT NULL, trial integer NOT NULL, holder text NOT NULL, until timestamptz NOT NULL,
    taken integer NOT NULL, PRIMARY KEY (search, trial));
"""
_APPEND = """
INSERT INTO charloom_journal (search, number, id, entry)
SELECT %(search)s, coalesce(max(number) + 1, 0), %(id)s, %(entry)s FROM charloom_journal WHERE search = %(search)s
ON CONFLICT DO NOTHING RETURNING number
"""
_IS_THERE = "SELECT 1 FROM charloom_journal WHERE id = %(id)s"
_READ = "SELECT entry FROM charloom_journal WHERE search = %s AND number >= %s ORDER BY number"
_UNTIL = "clock_timestamp() + make_interval(secs => %(lease_s)s)"
_CLAIM = f"""
INSERT INTO charloom_leases AS l (search, trial, holder, until, taken)
VALUES (%(search)s, %(key)s, %(holder)s, {_UNTIL}, 1)
ON CONFLICT (search, trial) DO UPDATE SET holder = excluded.holder, until = {_UNTIL}, taken = l.taken + 1
WHERE l.until < clock_timestamp() RETURNING taken
"""
_MINE = "search = %(search)s AND trial = %(key)s AND holder = %(holder)s"
_RENEW = f"UPDATE charloom_leases SET until = {_UNTIL} WHERE {_MINE} RETURNING taken"
_RELEASE = f"UPDATE charloom_leases SET until = '-infinity' WHERE {_MINE} RETURNING taken"
_HELD = "SELECT trial, holder FROM charloom_leases WHERE search = %s AND until > clock_timestamp()"


class PostgresStore:
    """The `SearchStore` in a database, over one connection that is opened again if it breaks.

    Args:
        url: ``postgresql://…``, as libpq reads it; a password may come from ``PGPASSWORD`` or ``~/.pgpass``.
        name: of the search.
    """

    def __init__(self, url: str, name: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise missing_extra("psycopg", "search", "a search in PostgreSQL") from error
        self.name, self._url, self._psycopg = name, url, psycopg
        self._lock = threading.Lock()
        self._connection = self._connect()
        self._all(_TABLES)

    def journal(self) -> PostgresStore:
        """The store itself, which has the two methods of a backend."""
        return self

    def append_logs(self, logs: Sequence[dict[str, Any]]) -> None:
        """Append entries in order.

        An entry takes the number after the last one that is committed. Two workers may try the same number; one of them
        waits, finds it taken, and tries the next, so numbers have no gaps and a reader never misses one.
        """
        for entry in logs:
            row = {"search": self.name, "id": uuid.uuid4(), "entry": json.dumps(entry)}
            while self._one(_APPEND, row) is None and self._one(_IS_THERE, row) is None:
                continue  # another worker took the number

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The entries from a number on."""
        return [
            json_value(entry, finite=False) for (entry,) in self._all(_READ, (self.name, log_number_from))
        ]

    def now(self) -> float:
        """The clock of the server."""
        return float(self._all("SELECT extract(epoch FROM clock_timestamp())")[0][0])

    def claim(self, key: int, holder: str, lease_s: float) -> int | None:
        """Insert or take over the row, in one statement."""
        row = self._lease(_CLAIM, key, holder, lease_s)
        return None if row is None else int(row[0])

    def renew(self, key: int, holder: str, lease_s: float) -> bool:
        """Move the end of the lease, if it is still this holder's."""
        return self._lease(_RENEW, key, holder, lease_s) is not None

    def release(self, key: int, holder: str) -> None:
        """End the lease; its row stays, as it counts how often the lease was taken."""
        self._lease(_RELEASE, key, holder, 0.0)

    def held(self) -> dict[int, str]:
        """Read the leases that have not expired."""
        return {int(trial): str(holder) for trial, holder in self._all(_HELD, (self.name,))}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _lease(self, statement: str, key: int, holder: str, lease_s: float) -> Any:
        return self._one(statement, {"search": self.name, "key": key, "holder": holder, "lease_s": lease_s})

    def _one(self, statement: str, values: Mapping[str, Any]) -> Any:
        rows = self._all(statement, values)
        return rows[0] if rows else None

    def _connect(self) -> Any:
        try:
            return self._psycopg.connect(self._url, connect_timeout=10, autocommit=True)
        except self._psycopg.Error as error:
            raise _unreachable(error) from error

    def _all(self, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[Any]:
        """Run one statement, which is a transaction, and return its rows; a broken connection is opened again, once."""
        with self._lock:
            try:
                return self._rows(statement, values)
            except self._psycopg.OperationalError as error:
                if not self._connection.closed:
                    raise _unreachable(error) from error
                self._connection = self._connect()
            except self._psycopg.Error as error:
                raise _unreachable(error) from error
            try:
                return self._rows(statement, values)
            except self._psycopg.Error as error:
                raise _unreachable(error) from error

    def _rows(self, statement: str, values: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
        cursor = self._connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def _unreachable(error: Exception) -> RunError:
    """The error for a database that does not answer; libpq's text has no password in it."""
    lines = str(error).strip().splitlines()
    return RunError(
        "the database of the search cannot be used",
        why=lines[0] if lines else type(error).__name__,
        fix="check the URL of --storage, and that the server is running and lets this user create tables",
    )
