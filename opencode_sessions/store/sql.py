"""Rows in a database, through Core statements: on a caller's AsyncSession or our own engine.

Core, not ORM state: a failed flush or a rollback of ORM objects would spoil whatever comes next and
expire what the caller holds. No statement is cancelled in the middle on a caller's AsyncSession,
which would cost the caller the whole transaction.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import orjson
from sqlalchemy import Executable, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ..errors import PersistenceError
from ..models import TABLES, Row
from . import (
    MONEY,
    CallerWorkFailed,
    Delete,
    Done,
    NotAtOnce,
    Prune,
    Step,
    Store,
    Summary,
    TableName,
    Take,
    Texts,
    Totals,
    Where,
    Whole,
    callers,
    finish,
    queries,
)
from . import engine as engines
from . import room as rooms
from .appending import is_appending
from .applying import apply
from .engine import Executor, file_of
from .meaning import of_use, translated
from .postgres import PostgresWriter
from .searching import SearchIndex
from .searching.answers import Answer, Progress, Search
from .sqlite import SqliteWriter
from .sqlite_reading import SqliteReader
from .texts import exact_texts, texts
from .values import whole as whole_number
from .whole import whole_of

BATCH = 500  # rows taken between two turns of the event loop: with JSON, 20 ms

Transaction = Callable[[bool], AbstractAsyncContextManager[Executor]]


class Writer(Protocol):
    """A connection of our own that appends many rows in few statements."""

    async def append(self, steps: Sequence[Step]) -> list[Row]:
        """Appends in one transaction; gives a row for each PutSession and PutMessage."""

    async def close(self) -> None:
        """Lets go of the connection; the next write opens it again."""


class SqlStore:
    """A store in a database."""

    def __init__(
        self,
        transaction: Transaction,
        dialect: Callable[[], str],
        place: str,
        dispose: Callable[[], Awaitable[None]] | None = None,
        writer: Writer | None = None,
        whole: Callable[[], Whole | None] = lambda: None,
        reader: SqliteReader | None = None,
    ) -> None:
        self._transaction = transaction
        self._dialect = dialect
        self._dispose = dispose
        self._writer = writer
        self._reader = reader
        self.whole = whole
        self._index = SearchIndex(transaction, dialect)
        self._counted: Summary | None = None
        self._writes = 0
        self.place = place

    @property
    def takes_groups(self) -> bool:
        """Whether it has a connection of its own to write through."""
        return self._writer is not None

    @property
    def known(self) -> Summary | None:
        """What it held when it was last counted, and how many writes there were since."""
        return self._counted and self._counted._replace(writes_since=self._writes)

    @classmethod
    def on_session(cls, session: AsyncSession) -> "SqlStore":
        """A store that writes through the caller's AsyncSession, and commits it each time."""

        def dialect() -> str:
            return session.get_bind().dialect.name

        return cls(partial(callers.transaction, session), dialect, "an AsyncSession")

    @classmethod
    def on_engine(cls, engine: AsyncEngine) -> "SqlStore":
        """A store with an engine of its own, made by `connect`."""
        lock, url = asyncio.Lock(), engine.url
        transaction = partial(engines.transaction, engine, lock)
        place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
        writer: Writer | None = None
        reader = SqliteReader(engine) if file_of(engine) else None
        if reader:
            writer = SqliteWriter(engine, lock)
        elif engine.dialect.driver == "asyncpg":
            writer = PostgresWriter(engine, lock)
        dialect = engine.dialect.name
        whole = partial(whole_of, url)
        dispose = partial(engines.dispose, engine)
        place = place or "memory"
        return cls(transaction, lambda: dialect, place, dispose, writer, whole, reader)

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps in one transaction; gives a row for each PutSession and PutMessage."""
        if self._writer and is_appending(steps):
            with translated():
                rows = await self._writer.append(steps)
            self._writes += 1
            return rows
        return await finish(self._apply_all(steps))

    async def _apply_all(self, steps: Sequence[Step]) -> list[Row]:
        rows: list[Row] = []
        with translated():
            try:
                async with self._transaction(True) as executor:
                    rows = await apply(executor, self._dialect(), steps)
            except CallerWorkFailed as error:
                error.rows = rows
                self._writes += 1
                raise
        self._writes += 1
        whole = self.whole() if any(isinstance(step, Delete | Prune) for step in steps) else None
        if whole is not None and whole.beside is not None:  # what is deleted is in no other file
            await asyncio.to_thread(shutil.rmtree, whole.beside, ignore_errors=True)
        return rows

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows as tuples in the order of `columns`, in batches so that the loop goes on turning."""
        return await self._read(self._all(*queries.chosen(table, columns, where or {})))

    async def _all(
        self, statement: Executable, values: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with translated():
            async with self._transaction(False) as executor:
                result = await executor.execute(statement, values)
                for batch in result.partitions(BATCH):
                    rows.extend(map(tuple, batch))
                    await asyncio.sleep(0)
        return rows

    async def scan(
        self, table: TableName, columns: Sequence[str], where: Where | None, take: Take
    ) -> None:
        """Hands over rows as they come, in batches, so that few are in memory at once."""
        await self._read(self._scan(*queries.chosen(table, columns, where or {}), take))

    async def _scan(self, statement: Executable, values: dict[str, Any], take: Take) -> None:
        with translated():
            async with self._transaction(False) as executor:
                result = await executor.stream(statement, values)
                async for batch in result.partitions(BATCH):
                    take([tuple(row) for row in batch])

    async def texts(self, table: TableName, columns: Sequence[str], where: Where) -> Texts:
        """The rows that `select` gives as texts: a text for a column is one value to fetch."""
        if self._dialect() != "sqlite":
            raise NotAtOnce
        try:
            return await self._read(self._texts(table, columns, where))
        except PersistenceError as error:
            raise NotAtOnce(str(error)) from error

    async def _texts(self, table: TableName, columns: Sequence[str], where: Where) -> Texts:
        with translated():
            async with self._transaction(False) as executor:
                result = await executor.execute(*queries.texts(table, columns, where))
                found, inexact = texts(table, columns, result.one())
                if not inexact:
                    return found
                # Rows come in any order, and not in the same one twice.
                wanted = queries.chosen(table, ["id", *inexact], where)
                rows = (await executor.execute(*wanted)).all()
        exact = {row[0]: row[1:] for row in rows}
        ordered = [exact[id] for id in orjson.loads(found.columns["id"])]
        return found._replace(exact=dict(zip(inexact, zip(*ordered, strict=True), strict=True)))

    async def with_prompt(self, message_id: str) -> list[str]:
        """The row ids of a message and of the prompt it answers."""
        return [id for (id,) in await self._read(self._all(*queries.with_prompt(message_id)))]

    async def touched(self, since: datetime) -> set[str]:
        """The sessions in which something happened at or after this moment."""
        return {id for (id,) in await self._read(self._all(queries.touched(since)))}

    async def places(self) -> set[tuple[str | None, str | None]]:
        """Each different workdir and worktree."""
        return {place for place in await self._read(self._all(queries.places()))}

    async def on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> list[tuple[Any, ...]]:
        """File events on these paths, or on oddly written ones that may be shown like this."""
        found = await self._read(
            self._all(*queries.on_paths(self._dialect(), columns, paths, ending))
        )
        at = columns.index("id")
        return list({row[at]: row for row in found}.values())

    async def texts_on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> Texts:
        """The same as texts."""
        if self._dialect() != "sqlite":
            raise NotAtOnce
        asked = queries.texts_on_paths(columns, paths, ending)
        try:
            (row,) = await self._read(self._all(*asked))
        except PersistenceError as error:
            raise NotAtOnce(str(error)) from error
        return exact_texts("file_events", columns, row)

    async def totals(self, session_ids: Collection[str] | None = None) -> dict[str, Totals]:
        """By session, what it holds, in the order of `TOTALS`: from covering indexes alone."""
        return await self._read(self._totals(session_ids))

    async def _totals(self, session_ids: Collection[str] | None) -> dict[str, Totals]:
        where = {} if session_ids is None else {"session_id": session_ids}
        found: dict[TableName, dict[str, Any]] = {}
        with translated():
            async with self._transaction(False) as executor:
                for name in ("messages", "tool_calls", "file_events"):
                    counts = queries.counts(self._dialect(), name, where)
                    rows = await executor.execute(*counts)
                    found[name] = {row[0]: tuple(row[1:]) for row in rows}
        totals: dict[str, Totals] = {}
        for id in set().union(*found.values()):
            nothing = (0, 0, *(None for _ in MONEY))
            messages, prompts, cost, *tokens = found["messages"].get(id, nothing)
            others = (found[name].get(id, (0,))[0] for name in ("tool_calls", "file_events"))
            totals[id] = messages, prompts, cost, *map(whole_number, tokens), *others
        return totals

    async def summary(self) -> Summary:
        """Counts and the newest session's time."""
        return await self._read(self._summary())

    async def _summary(self) -> Summary:
        writes = self._writes
        with translated():
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

    async def search(self, search: Search, progress: Progress) -> list[Answer]:
        """The newest answers, by an index: a file of our own gets one when it is first asked."""
        may_make = self._dispose is not None and self._dialect() == "sqlite"
        with translated():
            return await self._read(self._index.asked(self, search, progress, may_make=may_make))

    async def reindex(self, progress: Progress) -> None:
        """Makes the index of words anew, or for the first time."""
        with translated():
            await self._read(self._index.make())
            await self._read(self._index.catch_up(progress))

    async def reading(self, work: Callable[[Store], Coroutine[Any, Any, Done]]) -> Done:
        """Does work that selects a few rows several times; on a database of ours all at once."""

        def within(transaction: Transaction) -> Coroutine[Any, Any, Done]:
            return work(SqlStore(transaction, self._dialect, self.place, self._dispose))

        if self._dispose is None:
            return await work(self)
        with translated():
            if self._reader is not None:
                return await self._reader.run(within)
            async with self._transaction(False) as executor:
                return await within(lambda _writes: nullcontext(executor))

    async def _read(self, work: Coroutine[Any, Any, Done]) -> Done:
        is_own = self._dispose is not None
        with of_use(self.place):
            return await (work if is_own else finish(work))

    async def room(self) -> tuple[int, str]:
        """How many bytes deleted rows hold, and how to give them back."""
        return await self._read(self._room())

    async def _room(self) -> tuple[int, str]:
        with translated():
            async with self._transaction(False) as executor:
                return await rooms.room(executor, self._dialect(), self.place)

    async def close(self) -> None:
        """Closes our own engine; a caller's AsyncSession is the caller's."""
        for own in (self._writer, self._reader):
            if own:
                await own.close()
        if self._dispose:
            await self._dispose()
