"""Where our own database is and how it is opened."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import platformdirs
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from .errors import OpencodeSessionsError, PersistenceError
from .models import TABLES
from .sources.database import is_opencode_database
from .store import TABLE_NAMES
from .store.migrations import migrate as migrate_engine
from .store.sql import SqlStore, connect

Target = str | os.PathLike[str] | URL
Moment = datetime | date | str


class _Closable(Protocol):
    async def close(self) -> None: ...


Opened = TypeVar("Opened", bound=_Closable)


class Opening(Generic[Opened]):
    """Something that is being opened: await it, or use it with `async with`, which closes it again."""

    def __init__(self, opened: Callable[[], Awaitable[Opened]]) -> None:
        self._make = opened

    def __await__(self) -> Generator[Any, None, Opened]:
        return self._make().__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._make()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._opened.close()


def default_database() -> Path:
    """The file `open()` uses when it is given none, in the user's data folder."""
    return platformdirs.user_data_path("opencode_sessions", appauthor=False) / "sessions.db"


def moment(when: Moment) -> datetime:
    """An aware moment from a datetime, a date or ISO text; without a zone it is local time."""
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError as error:
            raise OpencodeSessionsError(
                f"{when!r} is no time. Give a datetime, or text such as 2026-11-22 or 2026-11-22T18:00."
            ) from error
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    return when.astimezone(UTC)


async def migrate(target: AsyncEngine | Target) -> None:
    """Brings the tables of a database up to date: an AsyncEngine, a file, or a URL.

    Raises:
        PersistenceError: the database refused; its error is the cause.
    """
    engine = target if isinstance(target, AsyncEngine) else connect(target)
    try:
        await migrate_engine(engine)
    except (SQLAlchemyError, OSError) as error:
        raise PersistenceError(
            f"Could not migrate {engine.url.render_as_string()}: {error}"
        ) from error
    finally:
        await engine.dispose()


async def open_store(target: Target, do_migrate: bool) -> SqlStore:
    """A store on this file or URL, its tables checked or brought up to date."""
    if not isinstance(target, URL) and await asyncio.to_thread(is_opencode_database, target):
        raise OpencodeSessionsError(
            f"{target} is opencode's own database, which is only ever read. Open a file of your own and "
            f"`await svc.import_opencode({os.fspath(target)!r})`."
        )
    engine = connect(target)
    store = SqlStore.on_engine(engine)
    try:
        if do_migrate:
            await migrate(engine)
        for name in TABLE_NAMES:
            await store.select(name, [column.name for column in TABLES[name].columns], {"id": []})
    except BaseException:
        await store.close()
        raise
    return store
