"""Many rows in one go: SQLAlchemy makes the statement, the driver is handed the rows.

Through SQLAlchemy every row is prepared before the first is written, in the event loop's thread.
SQLite's driver takes them one by one, in a thread of its own; PostgreSQL's has COPY, which knows
nothing of conflicts: for the rows that are not there yet.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models import TABLES, Row
from . import TableName, queries, statements
from .engine import Executor
from .values import JsonText, dumps, plain

WITHOUT_ZONE = len("2026-01-31 23:59:59.000000")
BATCH = 2000  # rows prepared between two turns of the event loop: under 50 ms

AS_IT_IS = {type(None), int, float, str}


async def put(
    executor: Executor, dialect: str, table: TableName, rows: Sequence[Row]
) -> int | None:
    """Inserts rows of the same columns, or updates those of their session that have their ids.

    Returns how many were written; None where the driver does not count.
    """
    columns = frozenset(rows[0])
    if not isinstance(executor, AsyncConnection):
        executor = await executor.connection()
    if dialect == "sqlite" and (text := statements.put_text(table, columns)):
        sql, names = text
        driver: Any = (await executor.get_raw_connection()).driver_connection
        async with driver.executemany(sql, bound(rows, names)) as cursor:
            return int(cursor.rowcount)
    count, left = len(rows), rows
    if executor.dialect.driver == "asyncpg" and columns >= statements.MADE_HERE[table]:
        left = await _copied(executor, table, sorted(columns), rows)
    statement = statements.put(dialect, table, columns)
    for start in range(0, len(left), BATCH):
        await executor.execute(statement, [plain(row) for row in left[start : start + BATCH]])
    return None if left else count


async def _copied(
    executor: AsyncConnection, table: TableName, names: list[str], rows: Sequence[Row]
) -> list[Row]:
    """Copies the rows whose ids are not there; gives those that are, or all if it did not work."""
    import asyncpg

    new: list[Row] = []
    left: list[Row] = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        ids = queries.known(table, [row["id"] for row in some])
        there = set((await executor.execute(ids)).scalars())
        for row in some:
            (left if row["id"] in there else new).append(row)
    # The statement before has begun the transaction of which this is a savepoint.
    driver: Any = (await executor.get_raw_connection()).driver_connection
    try:
        async with driver.transaction():
            for start in range(0, len(new), BATCH):
                records = _copyable(new[start : start + BATCH], names)
                await driver.copy_records_to_table(
                    TABLES[table].name, columns=names, records=records
                )
    except asyncpg.UniqueViolationError:  # somebody else's in between, or the same twice in these
        return list(rows)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        is_gone = driver.is_closed()
        raise DBAPIError("COPY", None, error, connection_invalidated=is_gone) from error
    return left


def _copyable(rows: Sequence[Row], names: Sequence[str]) -> Iterator[list[Any]]:
    """Rows as COPY takes them."""
    values = itemgetter(*names)
    for row in rows:
        yield [
            value if (kind := type(value)) in COPIED_AS_IT_IS else COPIED.get(kind, _same)(value)
            for value in values(row)
        ]


def _same(value: Any) -> Any:
    return value


def bound(rows: Iterable[Row], names: Sequence[str]) -> Iterator[list[Any]]:
    """Rows as SQLite's driver takes them, as SQLAlchemy's types would have it."""
    for row in rows:
        yield [
            value
            if (kind := type(value := row[name])) in AS_IT_IS
            else BOUND.get(kind, _other)(value)
            for name in names
        ]


@lru_cache(BATCH)  # a message, its calls and their events have the same
def _time(value: datetime) -> str:
    utc = value if value.tzinfo in (UTC, None) else value.astimezone(UTC)
    return utc.isoformat(" ", "microseconds")[:WITHOUT_ZONE]


def _other(value: Any) -> Any:
    """A subclass of one of these kinds."""
    kind = next(kind for kind in (*BOUND, *AS_IT_IS) if isinstance(value, kind))
    return BOUND[kind](value) if kind in BOUND else value


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


COPIED_AS_IT_IS = {*AS_IT_IS, bool}
COPIED: dict[type, Callable[[Any], Any]] = {
    datetime: _aware,
    JsonText: attrgetter("text"),
    dict: dumps,
    list: dumps,
}
BOUND: dict[type, Callable[[Any], Any]] = {
    bool: int,
    datetime: _time,
    JsonText: attrgetter("text"),
    dict: dumps,
    list: dumps,
}
