"""Several reads of an SQLite file as one visit to a thread.

Through the async engine each step of each statement is a visit of its own, and a few rows take
longer to be sent for than to be read. Here coroutines that read run on the thread that has the
connection: whatever they await is done when it returns, so they never have to wait.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, create_engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from . import Done, engine
from .engine import Executor
from .values import loads

CACHE_KIB = 16_384  # what one file's events are read from is all over a large database

Transaction = Callable[[bool], AbstractAsyncContextManager[Executor]]


class SqliteReader:
    """Reads a file, as it is at one moment."""

    def __init__(self, database: AsyncEngine) -> None:
        url = database.url.set(drivername="sqlite")  # stdlib sqlite3, as aiosqlite is
        self._engine = create_engine(url, json_deserializer=loads)
        event.listen(self._engine, "connect", lambda driver, _: _set_up(driver))
        event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    async def run(self, work: Callable[[Transaction], Coroutine[Any, Any, Done]]) -> Done:
        """Does work that executes statements, all of them in one transaction, and nothing else."""
        return await asyncio.to_thread(self._run, work)

    async def close(self) -> None:
        """Lets go of the file; the next read opens it again."""
        await asyncio.to_thread(self._engine.dispose)

    def _run(self, work: Callable[[Transaction], Coroutine[Any, Any, Done]]) -> Done:
        with self._engine.begin() as connection:
            executor = cast(AsyncConnection, _Executor(connection))

            @asynccontextmanager
            async def transaction(_writes: bool) -> AsyncIterator[Executor]:
                yield executor

            running = work(transaction)
            try:
                while True:
                    running.send(None)  # goes on after each sleep(0), which is for an event loop
            except StopIteration as ended:
                return cast(Done, ended.value)


def _set_up(driver: sqlite3.Connection) -> None:
    engine.set_up_sqlite(driver)
    driver.execute(f"PRAGMA cache_size=-{CACHE_KIB}")


class _Executor:
    """As much of an AsyncConnection as a read needs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    async def stream(self, statement: Any, parameters: Any = None) -> "_Streamed":
        return _Streamed(self._connection.execute(statement, parameters))


class _Streamed:
    """As much of an AsyncResult."""

    def __init__(self, result: CursorResult[Any]) -> None:
        self._result = result

    async def partitions(self, size: int) -> AsyncIterator[Sequence[Any]]:
        for rows in self._result.partitions(size):
            yield rows
