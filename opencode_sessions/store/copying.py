"""Whole tables of a PostgreSQL database, as the text that COPY makes of them.

A million rows as Python objects take longer to make than all else; as text they are parsed
elsewhere, in C.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy import Table
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from ..models import TABLES, UtcDateTime
from . import Copied, Done, NotAtOnce, TableName
from .engine import connect

BLOCK = 4_000_000  # bytes of whole rows, at least
# The C library gives memory back to the system block by block and asks for it anew page by page,
# which takes longer than to parse it, until so much has been freed at once (mallopt(3),
# M_MMAP_THRESHOLD).
KEPT = 30_000_000
# A server sends 8 KB at a time. Who takes them as they come is woken 35,000 times for a million
# rows, which takes longer than to parse them all; a moment later thirty times as much is there.
LITTLE, PAUSE_S = 100_000, 0.001
# What is read is as it is at one moment, and numbers and times are written as anywhere else.
BEGIN = """
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL datestyle = 'ISO';
    SET LOCAL extra_float_digits = 3
"""
# A table alone is sent faster than what is selected of it. Tables older than ours may have times
# without a zone, and a parent's rows are not all in itself.
IS_OURS = """
    SELECT relkind = 'r' AND NOT relhassubclass AND NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND atttypid = 'timestamp'::regtype
    )
    FROM pg_class WHERE oid = to_regclass($1)
"""
FAILURES = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@cache
def _keep_memory() -> None:
    bytes(KEPT)  # no page of which is touched


class PostgresWhole:
    """One reading of a PostgreSQL database, in an event loop of its own."""

    def __init__(self, url: URL, moment: str | None = None) -> None:
        self.beside: Path | None = None  # a server has no place beside it
        self._url = url
        self._moment = moment
        self._runner = asyncio.Runner()
        self._copying: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        try:
            self._run(self._connect())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        with self._runner:  # which closes with it, whatever comes
            self._run(self._close())

    def begin(self) -> None:
        """From here on all is read as it is at one moment."""
        self._run(self._driver.execute(BEGIN))
        if self._moment is not None:
            self._run(self._driver.execute(f"SET TRANSACTION SNAPSHOT '{self._moment}'"))

    def twin(self) -> "PostgresWhole":
        """Another reading of the same moment, for another thread."""
        moment = self._run(self._driver.fetchval("SELECT pg_export_snapshot()"))
        return PostgresWhole(self._url, moment)

    def count(self, table: TableName) -> int:
        """How many rows a table has, as far as the server has counted."""
        return 0

    def batches(
        self, table: TableName, columns: Sequence[str], sessions: Collection[str] | None = None
    ) -> Iterator[Copied]:
        """The rows of a table.

        Raises:
            NotAtOnce: it cannot be read.
        """
        blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._copying = self._runner.get_loop().create_task(
            self._copy(TABLES[table], columns, blocks)
        )
        self._copying.add_done_callback(lambda _: blocks.put_nowait(b""))
        while block := self._run(blocks.get()):  # in between nothing is received
            yield Copied(columns, block)
        self._run(self._copying)

    def lacks(self, sessions: Collection[str]) -> bool:
        """Whether one of these sessions is not there."""
        raise NotAtOnce("nothing is kept beside a server")

    def marks(self) -> None:
        """Changes are not kept track of."""

    def schema_version(self) -> int:
        """Not asked for."""
        return 0

    def mark(self) -> bool:
        """There are no marks."""
        return False

    async def _connect(self) -> None:
        self._engine = connect(self._url)
        self._connection = await self._engine.connect()
        self._driver: Any = (await self._connection.get_raw_connection()).driver_connection

    async def _close(self) -> None:
        if self._copying is not None and self._copying.cancel():  # nobody wants the rest
            await asyncio.wait([self._copying])
        self._driver.terminate()  # which takes no turn of the server's: nothing was written
        await self._connection.close()
        await self._engine.dispose()

    async def _copy(
        self, table: Table, columns: Sequence[str], blocks: "asyncio.Queue[bytes]"
    ) -> None:
        _keep_memory()
        rows: list[bytes] = []
        count = 0

        async def take(received: bytes) -> None:
            nonlocal count
            rows.append(received)
            count += len(received)
            if count >= BLOCK and received.endswith(b"\n"):
                blocks.put_nowait(b"".join(rows))
                rows.clear()
                count = 0
            if len(received) < LITTLE:
                await asyncio.sleep(PAUSE_S)

        if await self._driver.fetchval(IS_OURS, table.name):
            await self._driver.copy_from_table(table.name, columns=columns, output=take)
        else:
            times = {name for name in columns if isinstance(table.c[name].type, UtcDateTime)}
            shown = [f"{name}::timestamptz" if name in times else name for name in columns]
            sql = f"SELECT {', '.join(shown)} FROM {table.name}"
            await self._driver.copy_from_query(sql, output=take)
        if rows:
            blocks.put_nowait(b"".join(rows))

    def _run(self, work: "Coroutine[Any, Any, Done] | asyncio.Task[Done]") -> Done:
        try:
            return self._runner.get_loop().run_until_complete(work)
        except FAILURES as error:
            raise NotAtOnce(str(error)) from error
