"""What a PostgreSQL store of ours appends: through asyncpg itself, a round trip a kind of row.

What is in messages is sent as one text: the server needs less time to take it apart than to be
handed one row after another, in groups a third less.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from ..models import TABLES, Row
from . import KEPT_BY_APPEND, Step, TableName, finish, statements
from .appending import Run, appending
from .engine import come_to_this_loop
from .values import JsonText, dumps


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
    to = statements.added_to(steps)
    turn = _turn(by_message=bool(to["messages"]))
    await driver.fetch(turn.sql, *(to[name] for name in turn.names))
    work, found = appending("postgresql", steps), None
    while True:
        try:
            run = work.send(found)
        except StopIteration as ended:
            rows: list[Row] = ended.value
            return rows
        if run.into and len({row["id"] for row in run.rows}) == len(run.rows):
            await driver.execute(_all_at_once(run.into, frozenset(run.rows[0])), _json(run.rows))
            found = None
        else:  # a row that comes twice is updated by the second
            execute = driver.fetchmany if run.text.columns else driver.executemany
            found = await execute(run.text.sql, _bound(run))


@cache
def _turn(*, by_message: bool) -> statements.Text:
    turn = statements.in_turn(by_message=by_message)
    return statements.driver_text(turn, "postgresql", frozenset({"sessions", "messages"}))


@cache
def _all_at_once(table: TableName, columns: frozenset[str]) -> str:
    """What `statements.append` does, for all rows of a JSON array; none of them comes twice.

    Its own row's number is counted on for each that is new. That is asked for row by row, or the
    server may read the whole table to know it.
    """
    name, columns = TABLES[table].name, columns - statements.BESIDE_COLUMNS
    listed, changed = sorted(columns), sorted((columns | {"turn"}) - KEPT_BY_APPEND)
    return f"""
        INSERT INTO {name} (seq, {", ".join(listed)})
        SELECT
            coalesce(
                (SELECT max(seq) FROM {name} AS its WHERE its.session_id = given.session_id), -1
            ) + given.number,
            {", ".join(f"given.{column}" for column in listed)}
        FROM (
            SELECT each.*, sum(
                coalesce((SELECT 0 FROM {name} AS known WHERE known.id = each.id), 1)
            ) OVER (PARTITION BY each.session_id ORDER BY each.ordinality) AS number
            FROM json_populate_recordset(NULL::{name}, $1) WITH ORDINALITY AS each
        ) AS given
        ORDER BY given.ordinality
        ON CONFLICT (id) DO UPDATE
        SET {", ".join(f"{column} = excluded.{column}" for column in changed)}
    """


def _json(rows: Sequence[Row]) -> str:
    return orjson.dumps(rows, default=_fragment).decode()


def _fragment(value: Any) -> orjson.Fragment:
    assert isinstance(value, JsonText)
    return orjson.Fragment(value.text)


def _bound(run: Run) -> list[list[Any]]:
    return [[_value(row[name]) for name in run.text.names] for row in run.rows]


def _value(value: Any) -> Any:
    if isinstance(value, JsonText):
        return value.text
    return dumps(value) if isinstance(value, dict | list) else value
