"""`OpencodeSessionService`: sessions, messages and file events, stored as they happen.

What it promises: a row is durable when its await has returned and it is not in `svc.pending`; a
failed or cancelled write spoils nothing that comes after; and nothing is lost, because what could
not be written waits in `pending`. It needs no task running between awaits: whoever awaits does the
work.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import events as events_
from . import parts as parts_
from .models import (
    OpencodeMessage,
    OpencodeSession,
    Row,
    detached,
    identity,
    new_id,
    now,
)
from .moments import Moment, moment
from .opening import Opening, default_database, open_store
from .outbox import OnError, Outbox, PendingWrite
from .reading import Reader
from .rows import message_call_rows
from .shown import fields_html
from .store import Append, Delete, PutMessage, PutSession, Step, Store
from .store.engine import Target
from .store.memory import MemoryStore
from .store.sql import SqlStore
from .store.values import clean

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from .besides import Deleted
    from .import_report import ImportReport
    from .sources import Place

log = logging.getLogger("opencode_sessions")


class OpencodeSessionService(Reader):
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

    def _set_up(self, store: Store, on_error: OnError) -> None:
        super().__init__(store)
        self._outbox = Outbox(store, on_error)
        self._clock = now()
        self._scrubbed = 0

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

    async def get_or_create_session(
        self,
        opencode_id: str | None,
        agent_name: str | None = None,
        workdir: str | os.PathLike[str] | None = None,
        abi_thread_id: str | None = None,
        title: str | None = None,
    ) -> OpencodeSession:
        """The session with this opencode id, created if it is not there.

        One that is there gets a new `updated_at`, `abi_thread_id` if given, and `title` only if it
        has none yet.
        """
        at = self._now()
        row: Row = {
            "id": new_id(),
            "opencode_id": _said(opencode_id) or None,
            "agent_name": _said(agent_name),
            "workdir": _said(workdir),
            "abi_thread_id": _said(abi_thread_id),
            "title": _said(title),
            "created_at": at,
            "updated_at": at,
            "source": "service",
        }
        row = self._clean(row)
        stored = await self._outbox.write(row["id"], [PutSession(row)])
        return detached(OpencodeSession, stored[0] if stored else row)

    async def persist_message(
        self,
        session: OpencodeSession,
        role: str,
        parts: Sequence[Any],
        *,
        message_id: str | None = None,
    ) -> OpencodeMessage:
        """Stores a message and its parts as they are; its `content` is `extract_text(parts)`.

        opencode's id of the message is `message_id`, else what the parts say (`messageID`): a
        message already known by it is updated, not doubled.
        """
        session_id = self._id(session)
        parts = _listed(parts)
        row: Row = {
            "id": new_id(),
            "session_id": session_id,
            "role": _said(role),
            "content": parts_.extract_text(parts),
            "parts": parts,
            "created_at": self._now(),
            "opencode_id": _said(message_id) or parts_.message_id(parts),
            "source": "service",
        }
        row = self._clean(row)
        stored = await self._outbox.write(session_id, [PutMessage(row)])
        return detached(OpencodeMessage, stored[0] if stored else row)

    async def persist_file_events(self, message: OpencodeMessage, parts: Sequence[Any]) -> None:
        """Stores the tool calls in a message's parts and their file events, in one transaction.

        A part that says its id is stored once however often it comes.
        """
        message_id = self._id(message)
        # None on an object of the caller's own that a commit has expired: the store looks it up.
        session_id = message.__dict__.get("session_id")
        session_id = session_id and self._outbox.row_id(session_id)
        place: Row = {"session_id": session_id, "source": "service"}
        calls, events = message_call_rows(_listed(parts), message_id, place, self._now())
        steps: list[Step] = []
        if calls:
            steps.append(Append("tool_calls", [self._clean(row) for row in calls]))
        if events:
            steps.append(Append("file_events", [self._clean(row) for row in events]))
        if steps:
            await self._outbox.write(session_id or message_id, steps)

    extract_text = staticmethod(parts_.extract_text)
    extract_file_events = staticmethod(events_.extract_file_events)

    @property
    def pending(self) -> Sequence[PendingWrite]:
        """What is not stored yet, oldest first, each with its rows and the reason."""
        return self._outbox.pending

    @property
    def last_error(self) -> Exception | None:
        """Why the last write that failed did; None if none has."""
        return self._outbox.last_error

    @property
    def scrubbed(self) -> int:
        """How many values no database can hold were replaced on the way in."""
        return self._scrubbed

    async def flush(self) -> None:
        """Tries everything in `pending` again, in order per session, also what was given up on.

        Raises:
            PersistenceError: with `on_error="raise"`, if something is still pending.
        """
        await self._outbox.flush()

    async def delete_session(self, session: OpencodeSession | str) -> None:
        """Deletes a session and all in it.

        Raises:
            SessionNotFound: no session has this id.
        """
        found = await self.get_session(session)
        await self._outbox.write(found.id, [Delete("sessions", [found.id])])

    async def prune(self, *, before: Moment) -> int:
        """Deletes every session in which nothing happened since this moment; gives how many."""
        limit = moment(before)
        deleted = 0
        for row in await self._rows("sessions", None, ("id", "created_at", "updated_at")):
            times = [row["created_at"], row["updated_at"]]
            if all(time is None or time < limit for time in times):
                of_it = {"session_id": [row["id"]]}
                messages = await self._rows("messages", of_it, ("created_at",))
                times += [message["created_at"] for message in messages]
            if any(times) and all(time is None or time < limit for time in times):
                await self._outbox.write(row["id"], [Delete("sessions", [row["id"]])])
                deleted += 1
        return deleted

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
        from .sync import Wanted, import_sources

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
                yield "newest", f"{known.newest:%Y-%m-%d %H:%M}"
            if known.writes_since:
                yield "writes since", f"{known.writes_since:,}"
        if self.pending:
            yield "writes pending", f"{len(self.pending):,}"

    def _id(self, instance: OpencodeSession | OpencodeMessage) -> str:
        return self._outbox.row_id(identity(instance))

    def _clean(self, row: Row) -> Row:
        cleaned, replaced = clean(row)
        self._scrubbed += replaced
        return cleaned

    def _now(self) -> datetime:
        """A time later than the last one given, so that what came later sorts later."""
        self._clock = max(now(), self._clock + timedelta(microseconds=1))
        return self._clock


def _said(value: object) -> Any:
    """The text of what an application has for one: a Path, a UUID, a number."""
    return value if value is None or isinstance(value, str | bytes) else str(value)


def _listed(parts: Iterable[Any]) -> Any:
    """Parts that can be gone through more than once, whatever they came as."""
    is_list = isinstance(parts, list | str | bytes | Mapping) or not isinstance(parts, Iterable)
    return parts if is_list else list(parts)
