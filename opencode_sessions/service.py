"""`OpencodeSessionService`: sessions, messages and file events, stored as they happen.

What it promises: a row is durable when its await has returned and it is not in `svc.pending`; a failed or
cancelled write spoils nothing that comes after; and nothing is lost, because what could not be written waits
in `pending`. It needs no task running between awaits: whoever awaits does the work.
"""

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from . import parts as parts_
from .errors import PersistenceError, SessionNotFound
from .models import (
    TABLES,
    Model,
    OpencodeFileEvent,
    OpencodeMessage,
    OpencodeSession,
    Row,
    detached,
    identity,
    new_id,
    now,
)
from .opening import Moment, Opening, default_database, moment, open_store
from .outbox import OnError, Outbox, PendingWrite
from .rows import message_call_rows
from .store import (
    Append,
    Delete,
    PutMessage,
    PutSession,
    Step,
    Store,
    StoreFailed,
    Summary,
    TableName,
)
from .store.memory import MemoryStore
from .store.sql import SqlStore
from .store.values import clean

if TYPE_CHECKING:
    import pandas as pd

    from .analytics import Frames
    from .sync import ImportReport

log = logging.getLogger("opencode_sessions")


class OpencodeSessionService:
    """Stores opencode sessions, messages, tool calls and file events, and gives them back.

    Args:
        db_session: the AsyncSession rows go through, committed with each write. None keeps rows in memory.
        on_error: "log" keeps what could not be written in `pending` and tries again; "raise" raises
            `PersistenceError` instead, and the caller tries again.

    Any number of tasks may call one service at once, and several services may share one AsyncSession.
    """

    def __init__(
        self,
        db_session: AsyncSession | None = None,
        *,
        on_error: OnError = "log",
    ) -> None:
        self._set_up(
            MemoryStore() if db_session is None else SqlStore.on_session(db_session), on_error
        )

    def _set_up(self, store: Store, on_error: OnError) -> None:
        self.store = store
        self._outbox = Outbox(store, on_error)
        self._clock = now()
        self._known: Summary | None = None
        self._scrubbed = 0

    @classmethod
    def open(
        cls,
        target: str | os.PathLike[str] | URL | None = None,
        *,
        migrate: bool = True,
        on_error: OnError = "log",
    ) -> "Opening[Self]":
        """Opens a store of its own: `svc = await open("sessions.db")`, or `async with open(...) as svc`.

        Args:
            target: a file (SQLite), a database URL, or None for `default_database()`.
            migrate: bring the tables up to date; False for a database without the right to.
            on_error: as for the service itself.

        Raises:
            SchemaError: `migrate` is False and the tables are missing or old.
            OpencodeSessionsError: the target is opencode's own database, a folder, or no database.
        """

        async def opened() -> Self:
            service = cls.__new__(cls)
            store = await open_store(default_database() if target is None else target, migrate)
            service._set_up(store, on_error)
            service._known = await store.summary()
            return service

        return Opening(opened)

    # -- writing -------------------------------------------------------------------------------------

    async def get_or_create_session(
        self,
        opencode_id: str | None,
        agent_name: str | None = None,
        workdir: str | os.PathLike[str] | None = None,
        abi_thread_id: str | None = None,
        title: str | None = None,
    ) -> OpencodeSession:
        """The session with this opencode id, created if it is not there.

        One that is there gets a new `updated_at`, `abi_thread_id` if given, and `title` only if it has
        none yet.
        """
        at = self._now()
        row: Row = {
            "id": new_id(),
            "opencode_id": opencode_id,
            "agent_name": agent_name,
            "workdir": None if workdir is None else os.fspath(workdir),
            "abi_thread_id": abi_thread_id,
            "title": title,
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

        opencode's id of the message is `message_id`, else what the parts say (`messageID`): a message
        already known by it is updated, not doubled.
        """
        session_id = self._outbox.row_id(identity(session))
        row: Row = {
            "id": new_id(),
            "session_id": session_id,
            "role": role,
            "content": parts_.extract_text(parts),
            "parts": list(parts) if isinstance(parts, tuple) else parts,
            "created_at": self._now(),
            "opencode_id": message_id or parts_.message_id(parts),
            "source": "service",
        }
        row = self._clean(row)
        stored = await self._outbox.write(session_id, [PutMessage(row)])
        return detached(OpencodeMessage, stored[0] if stored else row)

    async def persist_file_events(self, message: OpencodeMessage, parts: Sequence[Any]) -> None:
        """Stores the tool calls in a message's parts and their file events, in one transaction.

        A part that says its id is stored once however often it comes.
        """
        values = message.__dict__
        message_id = self._outbox.row_id(identity(message))
        if "session_id" not in values:  # an object of the caller's own, expired by a commit
            found = await self._rows("messages", {"id": [message_id]})
            values = found[0] if found else {}
        session_id = self._outbox.row_id(values["session_id"])
        place: Row = {"session_id": session_id, "turn": values.get("turn"), "source": "service"}
        calls, events = message_call_rows(parts, message_id, place, self._now())
        steps: list[Step] = []
        if calls:
            steps.append(Append("tool_calls", [self._clean(row) for row in calls]))
        if events:
            steps.append(Append("file_events", [self._clean(row) for row in events]))
        if steps:
            await self._outbox.write(session_id, steps)

    extract_text = staticmethod(parts_.extract_text)
    extract_file_events = staticmethod(parts_.extract_file_events)

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
        await self._outbox.write(found.id, [Delete([found.id])])

    async def prune(self, *, before: Moment) -> int:
        """Deletes every session last touched before this moment; gives how many."""
        limit = moment(before)
        rows = await self._rows("sessions", None, ("id", "updated_at"))
        old = [row["id"] for row in rows if row["updated_at"] and row["updated_at"] < limit]
        for id in old:
            await self._outbox.write(id, [Delete([id])])
        return len(old)

    async def import_opencode(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        origin: str | None = None,
        since: Moment | None = None,
        project: str | None = None,
        progress: bool = True,
    ) -> "ImportReport":
        """Imports what opencode left on this machine, or at `path`; doing it again changes nothing.

        Args:
            path: an opencode database, or the folder it is in; None finds this machine's.
            origin: whose data it is, kept with each row.
            since: only sessions touched at or after this moment.
            project: only this project: its worktree's path, its last part, or opencode's project id.
            progress: show a bar.

        Raises:
            SourceNotFound: nothing to import; the message names where we looked.
            SourceError: it could not be read at all.
        """
        from .sources import find
        from .sync import import_sources

        sources = await asyncio.to_thread(find, path)
        report = await import_sources(
            self.store,
            sources,
            origin=origin,
            since=None if since is None else moment(since),
            project=project,
            progress=progress,
        )
        self._known = await self.store.summary()
        return report

    # -- reading -------------------------------------------------------------------------------------

    async def get_session(self, session: OpencodeSession | str) -> OpencodeSession:
        """The session with this id, the row's or opencode's, as it is stored now.

        Raises:
            SessionNotFound: no session has it; the message names the newest ones.
        """
        return detached(OpencodeSession, await self._session_row(session))

    async def list_messages(self, session: OpencodeSession | str) -> list[OpencodeMessage]:
        """A session's messages, in order."""
        return await self._list(OpencodeMessage, "messages", session)

    async def list_file_events(self, session: OpencodeSession | str) -> list[OpencodeFileEvent]:
        """A session's file events, in order."""
        return await self._list(OpencodeFileEvent, "file_events", session)

    async def frames(self, *, diffs: bool = False, parts: bool = False) -> "Frames":
        """Everything as four DataFrames: `.sessions`, `.messages`, `.tool_calls`, `.file_events`.

        `diffs` adds each event's change as text, `parts` the messages' parts and the calls' input.
        """
        return await self._frames(None, diffs=diffs, parts=parts)

    async def sessions(self) -> "pd.DataFrame":
        """All sessions, one row each, oldest first; columns as `frames.schema` has them."""
        return (await self.frames()).sessions

    async def messages(
        self, session: OpencodeSession | str | None = None, *, parts: bool = False
    ) -> "pd.DataFrame":
        """Messages, of one session or of all, one row each, in order."""
        return (await self._frames(session, parts=parts)).messages

    async def tool_calls(
        self, session: OpencodeSession | str | None = None, *, parts: bool = False
    ) -> "pd.DataFrame":
        """Tool calls, of one session or of all, one row each, in order; `parts` adds their input."""
        return (await self._frames(session, parts=parts)).tool_calls

    async def file_events(
        self,
        session: OpencodeSession | str | None = None,
        *,
        file_path: str | None = None,
        diffs: bool = False,
    ) -> "pd.DataFrame":
        """File events, one row a path and call, in order.

        Args:
            session: only this session's.
            file_path: only this file's: the path as the frames show it.
            diffs: add each event's change as text.
        """
        events = (await self._frames(session, diffs=diffs)).file_events
        if file_path is None:
            return events
        chosen = events[(events["file_path"] == file_path) | (events["new_file_path"] == file_path)]
        return chosen.reset_index(drop=True)

    async def close(self) -> None:
        """Writes what is pending and lets go of the database; what could not be written is logged."""
        try:
            if self.pending:
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
        place = Path(self.store.place).name or self.store.place
        about = [f"{len(self.pending)} writes pending"] if self.pending else []
        if self._known is not None:
            known = self._known
            about = [f"{known.sessions:,} sessions", f"{known.file_events:,} file events", *about]
            about += [f"newest {known.newest:%Y-%m-%d %H:%M}"] if known.newest else []
        return f"<OpencodeSessionService {place}{': ' if about else ''}{', '.join(about)}>"

    async def _frames(self, session: OpencodeSession | str | None, **options: bool) -> "Frames":
        from .analytics import load

        ids = None if session is None else [(await self._session_row(session))["id"]]
        with _as_persistence_error("read"):
            return await load(self, sessions=ids, **options)

    async def _session_row(self, session: OpencodeSession | str) -> Row:
        id = session if isinstance(session, str) else self._outbox.row_id(identity(session))
        for column in ("id", "opencode_id"):
            if found := await self._rows("sessions", {column: [id]}):
                return found[0]
        rows = await self._rows("sessions", None, ("opencode_id", "title", "updated_at"))
        newest = sorted(rows, key=lambda row: str(row["updated_at"]), reverse=True)[:3]
        names = ", ".join(f"{row['opencode_id']} {row['title']!r}" for row in newest)
        raise SessionNotFound(
            f"No session {id!r} in {self.store.place}. "
            + (f"Newest: {names}. Try `await svc.sessions()`." if names else "It holds none yet.")
        )

    async def _list(
        self, model: type[Model], table: TableName, session: OpencodeSession | str
    ) -> list[Model]:
        found = await self._session_row(session)
        rows = await self._rows(table, {"session_id": [found["id"]]})
        rows.sort(key=lambda row: (row["seq"] is None, row["seq"] or 0, str(row["created_at"])))
        return [detached(model, row) for row in rows]

    async def _rows(
        self, table: TableName, where: dict[str, list[str]] | None, columns: Sequence[str] = ()
    ) -> list[Row]:
        names = columns or [column.name for column in TABLES[table].columns]
        with _as_persistence_error("read"):
            rows = await self.store.select(table, names, where)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _clean(self, row: Row) -> Row:
        cleaned, replaced = clean(row)
        self._scrubbed += replaced
        return cleaned

    def _now(self) -> datetime:
        """A time later than the last one given, so that what came later sorts later."""
        self._clock = max(now(), self._clock + timedelta(microseconds=1))
        return self._clock


@contextmanager
def _as_persistence_error(what: str) -> Iterator[None]:
    try:
        yield
    except StoreFailed as error:
        raise PersistenceError(f"Could not {what}: {error}") from error
