"""Whole tables of a PostgreSQL database, as the text that COPY makes of them.

A million rows as Python objects take longer to make than all else; as text they are parsed
elsewhere, in C.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from ..models import TABLES, UtcDateTime
from . import Csv, Done, NotAtOnce, TableName
from .engine import connect

BLOCK = 4_000_000  # bytes of whole rows, at least
# A server sends 8 KB at a time. Who takes them as they come is woken 35,000 times for a million
# rows, which takes longer than to parse them all; a moment later thirty times as much is there.
LITTLE, PAUSE_S = 100_000, 0.001
# What is read is as it is at one moment, and numbers and times are written as anywhere else.
BEGIN = """
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL datestyle = 'ISO';
    SET LOCAL extra_float_digits = 3
"""
FAILURES = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class PostgresWhole:
    """One reading of a PostgreSQL database, in an event loop of its own."""

    def __init__(self, url: URL) -> None:
        self.beside: Path | None = None  # a server has no place beside it
        self._url = url
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

    def count(self, table: TableName) -> int:
        """How many rows a table has, as far as the server has counted."""
        return 0

    def batches(
        self, table: TableName, columns: Sequence[str], sessions: Collection[str] | None = None
    ) -> Iterator[Csv]:
        """The rows of a table.

        Raises:
            NotAtOnce: it cannot be read.
        """
        found = TABLES[table]
        # Tables older than ours may have times without a zone.
        is_time = {name for name in columns if isinstance(found.c[name].type, UtcDateTime)}
        shown = [f"{name}::timestamptz" if name in is_time else name for name in columns]
        blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._copying = self._runner.get_loop().create_task(
            self._copy(f"SELECT {', '.join(shown)} FROM {found.name}", blocks)
        )
        self._copying.add_done_callback(lambda _: blocks.put_nowait(b""))
        while block := self._run(blocks.get()):  # in between nothing is received
            yield Csv(columns, block)
        self._run(self._copying)

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

    async def _copy(self, sql: str, blocks: "asyncio.Queue[bytes]") -> None:
        rows, is_between_rows = bytearray(), True

        async def take(received: bytes) -> None:
            nonlocal is_between_rows
            rows.extend(received)
            is_between_rows ^= received.count(b'"') % 2 == 1  # else in a value, before a line of it
            if len(rows) >= BLOCK and is_between_rows and rows.endswith(b"\n"):
                blocks.put_nowait(bytes(rows))
                rows.clear()
            if len(received) < LITTLE:
                await asyncio.sleep(PAUSE_S)

        await self._driver.copy_from_query(sql, output=take, format="csv")
        if rows:
            blocks.put_nowait(bytes(rows))

    def _run(self, work: "Coroutine[Any, Any, Done] | asyncio.Task[Done]") -> Done:
        try:
            return self._runner.get_loop().run_until_complete(work)
        except FAILURES as error:
            raise NotAtOnce(str(error)) from error
