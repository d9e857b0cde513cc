"""Engines of our own: from a file or a URL, set up so that processes may share a database.

SQLite: a transaction that will write begins IMMEDIATE, or two writers deadlock into "database is
locked"; and a SAVEPOINT before any BEGIN would commit on its RELEASE.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import StaticPool, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.util import await_only

from ..errors import OpencodeSessionsError, PersistenceError
from .values import dumps, loads

BUSY_TIMEOUT_MS = 5000
SYNCHRONOUS = "FULL"  # a commit is on the disk when it returns; at NORMAL power may take the last
CACHE_KB = 16_000  # at most: of the usual 2 MB, indexes are read again and again as they grow
CHECKPOINT_PAGES = 4000  # 16 MB: a commit that also copies the log into the file takes longer
WAL_RETRY_S = 0.01
SMALLEST_DATABASE = 512  # bytes; what is smaller SQLite takes for empty, and writes over it
WRITES = "opencode_sessions_writes"
SUPPORTED = ("sqlite", "postgresql")
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}

LOOPS: WeakKeyDictionary[AsyncEngine, asyncio.AbstractEventLoop] = WeakKeyDictionary()

Target = str | os.PathLike[str] | URL
Database = AsyncEngine | Target
Executor = AsyncConnection | AsyncSession  # whatever runs a statement


def connect(target: Target) -> AsyncEngine:
    """An engine for a file or a database URL, set up the way the store needs it.

    Raises:
        OpencodeSessionsError: no file or URL of a database that is supported.
    """
    url = _url(target)
    check_supported(url.get_backend_name())
    if file := file_of(url):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            size = file.stat().st_size if file.exists() else 0
        except OSError as error:
            raise OpencodeSessionsError(f"There is no folder for {file}: {error}.") from error
        if 0 < size < SMALLEST_DATABASE:
            raise PersistenceError(f"Could not open {file}: file is not a database")
    try:
        engine = create_async_engine(url, json_serializer=dumps, json_deserializer=loads)
    except (ArgumentError, InvalidRequestError, ImportError) as error:
        place = url.render_as_string()
        hint = f" `pip install {error.name}`." if isinstance(error, ImportError) else ""
        if isinstance(error, ImportError) and error.name == "asyncpg":
            hint = " `pip install 'opencode-sessions[postgres]'`."
        raise OpencodeSessionsError(f"{place} cannot be opened: {error}.{hint}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _connected_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    elif engine.dialect.driver == "asyncpg":
        event.listen(engine.sync_engine, "connect", _set_up_asyncpg)
    return engine


def file_of(target: Database) -> Path | None:
    """The file of an SQLite database; None for one in memory or on a server."""
    url = target.url if isinstance(target, AsyncEngine) else _url(target)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


def begin_to_write(connection: Connection) -> bool:
    """Begins a transaction, on SQLite with the write lock; False if there is one already."""
    if not connection.in_transaction():
        connection.begin()  # SQLAlchemy's own beginning, which on our engines says BEGIN
    driver = connection.connection.driver_connection
    if driver is None or _is_in_transaction(driver):
        return False
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif _is_autocommit(connection):
        connection.exec_driver_sql("BEGIN")
    return True


def end_writing(connection: Connection, how: str) -> None:
    """COMMIT or ROLLBACK for an application's AUTOCOMMIT engine, where SQLAlchemy says nothing."""
    if connection.dialect.name == "postgresql" and _is_autocommit(connection):
        connection.exec_driver_sql(how)


def _is_autocommit(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _is_in_transaction(driver: Any) -> bool:
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return bool(driver.is_in_transaction())
    if hasattr(driver, "in_transaction"):  # aiosqlite
        return bool(driver.in_transaction)
    return bool(driver.info.transaction_status)  # psycopg; 0 is idle


def check_supported(dialect: str) -> None:
    """Raises OpencodeSessionsError for a kind of database we have no statements for."""
    if dialect not in SUPPORTED:
        raise OpencodeSessionsError(
            f"{dialect} is not supported. Use SQLite (a file, or sqlite:///sessions.db) or "
            "PostgreSQL (postgresql://user:password@host/database)."
        )


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, lock: asyncio.Lock, writes: bool
) -> AsyncIterator[Executor]:
    """A transaction on an engine of our own; writers take turns by the lock."""
    come_to_this_loop(engine)
    is_shared = isinstance(engine.pool, StaticPool)  # an in-memory database has one connection
    if writes or is_shared:
        await lock.acquire()
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: writes})
            async with connection.begin():
                yield connection
    finally:
        if writes or is_shared:
            lock.release()


async def dispose(engine: AsyncEngine) -> None:
    """Closes an engine of our own."""
    come_to_this_loop(engine)
    await engine.dispose()


def come_to_this_loop(engine: AsyncEngine) -> None:
    """Leaves behind what was connected in another event loop: it works there alone."""
    loop = asyncio.get_running_loop()
    if LOOPS.setdefault(engine, loop) is not loop:
        LOOPS[engine] = loop
        if engine.dialect.name == "postgresql":
            engine.sync_engine.dispose(close=False)


def reason(error: BaseException) -> str:
    """The driver's own words: SQLAlchemy adds the statement and its values, a message's text."""
    said = str(getattr(error, "orig", None) or error).partition("\n")[0]
    return said or type(error).__name__  # a TimeoutError says nothing


def _url(target: Target) -> URL:
    if isinstance(target, str) and "://" in target:
        try:
            target = make_url(target)
        except ArgumentError as error:
            raise OpencodeSessionsError(f"{target!r} is no database URL: {error}") from error
    if isinstance(target, URL):
        return target.set(drivername=DRIVERS.get(target.drivername, target.drivername))
    path = Path(target).expanduser()
    if path.is_dir():
        raise OpencodeSessionsError(f"{path} is a folder. Give the file to keep sessions in.")
    return URL.create(DRIVERS["sqlite"], database=str(path))


def set_up_sqlite(connection: Any) -> None:
    """Sets up a connection to a file that is in WAL mode already."""
    connection.isolation_level = None  # BEGIN is ours to say, see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
    cursor.execute(f"PRAGMA cache_size=-{CACHE_KB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _connected_sqlite(connection: Any, _record: object) -> None:
    set_up_sqlite(connection)
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.close()


def _set_up_asyncpg(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")  # else for ever
    cursor.execute("SET timezone = 'UTC'")  # what a column without a zone is to hold
    cursor.execute("SET jit = off")  # to compile a statement takes longer than most of them do
    cursor.execute("SET parallel_setup_cost = 10000")  # and so does a process to help
    cursor.close()
    connection.commit()  # or what its first user writes would be rolled back with this


def _switch_to_wal(cursor: Any) -> None:
    """SQLite waits for a writer, but not for another opener that switches at the same moment."""
    for _ in range(int(BUSY_TIMEOUT_MS / 1000 / WAL_RETRY_S)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            await_only(asyncio.sleep(WAL_RETRY_S))
    cursor.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
