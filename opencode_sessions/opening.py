"""Opening a service: its place by default, awaited or entered."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import platformdirs

from .errors import OpencodeSessionsError
from .sources.database import is_opencode_database
from .store import migrations
from .store.engine import Database, Target, file_of
from .store.sql import SqlStore


class _Closable(Protocol):
    async def close(self) -> None: ...


Opened = TypeVar("Opened", bound=_Closable)


class Opening(Generic[Opened]):
    """Something being opened: await it, or use it with `async with`, which closes it again."""

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


async def migrate(target: Database) -> None:
    """Brings the tables of a database up to date: an AsyncEngine, a file, or a URL.

    The engine's pool is renewed: connections that were open before hold the old schema.

    Raises:
        PersistenceError: the database refused; its error is the cause.
        SchemaError: the tables are of a newer version.
        OpencodeSessionsError: the target is opencode's own database, a folder, or no database.
    """
    await _refuse_opencodes_own(target)
    await migrations.migrate(target)


async def open_store(target: Target, do_migrate: bool) -> SqlStore:
    """A store on this file or URL, its tables brought up to date or at least looked at; counted.

    Raises:
        SchemaError: the tables are missing or old and `do_migrate` is False, or they are newer.
        PersistenceError: the database refused.
        OpencodeSessionsError: the target is opencode's own database, a folder, or no database.
    """
    await _refuse_opencodes_own(target)
    return await migrations.open_store(target, do_migrate)


async def _refuse_opencodes_own(target: Database) -> None:
    file = file_of(target)
    if file is not None and await asyncio.to_thread(is_opencode_database, file):
        raise OpencodeSessionsError(
            f"{file} is opencode's own database, which is only ever read. Open a file of your own, "
            f"then `await svc.import_opencode({str(file)!r})`."
        )
