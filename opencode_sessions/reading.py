"""What a store holds, as DataFrames and as objects; and `read_opencode`, which needs none."""

import asyncio
import logging
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

from .errors import SessionNotFound
from .models import (
    TABLES,
    Model,
    OpencodeFileEvent,
    OpencodeMessage,
    OpencodeSession,
    Row,
    detached,
    identity,
)
from .moments import Moment, moment
from .store import Store, TableName
from .store.memory import MemoryStore
from .store.values import as_stored

if TYPE_CHECKING:
    import pandas as pd

    from .analytics import Frames
    from .sources import Place
    from .store.searching.answers import Kind

log = logging.getLogger("opencode_sessions")


async def _imported(module: str) -> None:
    """Imports one of ours, the first time in a thread: with pandas it takes a third of a second."""
    if f"{__package__}.{module}" not in sys.modules:
        await asyncio.to_thread(import_module, f".{module}", __package__)


class Reader:
    """The reading half of the service."""

    def __init__(self, store: Store) -> None:
        self.store = store

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

    async def frames(
        self,
        *,
        sessions: Collection[str] | None = None,
        since: Moment | None = None,
        project: str | None = None,
        file_path: str | None = None,
        diffs: bool = False,
        parts: bool = False,
        progress: bool = True,
    ) -> "Frames":
        """Four DataFrames, `.sessions`, `.messages`, `.tool_calls`, `.file_events`: of everything,
        or of what was asked for, as `analytics.load` does.

        Args:
            sessions: only these sessions, or this one, by row id or opencode's.
            since: only sessions touched at or after this moment.
            project: only this project: its worktree's path, the last part of it, or opencode's id.
            file_path: only this file, the path as the frames show it.
            diffs: add each event's change as text.
            parts: add the messages' parts and the calls' input.
            progress: show a bar when it takes long.
        """
        await _imported("analytics.loading")
        from .analytics import load

        return await load(
            self,
            sessions=sessions,
            since=since,
            project=project,
            file_path=file_path,
            diffs=diffs,
            parts=parts,
            progress=progress,
        )

    async def sessions(self) -> "pd.DataFrame":
        """All sessions, one row each, oldest first; columns as `frames.schema` has them."""
        return await self._frame("sessions", None)

    async def messages(
        self, session: OpencodeSession | str | None = None, *, parts: bool = False
    ) -> "pd.DataFrame":
        """Messages, of one session or of all, one row each, in order."""
        return await self._frame("messages", session, optional=parts)

    async def message(self, message_id: str) -> "pd.DataFrame":
        """The message with this row id and the prompt it answers, with parts.

        Of the frame of messages these two rows, the prompt first; one if it is a prompt itself or
        answers none, none if there is no such message.
        """
        await _imported("analytics.loading")
        from .analytics.loading import load_message

        return await load_message(self, message_id)

    async def tool_calls(
        self, session: OpencodeSession | str | None = None, *, parts: bool = False
    ) -> "pd.DataFrame":
        """Tool calls, of one session or of all, one row each; `parts` adds their input."""
        return await self._frame("tool_calls", session, optional=parts)

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
        return await self._frame("file_events", session, file_path, optional=diffs)

    async def search(
        self,
        text: str,
        *,
        project: str | None = None,
        kind: "Kind | Collection[Kind] | None" = None,
        limit: int = 50,
        progress: bool = True,
    ) -> "pd.DataFrame":
        """Where these words stand: the newest places first, one row a row and kind of text.

        All words have to be in one text; `parse_config` finds parseConfig, `src/a.py` a path with
        it, `"two words"` those together, and three letters or more the beginning of a word. Of a
        text the first 100,000 letters are looked at. A file gets an index when it is first asked,
        a database on a server by `reindex()`; without one every row is looked at.

        Args:
            text: the words; whatever else is in it means nothing.
            project: only this project: its worktree's path, the last part of it, or opencode's id;
                of one that has no sessions there are no answers, as there are no frames.
            kind: only these kinds of text: title, prompt, answer, output, path, command, diff,
                error; `output` is what commands and other tools gave, as far as parts have it.
            limit: how many rows at most.
            progress: show a bar when it takes long.

        Returns:
            `time`, `kind`, `snippet`, `file_path`, `project`, `title` of the session,
            `session_id`, `opencode_session_id`, `message_id`, `event_id`.

        Raises:
            OpencodeSessionsError: there is no such kind.
        """
        await _imported("answering")
        from .answering import search

        return await search(self.store, text, project, kind, limit, progress=progress)

    async def reindex(self, *, progress: bool = True) -> None:
        """Makes the index that `search` uses anew, or for the first time."""
        await _imported("answering")
        from .answering import reindex

        await reindex(self.store, progress=progress)

    async def _frame(
        self,
        name: TableName,
        session: OpencodeSession | str | None,
        file_path: str | None = None,
        *,
        optional: bool = False,
    ) -> "pd.DataFrame":
        await _imported("analytics.loading")
        from .analytics.loading import load_frame

        ids = None if session is None else [self._said(session)]
        frame = await load_frame(self, name, sessions=ids, file_path=file_path, optional=optional)
        if session is not None and frame.empty:
            await self._session_row(session)  # says so if it is not there
        return frame

    async def _session_row(self, session: OpencodeSession | str) -> Row:
        id = self._said(session)
        for column in ("id", "opencode_id"):
            if found := await self._rows("sessions", {column: [id]}):
                return found[0]
        rows = await self._rows("sessions", None, ("opencode_id", "title", "updated_at"))
        newest = sorted(rows, key=lambda row: str(row["updated_at"]), reverse=True)[:3]
        names = ", ".join(f"{row['opencode_id']!r} ({row['title']!r})" for row in newest)
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
        rows = await self.store.select(table, names, where)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _said(self, session: OpencodeSession | str) -> str:
        return as_stored(session if isinstance(session, str) else self._id(session))

    def _id(self, instance: OpencodeSession | OpencodeMessage) -> str:
        return identity(instance)


def read_opencode(
    path: "Place | Sequence[Place] | None" = None,
    *,
    since: Moment | None = None,
    project: str | None = None,
    shell: bool = True,
    diffs: bool = False,
    parts: bool = False,
) -> "Frames":
    """Reads opencode's sessions into `Frames`, as `pd.read_csv` reads a file.

    Args:
        path: an opencode database, the folder it is in, or what opencode gave out (see
            `sources.find`); a list of several; None finds this machine's.
        since: only sessions touched at or after this moment.
        project: only this project: its worktree's path, its last part, or opencode's project id.
        shell: also file events for what commands changed, from opencode's snapshots and patch
            parts, else from the text of the commands; `evidence` tells which.
        diffs: add `file_events.diff`.
        parts: add `messages.parts` and `tool_calls.input`.

    Raises:
        SourceNotFound: nothing to read; the message names where we looked.
        SourceError: it could not be read at all.
    """

    async def read() -> "Frames":
        from .sources import find
        from .sync import import_sources
        from .wanted import Wanted

        reader = Reader(MemoryStore())
        wanted = Wanted(None, None if since is None else moment(since), project, shell)
        await import_sources(reader.store, find(path), wanted, progress=False)
        frames = await reader.frames(diffs=diffs, parts=parts, progress=False)
        if project is not None and frames.sessions.empty:
            log.warning("No session here is of project %r.", project)
        return frames

    # A thread of its own: in a notebook this one has a running loop already.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, read()).result()
