"""Whole tables of a PostgreSQL database, as Arrow: ADBC reads them by COPY, in C.

It is no second copy of anything in this process, as it would be for SQLite: the server keeps the
locks.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from adbc_driver_manager import Error
from adbc_driver_postgresql import dbapi
from sqlalchemy.engine import URL

from ..models import TABLES
from . import NotAtOnce, TableName


class PostgresWhole:
    """One reading of a PostgreSQL database."""

    def __init__(self, url: URL) -> None:
        self.beside: Path | None = None  # a server has no place beside it
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        try:
            self._connection = dbapi.connect(self._url)
        except Error as error:  # asyncpg takes some options that libpq does not
            raise NotAtOnce(str(error)) from error
        self._cursor = self._connection.cursor()
        return self

    def __exit__(self, *error: object) -> None:
        self._cursor.close()
        self._connection.close()

    def begin(self) -> None:
        """From here on all is read as it is at one moment."""
        self._execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def count(self, table: TableName) -> int:
        """How many rows a table has, as far as the server has counted."""
        return 0

    def batches(
        self, table: TableName, columns: Sequence[str], sessions: Collection[str] | None = None
    ) -> Iterator[Any]:
        """The rows of a table, as Arrow streams: one comes while another is parsed."""
        sql = f"SELECT {', '.join(columns)} FROM {TABLES[table].name}"
        try:
            yield from self._execute(sql).fetch_record_batch()
        except (Error, OSError, ValueError) as error:
            raise NotAtOnce(str(error)) from error

    def marks(self) -> None:
        """Changes are not kept track of."""

    def schema_version(self) -> int:
        """Not asked for."""
        return 0

    def mark(self) -> bool:
        """There are no marks."""
        return False

    def _execute(self, sql: str) -> Any:
        self._cursor.close()  # with all that it gave
        self._cursor = self._connection.cursor()
        try:
            self._cursor.execute(sql)
        except Error as error:
            raise NotAtOnce(str(error)) from error
        return self._cursor
