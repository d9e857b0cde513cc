"""A database as another program sees it: what is durable, and what it does to us in between."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg
from postgres import Server
from sqlalchemy import URL, make_url

TABLES = ("opencode_sessions", "opencode_messages", "opencode_file_events", "opencode_tool_calls")
Execute = Callable[[str], Awaitable[Any]]


class Outside:
    """Other connections to the database at a URL."""

    def __init__(self, url: URL | str, server: Server | None) -> None:
        self._url = make_url(url)
        self._server = server
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.url = self._url.render_as_string(hide_password=False)

    def rows(self, query: str) -> list[Any]:
        """What is durable: tuples, or values where there is one column."""
        if self._server is None:
            with closing(sqlite3.connect(str(self._url.database))) as connection:
                found = connection.execute(query).fetchall()
        else:
            found = self._server.execute(query, url=self._plain)
        return [row[0] if len(row) == 1 else row for row in found]

    def run(self, *statements: str) -> None:
        """Runs statements, and waits for no lock."""
        if self._server is None:
            with closing(sqlite3.connect(str(self._url.database), timeout=0)) as connection:
                for statement in statements:
                    connection.execute(statement)
                connection.commit()
        else:
            self._server.execute("SET lock_timeout = '1ms'", *statements, url=self._plain)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[Execute]:
        """Another program in the middle of a write: nobody else can."""
        if self.is_sqlite:
            place = str(self._url.database)
            with closing(sqlite3.connect(place, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")

                async def execute(statement: str) -> None:
                    connection.execute(statement)

                yield execute
            return
        other = await asyncpg.connect(self._plain)
        try:
            await other.execute("BEGIN")
            await other.execute(f"LOCK {', '.join(TABLES)} IN SHARE ROW EXCLUSIVE MODE")
            yield other.execute
        finally:
            await other.close()

    @property
    def _plain(self) -> str:
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)
