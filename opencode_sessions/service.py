"""`OpencodeSessionService`: sessions, messages and file events, stored as they happen.

What it promises: a row is durable when its await has returned and it is not in `svc.pending`; a
failed or cancelled write spoils nothing that comes after; and nothing is lost, because what could
not be written waits in `pending`. It needs no task running between awaits: whoever awaits does the
work.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .moments import Moment, moment
from .opening import Opening, default_database, open_store
from .outbox import OnError
from .recorder import Recorder
from .shown import fields_html
from .store.engine import Target
from .store.memory import MemoryStore
from .store.sql import SqlStore

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from .besides import Deleted
    from .import_report import ImportReport
    from .sources import Place

log = logging.getLogger("opencode_sessions")


class OpencodeSessionService(Recorder):
    """Stores opencode sessions, messages, tool calls and file events, and gives them back.

    Args:
        db_session: the AsyncSession rows go through, committed with each write. None keeps rows in
            memory.
        on_error: "log" keeps what could not be written in `pending` and tries again; "raise" raises
            `PersistenceError` instead, and the caller tries again.

    Any number of tasks may call one service at once, and several services may share one
    AsyncSession.
    """

    def __init__(
        self,
        db_session: "AsyncSession | None" = None,
        *,
        on_error: OnError = "log",
    ) -> None:
        self._set_up(
            MemoryStore() if db_session is None else SqlStore.on_session(db_session), on_error
        )

    @classmethod
    def open(
        cls,
        target: Target | None = None,
        *,
        migrate: bool = True,
        on_error: OnError = "log",
    ) -> "Opening[Self]":
        """Opens a store: `svc = await open("sessions.db")`, or `async with open(...) as svc`.

        Args:
            target: a file (SQLite), a database URL, or None for `default_database()`.
            migrate: bring the tables up to date; False for a database without the right to.
            on_error: as for the service itself.

        Raises:
            SchemaError: `migrate` is False and the tables are missing or old.
            PersistenceError: the database refused.
            OpencodeSessionsError: the target is opencode's own database, a folder, or no database.
        """

        async def opened() -> Self:
            place = default_database() if target is None else target
            store = await open_store(place, migrate)
            service = cls.__new__(cls)
            service._set_up(store, on_error)
            return service

        return Opening(opened)

    async def import_opencode(
        self,
        path: "Place | Sequence[Place] | None" = None,
        *,
        origin: str | None = None,
        since: Moment | None = None,
        project: str | None = None,
        shell: bool = True,
        deleted: "Deleted" = "keep",
        progress: bool = True,
    ) -> "ImportReport":
        """Imports what opencode left on this machine, or at `path`; again, only what has changed.

        Args:
            path: an opencode database, the folder it is in, or what opencode gave out (see
                `sources.find`); a list of several; None finds this machine's.
            origin: whose data it is, kept with each row.
            since: only sessions touched at or after this moment.
            project: only this project: its worktree's path, its last part, or opencode's id of it.
            shell: also file events for what commands changed, from opencode's snapshots and patch
                parts, else from the text of the commands; `evidence` tells which.
            deleted: what opencode has deleted since the last import is kept and marked
                (`deleted_at`), or dropped here as well.
            progress: show a bar.

        Raises:
            SourceNotFound: nothing to import; the message names where we looked.
            SourceError: it could not be read at all.
            SchemaError: the store's tables are missing or old.
        """
        from .sources import find
        from .sync import import_sources
        from .wanted import Wanted

        sources = await asyncio.to_thread(find, path)
        report = await import_sources(
            self.store,
            sources,
            Wanted(origin, None if since is None else moment(since), project, shell, deleted),
            progress=progress,
        )
        await self.store.summary()
        return report

    async def close(self) -> None:
        """Waits for writes under way, writes what is pending, and lets go of the database.

        What could not be written is logged.

        Raises:
            PersistenceError: with `on_error="raise"`, if something is still pending.
        """
        try:
            await self._outbox.flush()
        finally:
            if self.pending:
                log.error("closed with %d writes pending: %s", len(self.pending), self.last_error)
            await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        about = [f"{n} {v}" if n == "newest" else f"{v} {n}" for n, v in self._about()]
        return f"<OpencodeSessionService {self._place}{': ' if about else ''}{', '.join(about)}>"

    def _repr_html_(self) -> str:
        error = [("last error", str(self.last_error))] if self.last_error else []
        return fields_html(f"OpencodeSessionService {self._place}", [*self._about(), *error])

    @property
    def _place(self) -> str:
        return Path(self.store.place).name or self.store.place

    def _about(self) -> Iterator[tuple[str, str]]:
        """What is known without a look at the store."""
        if known := self.store.known:
            yield "sessions", f"{known.sessions:,}"
            yield "file events", f"{known.file_events:,}"
            if known.newest:
                yield "newest", f"{known.newest:%Y-%m-%d %H:%M} UTC"
            if known.writes_since:
                yield "writes since", f"{known.writes_since:,}"
        if self.pending:
            yield "writes pending", f"{len(self.pending):,}"
