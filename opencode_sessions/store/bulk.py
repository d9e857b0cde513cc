"""Many rows in one go: SQLAlchemy makes the statement, the driver is handed the rows.

Through SQLAlchemy every row is prepared before the first is written, in the event loop's thread.
SQLite's driver takes them one by one, in a thread of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from ..models import Row
from . import TableName, statements
from .engine import Executor
from .values import JsonText, dumps, plain

BATCH = 2000  # rows prepared between two turns of the event loop: under 50 ms

AS_IT_IS = {type(None), int, float, str}


async def put(
    executor: Executor, dialect: str, table: TableName, rows: Sequence[Row]
) -> int | None:
    """Inserts rows of the same columns, or updates those of their session that have their ids.

    Returns how many were written; None where the driver does not count.
    """
    columns = frozenset(rows[0])
    if dialect == "sqlite" and (text := statements.put_text(table, columns)):
        sql, names = text
        if not isinstance(executor, AsyncConnection):
            executor = await executor.connection()
        driver: Any = (await executor.get_raw_connection()).driver_connection
        async with driver.executemany(sql, bound(rows, names)) as cursor:
            return int(cursor.rowcount)
    statement = statements.put(dialect, table, columns)
    for start in range(0, len(rows), BATCH):
        await executor.execute(statement, [plain(row) for row in rows[start : start + BATCH]])
    return None


def bound(rows: Iterable[Row], names: Sequence[str]) -> Iterator[list[Any]]:
    """Rows as SQLite's driver takes them, as SQLAlchemy's types would have it."""
    values = itemgetter(*names)
    for row in rows:
        yield [
            value if (kind := type(value)) in AS_IT_IS else BOUND.get(kind, _other)(value)
            for value in values(row)
        ]


def _time(value: datetime) -> str:
    utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return utc.replace(tzinfo=None).isoformat(" ", "microseconds")


def _other(value: Any) -> Any:
    """A subclass of one of these kinds."""
    kind = next(kind for kind in (*BOUND, *AS_IT_IS) if isinstance(value, kind))
    return BOUND[kind](value) if kind in BOUND else value


BOUND: dict[type, Callable[[Any], Any]] = {
    bool: int,
    datetime: _time,
    JsonText: attrgetter("text"),
    dict: dumps,
    list: dumps,
}
