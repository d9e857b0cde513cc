"""Opening a service: its place by default, awaited or entered; and moments as people write them."""

from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import platformdirs

from .errors import OpencodeSessionsError

Moment = datetime | date | str


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


def moment(when: Moment) -> datetime:
    """An aware moment from a datetime, a date or ISO text; without a zone it is local time."""
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError as error:
            raise OpencodeSessionsError(
                f"{when!r} is no time. Give a datetime, or text like 2026-11-22 or 2026-11-22T18."
            ) from error
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    return when.astimezone(UTC)
