"""Rows in a database, through Core statements: on a caller's AsyncSession or our own engine.

Core, not ORM state: a failed flush or a rollback of ORM objects would spoil whatever comes next and
expire what the caller holds. On a caller's AsyncSession each write is one savepoint and one commit,
under a lock that lives with that AsyncSession, because it may not be used by two tasks at once.

SQLite: a transaction that will write begins IMMEDIATE, or two writers deadlock into "database is
locked"; and a SAVEPOINT before any BEGIN would commit on its RELEASE.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Executable, Result, StaticPool, delete, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from ..errors import OpencodeSessionsError, SchemaError
from ..models import TABLES, Row
from . import (
    TABLE_NAMES,
    Append,
    CallerWorkFailed,
    Delete,
    Put,
    PutMessage,
    PutSession,
    Step,
    StoreFailed,
    Summary,
    TableName,
    Where,
    column_names,
)
from .values import dumps, loads

BUSY_TIMEOUT_MS = 5000
BATCH = 2000  # rows handed over between two turns of the event loop: under 50 ms
LOCK = "opencode_sessions.lock"
WRITES = "opencode_sessions_writes"
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
KEPT_BY_APPEND = {"id", "session_id", "seq", "created_at"}

# What the driver says when the same write may succeed later, on SQLite and by PostgreSQL's SQLSTATE
# (connection lost, resources, lock not available, serialization, shutdown).
PASSING_TEXTS = ("locked", "busy", "disk is full", "disk i/o", "unable to open", "connection")
PASSING_STATES = ("08", "40001", "40P01", "53", "55P03", "57P")
SCHEMA_TEXTS = ("no such table", "no such column", "has no column")
SCHEMA_STATES = ("42P01", "42703")


class Executor(Protocol):
    """What AsyncSession and AsyncConnection have in common."""

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        """Runs a statement."""


Target = str | os.PathLike[str] | URL
Transaction = Callable[[bool], AbstractAsyncContextManager[Executor]]


class SqlStore:
    """A store in a database."""

    def __init__(
        self,
        transaction: Transaction,
        dialect: Callable[[], str],
        place: str,
        dispose: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._transaction = transaction
        self._dialect = dialect
        self._dispose = dispose
        self.place = place

    @classmethod
    def on_session(cls, session: AsyncSession) -> "SqlStore":
        """A store that writes through the caller's AsyncSession, and commits it each time."""

        def dialect() -> str:
            return session.get_bind().dialect.name

        def transaction(writes: bool) -> AbstractAsyncContextManager[Executor]:
            return _on_session(session, writes)

        return cls(transaction, dialect, "an AsyncSession")

    @classmethod
    def on_engine(cls, engine: AsyncEngine) -> "SqlStore":
        """A store with an engine of its own, made by `connect`."""
        lock = asyncio.Lock()

        def transaction(writes: bool) -> AbstractAsyncContextManager[Executor]:
            return _on_engine(engine, lock, writes)

        url = engine.url
        place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
        return cls(transaction, lambda: engine.dialect.name, place or "a database", engine.dispose)

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps in one transaction; gives a row for each PutSession and PutMessage."""
        rows: list[Row] = []
        with _translated():
            try:
                async with self._transaction(True) as executor:
                    for step in steps:
                        rows += await self._apply(executor, step)
            except CallerWorkFailed as error:
                error.rows = rows
                raise
        return rows

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows as tuples in the order of `columns`, in batches so that the loop goes on turning."""
        source = TABLES[table]
        statement = select(*(source.c[column] for column in columns))
        for column, values in (where or {}).items():
            statement = statement.where(source.c[column].in_(list(values)))
        rows: list[tuple[Any, ...]] = []
        with _translated():
            async with self._transaction(False) as executor:
                result = await executor.execute(statement)
                for batch in result.partitions(BATCH):
                    rows.extend(tuple(row) for row in batch)
                    await asyncio.sleep(0)
        return rows

    async def summary(self) -> Summary:
        """Counts and the newest session's time."""
        with _translated():
            async with self._transaction(False) as executor:
                counts = [
                    (
                        await executor.execute(select(func.count()).select_from(TABLES[name]))
                    ).scalar_one()
                    for name in ("sessions", "messages", "file_events")
                ]
                newest = await executor.execute(select(func.max(TABLES["sessions"].c.updated_at)))
                sessions, messages, file_events = counts
                return Summary(sessions, messages, file_events, newest.scalar_one_or_none())

    async def close(self) -> None:
        """Closes our own engine; a caller's AsyncSession is the caller's."""
        if self._dispose:
            await self._dispose()

    async def _apply(self, executor: Executor, step: Step) -> list[Row]:
        match step:
            case PutSession(row):
                return [await self._put_session(executor, row)]
            case PutMessage(row):
                return [await self._put_message(executor, row)]
            case Append(table, rows) if rows:
                await self._append(executor, table, rows)
            case Put(table, rows) if rows:
                await self._put(executor, table, rows)
            case Delete(session_ids):
                for name in TABLE_NAMES:
                    source = TABLES[name]
                    key = source.c.id if name == "sessions" else source.c.session_id
                    await executor.execute(delete(source).where(key.in_(list(session_ids))))
        return []

    def _insert(self, table: str) -> Any:
        try:
            return INSERTS[self._dialect()](TABLES[table])
        except KeyError:
            raise OpencodeSessionsError(
                f"{self._dialect()} is not supported: use SQLite or PostgreSQL."
            ) from None

    async def _put_session(self, executor: Executor, row: Row) -> Row:
        table = TABLES["sessions"]
        insert = self._insert("sessions").values(row)
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=[table.c.opencode_id],
            set_={
                "updated_at": new.updated_at,
                "abi_thread_id": func.coalesce(new.abi_thread_id, table.c.abi_thread_id),
                "title": func.coalesce(func.nullif(table.c.title, ""), new.title),
            },
        ).returning(*table.c)
        return dict((await executor.execute(statement)).mappings().one())

    async def _put_message(self, executor: Executor, row: Row) -> Row:
        table = TABLES["messages"]
        in_session = table.c.session_id == row["session_id"]
        last = select(func.coalesce(func.max(table.c.seq) + 1, 0)).where(in_session)
        turns = select(func.coalesce(func.max(table.c.turn), 0) + int(row["role"] == "user"))
        insert = self._insert("messages").values(
            row | {"seq": last.scalar_subquery(), "turn": turns.where(in_session).scalar_subquery()}
        )
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=[table.c.session_id, table.c.opencode_id],
            set_={"role": new.role, "content": new.content, "parts": new.parts},
        ).returning(*table.c)
        return dict((await executor.execute(statement)).mappings().one())

    async def _append(self, executor: Executor, name: TableName, rows: Sequence[Row]) -> None:
        table = TABLES[name]
        insert = self._insert(name)
        changed = {column: insert.excluded[column] for column in column_names(rows)}
        changed = {
            column: value for column, value in changed.items() if column not in KEPT_BY_APPEND
        }
        for row in rows:
            last = select(func.coalesce(func.max(table.c.seq) + 1, 0))
            place = last.where(table.c.session_id == row["session_id"]).scalar_subquery()
            statement = insert.values(row | {"seq": place})
            await executor.execute(
                statement.on_conflict_do_update(index_elements=[table.c.id], set_=changed)
            )

    async def _put(self, executor: Executor, name: TableName, rows: Sequence[Row]) -> None:
        insert = self._insert(name)
        changed = {c: insert.excluded[c] for c in column_names(rows) if c != "id"}
        statement = insert.on_conflict_do_update(index_elements=[TABLES[name].c.id], set_=changed)
        await executor.execute(statement, list(rows))


def connect(target: Target) -> AsyncEngine:
    """An engine for a file or a database URL, set up the way the store needs it."""
    engine = create_async_engine(_url(target), json_serializer=dumps, json_deserializer=loads)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def begin_immediate(connection: Connection) -> bool:
    """Takes SQLite's write lock unless a transaction has begun already; says whether it did."""
    if connection.dialect.name != "sqlite":
        return False
    if not connection.in_transaction():
        connection.begin()  # SQLAlchemy's own beginning, which on our engines says BEGIN
    driver = connection.connection.driver_connection
    if driver is None or driver.in_transaction:
        return False
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    return True


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
    path.parent.mkdir(parents=True, exist_ok=True)
    return URL.create(DRIVERS["sqlite"], database=str(path))


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say, see _begin_sqlite
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",  # first: switching to WAL may have to wait as well
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@asynccontextmanager
async def _on_engine(
    engine: AsyncEngine, lock: asyncio.Lock, writes: bool
) -> AsyncIterator[Executor]:
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


@asynccontextmanager
async def _on_session(session: AsyncSession, writes: bool) -> AsyncIterator[Executor]:
    lock: asyncio.Lock = session.info.setdefault(LOCK, asyncio.Lock())
    async with lock:
        if not writes:
            yield session
            return
        callers_error = None
        try:
            await session.flush()
            await session.connection()
        except SQLAlchemyError as error:
            # The caller's objects, or a failure the caller left: rolling back is what remains.
            callers_error = error
            await session.rollback()
        was_idle = await session.run_sync(lambda sync: begin_immediate(sync.connection()))
        try:
            async with session.begin_nested():
                yield session
            await session.commit()
        except BaseException:
            # What the caller has not committed yet stays; a lock that only we hold must not.
            if was_idle or not session.is_active:
                await session.rollback()
            raise
        if callers_error is not None:
            raise CallerWorkFailed(
                f"your own objects in the AsyncSession could not be flushed and were rolled back: "
                f"{callers_error}"
            ) from callers_error


@contextmanager
def _translated() -> Iterator[None]:
    """Driver errors as what they mean to us: tables missing, come back later, or never."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig).lower()
        state = str(getattr(error.orig, "sqlstate", None) or "")
        if any(part in text for part in SCHEMA_TEXTS) or state in SCHEMA_STATES:
            raise SchemaError(
                f"The tables are missing or older than this version ({error.orig}). Run "
                "`await ocs.migrate(engine)` or `opencode-sessions migrate URL` once."
            ) from error
        is_passing = (
            error.connection_invalidated
            or state.startswith(PASSING_STATES)
            or (not state and any(part in text for part in PASSING_TEXTS))
        )
        raise StoreFailed(str(error.orig), is_passing=is_passing) from error
    except SQLAlchemyError as error:
        raise StoreFailed(str(error), is_passing=False) from error
    except OSError as error:
        raise StoreFailed(str(error), is_passing=True) from error
