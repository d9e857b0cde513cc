"""The connection that writes to an SQLite file of ours: stdlib sqlite3 on one thread.

All that one transaction appends is one visit to that thread; each visit costs as much as a few
statements do. Reads go through the engine's pool and see what is committed.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from ..models import Row
from . import Step, bulk, engine
from .appending import Appending, Run, appending
from .visits import VisitedThread


class SqliteWriter:
    """Appends to a file, one transaction at a time."""

    def __init__(self, database: AsyncEngine, turn: asyncio.Lock) -> None:
        self._turn = turn
        names, options = database.dialect.create_connect_args(database.url)
        self._at: Any = names, {**options, "check_same_thread": False}
        self._thread = VisitedThread("opencode_sessions")
        self._connection: sqlite3.Connection | None = None

    async def append(self, steps: Sequence[Step]) -> list[Row]:
        """Appends in one transaction; gives a row for each PutSession and PutMessage."""
        async with self._turn:
            return await self._thread.visit(self._append, steps)

    async def close(self) -> None:
        """Lets go of the file; the next write opens it again."""
        await self._thread.visit(self._close)

    def _append(self, steps: Sequence[Step]) -> list[Row]:
        if self._connection is None:
            self._connection = self._connected()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = _driven(connection, appending("sqlite", steps))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # after some errors SQLite has rolled back itself
                connection.execute("ROLLBACK")
            raise
        return rows

    def _connected(self) -> sqlite3.Connection:
        (name,), options = self._at
        connection: sqlite3.Connection = sqlite3.connect(name, **options)
        try:
            engine.set_up_sqlite(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _driven(connection: sqlite3.Connection, work: Appending) -> list[Row]:
    found = None
    while True:
        try:
            run = work.send(found)
        except StopIteration as ended:
            rows: list[Row] = ended.value
            return rows
        found = _run(connection, run)


def _run(connection: sqlite3.Connection, run: Run) -> list[Any]:
    text = run.text
    values = bulk.bound(run.rows, text.names)
    if not text.columns:
        connection.executemany(text.sql, values)
        return []
    return [connection.execute(text.sql, each).fetchall()[0] for each in values]
