"""The floors of appending: drivers alone, with rows that are ready or nearly so."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opencode_sessions.store import sqlite
from opencode_sessions.store.appending import Run
from opencode_sessions.store.bulk import bound

from .appenders import BOTH, PARTS, Ours, new_id, now

EVENT = ("id", "session_id", "message_id", "event_type", "file_path", "diff", "command", "at")
SCHEMA = (
    "CREATE TABLE messages (id VARCHAR(36) PRIMARY KEY, session_id TEXT, role TEXT, content TEXT, "
    "parts JSON, at TEXT)",
    f"CREATE TABLE events ({', '.join(f'{name} TEXT' for name in EVENT)}, PRIMARY KEY (id))",
)


def _rows(writer: int) -> tuple[list[Any], list[list[Any]]]:
    id, session_id = new_id(), f"ses_{writer}"
    message = [id, session_id, "assistant", PARTS[0]["text"], json.dumps(PARTS), now()]
    events = [
        [new_id(), session_id, id, "edit", part["input"]["path"], part["input"]["new_string"]]
        for part in PARTS[1:]
    ]
    return message, [[*event, None, now()] for event in events]


class SQLiteFloor:
    """Stdlib sqlite3 in the event loop's own thread, one transaction a message."""

    name, stores = "floor: stdlib sqlite3", "message, events"

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        self._connection = sqlite3.connect(place, isolation_level=None)
        for statement in SCHEMA:
            self._connection.execute(statement)

    async def append(self, writer: int) -> None:
        """Appends."""
        message, events = _rows(writer)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", message)
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", events)
        self._connection.execute("COMMIT")

    async def close(self) -> None:
        """Closes it."""
        self._connection.close()


class OurFloor:
    """Our own rows, made beforehand, by stdlib sqlite3: what no Python of ours can be faster than.

    A message is one of ours under another id, which is in the ids of all that belongs to it.
    """

    name, stores = "floor: our rows, stdlib sqlite3", BOTH

    async def open(self, place: str, writers: int) -> None:
        """Opens it, and has the service append what is appended again and again."""
        with recorded() as self._runs:
            service = Ours()
            await service.open(place, writers)
            self._runs.clear()
            await service.append(0)
            await service.close()
        ((self._id, *_),) = (values for _, values in self._runs[0])
        self._connection = sqlite3.connect(place, isolation_level=None)
        self._connection.execute("PRAGMA foreign_keys=ON").close()

    async def append(self, writer: int) -> None:
        """Appends."""
        id, execute = new_id(), self._connection.execute
        execute("BEGIN IMMEDIATE")
        for run in self._runs:
            for sql, values in run:
                execute(sql, [_renamed(value, self._id, id) for value in values]).fetchall()
        execute("COMMIT")

    async def close(self) -> None:
        """Closes it."""
        self._connection.close()


def _renamed(value: Any, old: str, new: str) -> Any:
    return value.replace(old, new) if isinstance(value, str) and value.startswith(old) else value


@contextmanager
def recorded() -> Iterator[list[list[tuple[str, list[Any]]]]]:
    """What the service runs meanwhile: of each run the statement and values of each row."""
    runs: list[list[tuple[str, list[Any]]]] = []
    real = sqlite._run

    def record(connection: sqlite3.Connection, run: Run) -> list[Any]:
        runs.append([(run.text.sql, values) for values in bound(run.rows, run.text.names)])
        return real(connection, run)

    sqlite._run = record
    try:
        yield runs
    finally:
        sqlite._run = real


class AsyncpgFloor:
    """asyncpg, prepared statements, one transaction a message."""

    name, stores = "floor: asyncpg, prepared", "message, events"

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        import asyncpg

        self._pool = await asyncpg.create_pool(place, min_size=1, max_size=10)
        for statement in SCHEMA:
            await self._pool.execute(statement)

    async def append(self, writer: int) -> None:
        """Appends."""
        message, events = _rows(writer)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO messages VALUES ($1,$2,$3,$4,$5,$6)", *message)
            await connection.executemany(
                "INSERT INTO events VALUES ($1,$2,$3,$4,$5,$6,$7,$8)", events
            )

    async def close(self) -> None:
        """Closes it."""
        await self._pool.close()
