"""What a PostgreSQL store of ours appends: through asyncpg itself, a round trip a kind of row."""

import asyncio
from collections.abc import Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from ..models import Row
from . import Step, finish, statements
from .appending import Run, appending
from .engine import come_to_this_loop
from .values import JsonText, dumps

TURN = frozenset({"sessions", "messages"})


class PostgresWriter:
    """Appends through a connection of the engine's pool, one transaction at a time."""

    def __init__(self, engine: AsyncEngine, turn: asyncio.Lock) -> None:
        self._engine = engine
        self._turn = turn

    async def append(self, steps: Sequence[Step]) -> list[Row]:
        """Appends in one transaction; gives a row for each PutSession and PutMessage."""
        return await finish(self._append(steps))

    async def _append(self, steps: Sequence[Step]) -> list[Row]:
        come_to_this_loop(self._engine)
        async with self._turn, self._engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            try:
                async with driver.transaction():
                    return await _appended(driver, steps)
            except BaseException:
                if driver.is_closed():  # the others of the pool are of the same server
                    await connection.invalidate()
                    await self._engine.dispose()
                raise

    async def close(self) -> None:
        """The connections are the engine's."""


async def _appended(driver: Any, steps: Sequence[Step]) -> list[Row]:
    turn = _turn()
    await driver.fetch(turn.sql, *itemgetter(*turn.names)(statements.added_to(steps)))
    work, found = appending("postgresql", steps), None
    while True:
        try:
            run = work.send(found)
        except StopIteration as ended:
            rows: list[Row] = ended.value
            return rows
        execute = driver.fetchmany if run.text.columns else driver.executemany
        found = await execute(run.text.sql, _bound(run))


@cache
def _turn() -> statements.Text:
    return statements.driver_text(statements.in_turn(), "postgresql", TURN)


def _bound(run: Run) -> list[list[Any]]:
    return [[_value(row[name]) for name in run.text.names] for row in run.rows]


def _value(value: Any) -> Any:
    if isinstance(value, JsonText):
        return value.text
    return dumps(value) if isinstance(value, dict | list) else value
