"""Rows in a database, through Core statements: on a caller's AsyncSession or our own engine.

Core, not ORM state: a failed flush or a rollback of ORM objects would spoil whatever comes next and
expire what the caller holds. On a caller's AsyncSession each write is one savepoint and one commit,
under a lock that lives with that AsyncSession, because it may not be used by two tasks at once; and
no statement is cancelled in the middle there, which would cost the caller the whole transaction.

SQLite: a transaction that will write begins IMMEDIATE, or two writers deadlock into "database is
locked"; and a SAVEPOINT before any BEGIN would commit on its RELEASE.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Executable, Result, StaticPool, delete, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InvalidRequestError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from ..errors import OpencodeSessionsError, PersistenceError, SchemaError
from ..models import TABLES, Row
from . import (
    KEPT_BY_APPEND,
    TABLE_NAMES,
    Append,
    CallerWorkFailed,
    Delete,
    Done,
    Put,
    PutMessage,
    PutSession,
    Step,
    StoreFailed,
    Summary,
    TableName,
    Where,
    column_names,
    finish,
)
from .values import dumps, loads

log = logging.getLogger("opencode_sessions")

BUSY_TIMEOUT_MS = 5000
WAL_TRIES = 50
SMALLEST_DATABASE = 512  # bytes; what is smaller SQLite takes for empty, and writes over it
BATCH = 2000  # rows handed over between two turns of the event loop: under 50 ms
LOCK = "opencode_sessions.lock"
WRITES = "opencode_sessions_writes"
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
ROLLED_BACK = "what you had not committed in the AsyncSession was rolled back"

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
Database = AsyncEngine | Target
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
        self._counted: Summary | None = None
        self._writes = 0
        self.place = place

    @property
    def known(self) -> Summary | None:
        """What it held when it was last counted, and how many writes there were since."""
        return self._counted and self._counted._replace(writes_since=self._writes)

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
        return cls(transaction, lambda: engine.dialect.name, place or "memory", engine.dispose)

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps in one transaction; gives a row for each PutSession and PutMessage."""
        return await finish(self._apply_all(steps))

    async def _apply_all(self, steps: Sequence[Step]) -> list[Row]:
        rows: list[Row] = []
        with _translated():
            try:
                async with self._transaction(True) as executor:
                    for step in steps:
                        rows += await self._apply(executor, step)
            except CallerWorkFailed as error:
                error.rows = rows
                self._writes += 1
                raise
        self._writes += 1
        return rows

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows as tuples in the order of `columns`, in batches so that the loop goes on turning."""
        return await self._read(self._select(table, columns, where or {}))

    async def _select(
        self, table: TableName, columns: Sequence[str], where: Where
    ) -> list[tuple[Any, ...]]:
        source = TABLES[table]
        statement = select(*(source.c[column] for column in columns))
        for column, values in where.items():
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
        return await self._read(self._summary())

    async def _summary(self) -> Summary:
        writes = self._writes
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
                newest_at = newest.scalar_one_or_none()
        self._counted = Summary(sessions, messages, file_events, newest_at)
        self._writes -= writes
        return self._counted

    async def _read(self, work: Coroutine[Any, Any, Done]) -> Done:
        is_own = self._dispose is not None
        return await (work if is_own else finish(work))

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
            case Delete(parents, ids) if ids:
                for name in TABLE_NAMES:
                    source = TABLES[name]
                    key = "id" if name == parents else f"{parents.removesuffix('s')}_id"
                    if key in source.c:
                        chosen = source.c[key].in_(list(ids))
                        await executor.execute(delete(source).where(chosen))
        return []

    def _insert(self, table: str) -> Any:
        dialect = self._dialect()
        _check_supported(dialect)
        return INSERTS[dialect](TABLES[table])

    async def _put_session(self, executor: Executor, row: Row) -> Row:
        table = TABLES["sessions"]
        insert = self._insert("sessions").values(row)
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=[table.c.opencode_id if row["opencode_id"] else table.c.id],
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
        turns = select(func.coalesce(func.max(table.c.turn) + int(row["role"] == "user"), 1))
        insert = self._insert("messages").values(
            row | {"seq": last.scalar_subquery(), "turn": turns.where(in_session).scalar_subquery()}
        )
        new = insert.excluded
        key = [table.c.session_id, table.c.opencode_id] if row["opencode_id"] else [table.c.id]
        statement = insert.on_conflict_do_update(
            index_elements=key,
            set_={"role": new.role, "content": new.content, "parts": new.parts},
        ).returning(*table.c)
        return dict((await executor.execute(statement)).mappings().one())

    async def _append(self, executor: Executor, name: TableName, rows: Sequence[Row]) -> None:
        table, messages = TABLES[name], TABLES["messages"]
        insert = self._insert(name)
        columns = {*column_names(rows), "turn"} - KEPT_BY_APPEND
        changed = {column: insert.excluded[column] for column in columns}
        for row in rows:
            in_message = messages.c.id == row["message_id"]
            turn = select(messages.c.turn).where(in_message).scalar_subquery()
            messages_own = select(messages.c.session_id).where(in_message).scalar_subquery()
            session_id = row["session_id"] or messages_own
            last = select(func.coalesce(func.max(table.c.seq) + 1, 0))
            seq = last.where(table.c.session_id == session_id).scalar_subquery()
            statement = insert.values(row | {"session_id": session_id, "seq": seq, "turn": turn})
            await executor.execute(
                statement.on_conflict_do_update(index_elements=[table.c.id], set_=changed)
            )

    async def _put(self, executor: Executor, name: TableName, rows: Sequence[Row]) -> None:
        insert = self._insert(name)
        changed = {c: insert.excluded[c] for c in column_names(rows) if c != "id"}
        statement = insert.on_conflict_do_update(index_elements=[TABLES[name].c.id], set_=changed)
        await executor.execute(statement, list(rows))


def connect(target: Target) -> AsyncEngine:
    """An engine for a file or a database URL, set up the way the store needs it.

    Raises:
        OpencodeSessionsError: no file or URL of a database that is supported.
    """
    url = _url(target)
    _check_supported(url.get_backend_name())
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
        raise OpencodeSessionsError(f"{place} cannot be opened: {error}.{hint}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def file_of(target: Database) -> Path | None:
    """The file of an SQLite database; None for one in memory or on a server."""
    url = target.url if isinstance(target, AsyncEngine) else _url(target)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


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
    return URL.create(DRIVERS["sqlite"], database=str(path))


def _check_supported(dialect: str) -> None:
    if dialect not in INSERTS:
        raise OpencodeSessionsError(
            f"{dialect} is not supported. Use SQLite (a file, or sqlite:///sessions.db) or "
            "PostgreSQL (postgresql://user:password@host/database)."
        )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say, see _begin_sqlite
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",  # first: switching to WAL may have to wait as well
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        for attempt in range(WAL_TRIES):
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError:
                # Another opener switches to WAL just now, for which SQLite does not always wait.
                if attempt == WAL_TRIES - 1:
                    raise
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
    async with lock, (_writing if writes else _reading)(session) as executor:
        yield executor


@asynccontextmanager
async def _reading(session: AsyncSession) -> AsyncIterator[Executor]:
    was_idle = not session.in_transaction()
    await _recovered(session)
    try:
        with session.no_autoflush:  # the caller's objects are none of a read's business
            yield session
    finally:
        if was_idle:  # a snapshot left open would keep a later write from ever getting the lock
            await session.commit()


@asynccontextmanager
async def _writing(session: AsyncSession) -> AsyncIterator[Executor]:
    callers_error = await _recovered(session)
    has_work = bool(session.new or session.dirty or session.deleted)
    # The lock before the flush: where it cannot be had, the caller's objects wait untouched.
    is_ours = await session.run_sync(_begin)
    try:
        await session.flush()
    except Exception as error:
        callers_error, has_work = error, False
        await _roll_back(session, error)
        is_ours = await session.run_sync(_begin)
    is_intact = False
    try:
        savepoint = await session.begin_nested()
        try:
            yield session
        except BaseException:
            with suppress(SQLAlchemyError):  # gone: for some errors SQLite rolls back everything
                await savepoint.rollback()
                is_intact = True
            raise
        await session.commit()
    except BaseException as error:
        # What the caller has not committed yet stays where it can; a lock that is only ours goes.
        if not is_intact:
            await _roll_back(session, error if has_work or not is_ours else None)
        elif is_ours and not has_work:
            await session.commit()
        raise
    if callers_error is not None:
        raise CallerWorkFailed(f"{ROLLED_BACK}: {_reason(callers_error)}") from callers_error


async def _recovered(session: AsyncSession) -> Exception | None:
    """Gets the session going again if its owner left it failed; gives the failure."""
    try:
        await session.connection()
    except PendingRollbackError as error:
        await _roll_back(session, error)
        return error
    return None


async def _roll_back(session: AsyncSession, callers_loss: BaseException | None) -> None:
    await session.rollback()
    if callers_loss is not None:
        log.error("%s: %s", ROLLED_BACK, _reason(callers_loss))


def _begin(session: Session) -> bool:
    return begin_immediate(session.connection())


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
        raise StoreFailed(_reason(error), is_passing=is_passing) from error
    except (NoConnectionFree, InvalidRequestError) as error:
        # no connection free, or the AsyncSession in the middle of something of its owner's
        raise StoreFailed(_reason(error), is_passing=True) from error
    except SQLAlchemyError as error:
        raise StoreFailed(_reason(error), is_passing=False) from error
    except OSError as error:
        raise StoreFailed(str(error), is_passing=True) from error


def _reason(error: BaseException) -> str:
    """The driver's own words: SQLAlchemy adds the statement and its values, a message's text."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
