"""Whole tables of an SQLite file, as text that SQLite itself makes of many rows at once.

A million rows as Python objects take longer to make than all else; as one text for the values of a
column in some thousand of them they are parsed elsewhere, in C. Through stdlib sqlite3 alone:
another SQLite library in this process, or a file opened and closed, would drop the locks of whoever
is writing.

A session's mark says that nothing in it has changed since the mark was set: triggers take it away,
whoever writes. Marks are random and never set twice, so what was read under a mark is what is there
now, in this file, in a copy of it, in an older one put back.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from sqlalchemy.engine import URL

from ..models import TABLES
from . import NotAtOnce, TableName, Texts, Whole
from .engine import file_of
from .texts import expressions, texts

CHUNK = 4000  # rows in one text
BATCH = 50  # sessions in one
MARKS = "opencode_unchanged"
IN_SESSION: tuple[TableName, ...] = ("messages", "tool_calls", "file_events")
TRIGGERS = {
    f"{MARKS}_{name}_{event}" for name in IN_SESSION for event in ("insert", "update", "delete")
}
TIMEOUT_S = 0.1  # only to set marks: a reader of a WAL waits for no writer


def whole_of(url: URL) -> Whole | None:
    """A way to read all of a database at once; None where there is none."""
    if url.get_backend_name() == "sqlite":
        file = file_of(url)
        return SqliteWhole(file) if file is not None and file.is_file() else None
    if url.drivername != "postgresql+asyncpg":
        return None
    from .copying import PostgresWhole  # asyncpg comes with an extra

    return PostgresWhole(url)


class SqliteWhole:
    """One reading of an SQLite file, by the thread that makes it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.beside: Path | None = file.with_name(f"{file.name}.frames")

    def __enter__(self) -> Self:
        place = f"{self._file.resolve().as_uri()}?mode=rw"
        try:
            self._connection = sqlite3.connect(
                place, uri=True, isolation_level=None, timeout=TIMEOUT_S
            )
        except sqlite3.Error as error:
            raise NotAtOnce(str(error)) from error
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def begin(self) -> None:
        """From here on all is read as it is at one moment."""
        self._rows("BEGIN")

    def twin(self) -> None:
        """A file has no moment that two can read."""

    def count(self, table: TableName) -> int:
        """How many rows a table has."""
        return int(self._value(f"SELECT count(*) FROM {TABLES[table].name}"))

    def batches(
        self, table: TableName, columns: Sequence[str], sessions: Collection[str] | None = None
    ) -> Iterator[Texts]:
        """The rows of a table, or those of some sessions, in the order they were stored.

        Raises:
            NotAtOnce: a value is of another kind than its column.
        """
        source, made = TABLES[table].name, ", ".join(expressions(table, columns))
        for chosen, values in self._parts(source, sessions):
            rows = f"FROM {source} WHERE {chosen}"  # in the order of their rowids, each time
            (row,) = self._rows(f"SELECT {made} {rows}", values)
            batch, inexact = texts(table, columns, row)
            exact = {
                name: [value for (value,) in self._rows(f"SELECT {name} {rows}", values)]
                for name in inexact
            }
            yield batch._replace(exact=exact)

    def _parts(
        self, table: str, sessions: Collection[str] | None
    ) -> Iterator[tuple[str, tuple[Any, ...]]]:
        if sessions is not None:
            listed = sorted(sessions)
            chosen = (
                f"rowid IN (SELECT rowid FROM {table} "
                "WHERE session_id IN (SELECT value FROM json_each(?)))"
            )
            for start in range(0, len(listed), BATCH):
                yield chosen, (orjson.dumps(listed[start : start + BATCH]).decode(),)
            return
        bounds = f"SELECT min(rowid), max(rowid), count(*) FROM {table}"
        ((first, last, count),) = self._rows(bounds)
        if not count:
            return
        step = CHUNK * max(1, (last - first + 1) // count)
        for start in range(first, last + 1, step):
            yield "rowid BETWEEN ? AND ?", (start, min(start + step - 1, last))

    def lacks(self, sessions: Collection[str]) -> bool:
        """Whether one of these sessions is not there."""
        among = f"value NOT IN (SELECT id FROM {TABLES['sessions'].name})"
        listed = orjson.dumps(list(sessions)).decode()
        missing = f"SELECT EXISTS (SELECT 1 FROM json_each(?) WHERE {among})"
        return bool(self._value(missing, (listed,)))

    def marks(self) -> dict[str, int] | None:
        """Each unchanged session's mark; None where changes are not kept track of."""
        names = self._rows("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        if not {name for (name,) in names} >= TRIGGERS:
            return None
        return dict(self._rows(f"SELECT session_id, mark FROM {MARKS}"))

    def schema_version(self) -> int:
        """Changes with every change of tables or triggers."""
        return int(self._value("PRAGMA schema_version"))

    def mark(self) -> bool:
        """Marks the sessions that have none; says whether it could."""
        sessions = TABLES["sessions"].name
        try:
            self._connection.execute(
                f"INSERT INTO {MARKS} SELECT id, random() FROM {sessions} WHERE id NOT IN "
                f"(SELECT session_id FROM {MARKS})"
            )
        except sqlite3.OperationalError:  # somebody is writing, or we may not
            return False
        return True

    def _value(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        return self._rows(sql, values)[0][0]

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise NotAtOnce(str(error)) from error
