"""An index of words in the database, which every write keeps and a search brings up to date.

Triggers note which rows have changed, whoever changed them: that costs an append next to nothing,
where splitting its texts into words would cost more than all the rest of it. A search first puts
what is noted into the index. So it is never stale, and a kill loses nothing of what was noted.

A row's number in the index is made of its time: the newest answers are those with the highest
numbers, and are found without sorting.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from ...models import TABLES
from ...words import words
from .. import Store, TableName
from ..engine import Executor
from ..meaning import is_out_of_reach
from . import postgresql, sqlite
from .answers import SEARCHED, Answer, Progress, Search, answers, number, texts, without_index
from .entries import Entry

BATCH = 4000  # rows put into the index in one transaction, for which other writers wait
AT_ONCE = 500  # of them, read between two turns of the event loop: with JSON, 20 ms
PAGE = 200  # rows looked at for answers at once

Transaction = Callable[[bool], AbstractAsyncContextManager[Executor]]

# What a change of changes answers.
WATCHED = {table: tuple(c for c in columns if c != "id") for table, columns in SEARCHED.items()}
BY_DIALECT: dict[str, ModuleType] = {"sqlite": sqlite, "postgresql": postgresql}


class SearchIndex:
    """The index of a database that has one, or may get one."""

    def __init__(self, transaction: Transaction, dialect: Callable[[], str]) -> None:
        self._transaction = transaction
        self._dialect = dialect

    async def asked(
        self, store: Store, search: Search, progress: Progress, *, may_make: bool
    ) -> list[Answer]:
        """The newest answers to a question, newest first, of all that is stored.

        Every row is looked at if there is no index, and if it cannot be brought up to date.

        Args:
            store: where to look at every row.
            search: what to look for.
            progress: is told how many rows have been put into the index.
            may_make: make an index if there is none.
        """
        try:
            is_made = await self.is_made()
            if may_make and not is_made:
                await self.make()
            if may_make or is_made:
                await self.catch_up(progress)
                return await self._search(search)
        except DBAPIError as error:
            if not is_out_of_reach(error):
                raise
        return await without_index(store, search)

    @property
    def _own(self) -> Any:
        return BY_DIALECT[self._dialect()]

    async def is_made(self) -> bool:
        """Whether the database has one."""
        async with self._transaction(False) as executor:
            found = await executor.execute(text(self._own.IS_MADE))
            return found.scalar_one_or_none() is not None

    async def make(self) -> None:
        """Makes it, or makes it anew; all that is stored is noted, to be put into it."""
        own = self._own
        async with self._transaction(True) as executor:
            for statement in own.dropped(WATCHED):
                await executor.execute(text(statement))
            for statement in own.made(WATCHED):
                await executor.execute(text(statement))
            for table in SEARCHED:
                await executor.execute(
                    text(
                        f"INSERT INTO opencode_search_pending (tab, id) SELECT '{table}', id "
                        f"FROM opencode_{table} ORDER BY created_at"
                    )
                )

    async def catch_up(self, progress: Progress) -> None:
        """Puts in it what has changed since, in steps that let writers in between."""
        is_behind = True
        while is_behind:
            async with self._transaction(False) as executor:
                is_behind = (await executor.execute(text(f"{NOTED} LIMIT 1"))).first() is not None
            if is_behind:
                async with self._transaction(True) as executor:
                    progress(await self._catch_up(executor))

    async def _catch_up(self, executor: Executor) -> int:
        own = self._own
        found = await executor.execute(text(f"{NOTED} LIMIT {BATCH}{own.LOCKED}"))
        noted = [tuple(row) for row in found]
        for table in SEARCHED:
            ids = sorted({id for _, of, id in noted if of == table})
            if ids:
                stored = await _rows(executor, table, ids)
                entries = await asyncio.to_thread(_entries, table, stored)
                await own.forget(executor, table, ids)
                if entries:
                    await own.add(executor, table, await self._numbered(executor, entries))
        if noted:
            await own.done(executor, [n for n, _, _ in noted])
        return len(noted)

    async def _numbered(self, executor: Executor, entries: Sequence[Entry]) -> list[Entry]:
        """Entries in the order of their numbers, each one that no other has or had."""
        taken, asked = set[int](), set[int]()
        numbered = _apart(entries, taken)
        while new := {entry.number for entry in numbered} - asked:
            taken |= await self._own.taken(executor, sorted(new))
            asked |= new
            numbered = _apart(entries, taken)
        return numbered

    async def _search(self, search: Search) -> list[Answer]:
        found: list[Answer] = []
        before: int | None = None
        async with self._transaction(False) as executor:
            while len(found) < search.limit:
                size = min(PAGE, search.limit - len(found))
                page = await self._own.page(executor, search, before, size)
                found += await _answering(executor, page, search)
                if len(page) < size:
                    break
                before = page[-1].doc
        return found[: search.limit]


NOTED = "SELECT n, tab, id FROM opencode_search_pending ORDER BY n"


async def _answering(executor: Executor, page: Sequence[Any], search: Search) -> list[Answer]:
    """The answers of rows that the index has named, in their order."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for table in SEARCHED:
        ids = [row.id for row in page if row.tab == table]
        rows |= {(table, row["id"]): row for row in await _rows(executor, table, ids)}
    found: list[Answer] = []
    for named in page:
        row = rows.get((named.tab, named.id))
        if row is not None:
            found += answers(named.tab, row, search)
            await asyncio.sleep(0)
    return found


async def _rows(executor: Executor, table: TableName, ids: Sequence[str]) -> list[dict[str, Any]]:
    source, rows = TABLES[table], []
    wanted = select(*(source.c[column] for column in SEARCHED[table]))
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        found = await executor.execute(wanted.where(source.c.id.in_(some)))
        rows += [dict(zip(SEARCHED[table], row, strict=True)) for row in found]
    return rows


def _entries(table: TableName, rows: Sequence[dict[str, Any]]) -> list[Entry]:
    return [
        Entry(
            id=row["id"],
            session_id=row["id"] if table == "sessions" else row["session_id"],
            number=number(row["created_at"], row["id"]),
            words={kind: words(said) for kind, said in texts(table, row) if said},
        )
        for row in rows
    ]


def _apart(entries: Sequence[Entry], taken: Collection[int]) -> list[Entry]:
    """Entries in the order of their numbers, each the next that is not taken."""
    numbered, gone = [], {*taken}
    for entry in entries:
        free = entry.number
        while free in gone:
            free += 1
        gone.add(free)
        numbered.append(entry if free == entry.number else entry._replace(number=free))
    return sorted(numbered, key=lambda entry: entry.number)
