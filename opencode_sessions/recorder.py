"""The writing half of the service: what happens is stored as it happens, and taken away again."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

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
from .outbox import OnError, Outbox
from .pending import PendingWrite, Pruned, Stats
from .reading import Reader
from .rows import message_call_rows
from .store import Append, AppendTo, Delete, Prune, PutMessage, PutSession, Step, Store
from .store.values import JsonText, Snapshot, dumps, packed, plain, snapshot

MOST_REMEMBERED = 10_000  # messages whose calls had no ids
log = logging.getLogger("opencode_sessions")


class Recorder(Reader):
    """Stores sessions, messages, tool calls and file events."""

    def _set_up(self, store: Store, on_error: OnError) -> None:
        super().__init__(store)
        self._outbox = Outbox(store, on_error)
        self._clock = now()
        self._scrubbed = 0
        # Calls without an id that were stored with their message, by its id and by opencode's.
        self._unnamed: dict[str, Sequence[Row]] = {}

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
        stored = await self._outbox.write(row["id"], [PutSession(row)], at_once=True)
        return detached(OpencodeSession, stored[0] if stored else plain(row))

    async def persist_message(
        self,
        session: OpencodeSession,
        role: str,
        parts: Sequence[Any],
        *,
        message_id: str | None = None,
        events: bool = False,
    ) -> OpencodeMessage:
        """Stores a message and its parts as they are; its `content` is `extract_text(parts)`.

        opencode's id of the message is `message_id`, else what the parts say (`messageID`): a
        message already known by it is updated, not doubled.

        Args:
            session: the session it belongs to.
            role: user, assistant, or what else the application has.
            parts: opencode's parts, of any version.
            message_id: opencode's id of the message.
            events: store the tool calls in the parts and their file events as well, all in one
                transaction. `persist_file_events` of the same message and parts adds nothing then.
        """
        session_id = self._id(session)
        parts = _listed(parts)
        said = snapshot(parts)
        self._scrubbed += said.replaced
        row = self._clean(
            {
                "id": new_id(),
                "session_id": session_id,
                "role": _said(role),
                "content": parts_.extract_text(said.given),
                "parts": None,
                "created_at": self._now(),
                "opencode_id": _said(message_id) or parts_.message_id(said.given),
                "source": "service",
            }
        )
        row["parts"] = None if parts is None else said.text
        steps: list[Step] = [PutMessage(row)]
        unnamed: list[Row] = []
        named = ""
        if events:
            named = f"{session_id}/{row['opencode_id']}" if row["opencode_id"] else ""
            before = self._unnamed.get(named, ())
            within = self._within(said, row["id"], row["created_at"], before)
            calls, _events = within(row["id"])
            if calls.rows:
                steps.append(AppendTo(row["id"], within))
                unnamed = [call for call in calls.rows if not call["call_id"]]
        given = {
            "content": row["content"],
            "parts": said.given if said.is_plain else said.text.value,
        }
        message = detached(OpencodeMessage, row | given)
        if stored := await self._outbox.write(session_id, steps):
            if stored[0]["id"] != message.id:
                message = detached(OpencodeMessage, stored[0] | given)
            # As a load does it: no change that the caller has made.
            message.__dict__.update(seq=stored[0]["seq"], turn=stored[0]["turn"])
        if unnamed:
            self._remember(message.id, unnamed)
            if named:
                self._remember(named, unnamed)
        return message

    async def persist_file_events(self, message: OpencodeMessage, parts: Sequence[Any]) -> None:
        """Stores the tool calls in a message's parts and their file events, in one transaction.

        A part that says its id is stored once however often it comes.
        """
        message_id = self._id(message)
        unnamed = self._unnamed.get(identity(message), ())
        within = self._within(snapshot(_listed(parts)), message_id, self._now(), unnamed)
        if within(message_id)[0].rows:
            # None on an object of the caller's own that a commit has expired.
            session_id = message.__dict__.get("session_id") or message_id
            await self._outbox.write(session_id, [AppendTo(message_id, within)])

    def _within(
        self, said: Snapshot, message_id: str, at: datetime, unnamed: Sequence[Row]
    ) -> Callable[[str], Sequence[Append]]:
        """The calls and events in a message's parts, by the id it is stored under.

        That may turn out to be another than it was given, and a call without an id of its own is
        known by the message's.
        """
        place: Row = {"session_id": None, "source": "service"}  # its session is the message's

        def rows(parts: Any, is_plain: bool, id: str, unnamed: Sequence[Row]) -> Sequence[Append]:
            calls, events = message_call_rows(parts, id, place, at, unnamed)
            if is_plain:
                for call in calls:
                    call["input"] = JsonText(dumps(call["input"]))
            else:
                calls, events = ([self._clean(row) for row in rows] for rows in (calls, events))
            return Append("tool_calls", calls), Append("file_events", events)

        first = rows(said.given, said.is_plain, message_id, unnamed)
        under = {message_id: first}

        def within(id: str) -> Sequence[Append]:
            if id not in under:
                under[id] = rows(said.text.value, True, id, first[0].rows)
            return under[id]

        return within

    def _remember(self, message: str, calls: list[Row]) -> None:
        """Calls without an id that are stored with their message, not to store them twice."""
        kept = ("id", "tool", "input_hash")
        self._unnamed[message] = [{name: call[name] for name in kept} for call in calls]
        if len(self._unnamed) > MOST_REMEMBERED:
            del self._unnamed[next(iter(self._unnamed))]

    def batch(self) -> AbstractAsyncContextManager[None]:
        """Many writes in few transactions: `async with svc.batch(): ...`, for importers.

        Inside, what this task (or one it starts there) says of messages and events waits in
        `pending`, in order, and is written some thousand rows at a time; sessions are written at
        once. All of it is durable when the block has been left and `pending` is empty, also when
        it is left by an error; if the process dies inside, what still waited is lost. Messages
        given back inside have no `seq` and `turn` yet, and are not read back before they are
        written.

        Raises:
            PersistenceError: on leaving, with `on_error="raise"`, if something is still pending.
        """
        return self._outbox.batch()

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

    def stats(self) -> Stats:
        """What was written so far, in counts: rows, transactions, waits, failures."""
        pending = self.pending
        return replace(
            self._outbox.stats,
            pending=len(pending),
            parked=sum(write.is_parked for write in pending),
            scrubbed=self._scrubbed,
        )

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

    async def prune(self, *, before: Moment) -> Pruned:
        """Deletes every session in which nothing happened since this moment, in one transaction.

        Gives how many, with what could be given back to the disk and how: a database keeps the
        room of deleted rows for new ones.
        """
        limit = moment(before)
        deleted = await self._outbox.write(f"before {limit}", [Prune(limit)], at_once=True)
        pruned = Pruned(len(deleted), *await self.store.room())
        log.info("%s", pruned, extra={"place": self.store.place, "sessions": len(deleted)})
        return pruned

    def _id(self, instance: OpencodeSession | OpencodeMessage) -> str:
        return self._outbox.aliases.row_id(identity(instance))

    def _clean(self, row: Row) -> Row:
        cleaned, replaced = packed(row)
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
