"""Loading a store into frames: everything at once, or the rows that were asked for."""

import asyncio
import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pandas as pd
from tqdm.auto import tqdm

from ..moments import Moment
from ..store import NotAtOnce, Store, TableName
from ..store.meaning import of_use
from ..store.values import as_stored
from .arrow import Rows
from .building import OF_MESSAGE, TOLD, Columns, build, session_frame
from .choosing import IDS_AT_ONCE, Chosen, aside, choose, of_project, stored_columns
from .frames import Frames
from .totals import totals_of
from .whole import Read, read

log = logging.getLogger("opencode_sessions")

SLOW = 1.0  # seconds; a bar that only flashes up is worse than none
SESSIONS_AT_ONCE = 50  # read by one statement


class HasStore(Protocol):
    """A service, as far as loading is concerned."""

    @property
    def store(self) -> Store:
        """Where its rows are."""


async def load(
    svc: HasStore,
    *,
    sessions: Collection[str] | None = None,
    since: Moment | None = None,
    project: str | None = None,
    file_path: str | None = None,
    diffs: bool = False,
    parts: bool = False,
    progress: bool = True,
) -> Frames:
    """The frames of everything a service holds, or of what was asked for.

    They have the rows that the frames of everything have, and the same values: a session's totals
    are those of the whole session.

    Args:
        svc: the service.
        sessions: only these sessions, or this one, by row id or opencode's.
        since: only sessions touched at or after this moment: by what `updated_at` or `created_at`
            says, or by a message of theirs.
        project: only this project: its worktree's path, the session's directory, the last part of
            either, or opencode's project id.
        file_path: only this file's events, the path as the frames show it; the messages and tool
            calls are those of the messages they happened in. The log says if there are none.
        diffs: add `file_events.diff`.
        parts: add `messages.parts` and `tool_calls.input`.
        progress: show a bar when it takes long.
    """
    with tqdm(desc="load", unit="row", delay=SLOW, disable=not progress, leave=False) as bar:
        if sessions is since is project is file_path is None:
            wanted: dict[TableName, bool] = {"sessions": False, "messages": parts}
            wanted |= {"tool_calls": parts, "file_events": diffs}
            if found := await _at_once(svc.store, wanted, bar):
                return Frames(**found)
        told = stored_columns("sessions", optional=False)
        chosen = await choose(svc.store, sessions, since, project, file_path, diffs, told)
        loading = _Loading(svc.store, chosen, bar)
        messages = await loading.frame("messages", parts)  # first: the others are told of them
        return Frames(
            sessions=await loading.session_frame(),
            messages=messages,
            tool_calls=await loading.frame("tool_calls", parts),
            file_events=await loading.frame("file_events", diffs),
        )


async def load_frame(
    svc: HasStore,
    name: TableName,
    *,
    sessions: Collection[str] | None = None,
    file_path: str | None = None,
    optional: bool = False,
) -> pd.DataFrame:
    """One of the frames alone, as `load` gives it; `optional` adds its optional columns."""
    with tqdm(disable=True) as bar:
        if sessions is file_path is None and name != "sessions":
            wanted: dict[TableName, bool] = {"sessions": False, name: optional}
            if found := await _at_once(svc.store, wanted, bar):
                return found[name]

        async def loaded(store: Store) -> pd.DataFrame:
            told = stored_columns(name, optional=False) if name == "sessions" else TOLD
            chosen = await choose(store, sessions, None, None, file_path, optional, told)
            loading = _Loading(store, chosen, bar)
            if name == "sessions":
                return await loading.session_frame()
            return await loading.frame(name, optional)

        return await svc.store.reading(loaded)


async def load_message(svc: HasStore, id: str) -> pd.DataFrame:
    """A message, if it is there, and the prompt it answers: of the frame of messages with parts."""

    async def loaded(store: Store) -> pd.DataFrame:
        ids = await store.with_prompt(as_stored(id))
        of = {session for (session,) in await store.select("messages", ["session_id"], {"id": ids})}
        chosen = await choose(store, of, None, None, None, False, TOLD)
        chosen = replace(chosen, where={"messages": ("id", ids)})
        with tqdm(disable=True) as bar:
            return await _Loading(store, chosen, bar).frame("messages", True)

    return await svc.store.reading(loaded)


def of_project_in(project: str, sessions: pd.DataFrame) -> pd.DataFrame:
    """The sessions of a project: the rows of this frame that `load(project=)` would give."""
    named = sessions[["session_id", "project_id", "workdir", "project"]].astype(object)
    named.columns = ["id", "project_id", "workdir", "worktree"]
    rows: list[Any] = named.where(named.notna(), None).to_dict("records")
    return sessions[sessions["session_id"].isin(of_project(project, rows))]


async def _at_once(
    store: Store, wanted: Mapping[TableName, bool], bar: "tqdm[Any]"
) -> dict[TableName, pd.DataFrame] | None:
    """Whole frames, with their optional columns or without; None where rows come one by one."""
    if (whole := store.whole()) is None:
        return None
    columns = {name: stored_columns(name, optional) for name, optional in wanted.items()}
    lean = [name for name, optional in wanted.items() if not optional]
    loop, is_over = asyncio.get_running_loop(), threading.Event()

    def took(rows: int) -> None:
        if is_over.is_set():
            raise asyncio.CancelledError
        loop.call_soon_threadsafe(bar.update, rows)

    try:
        found = await asyncio.to_thread(read, whole, columns, lean, took)
    except NotAtOnce as error:
        log.debug("loading row by row: %s", error)
        bar.update(-bar.n)  # a reset would show it before its time
        return None
    finally:
        is_over.set()
    frames, _ = await asyncio.gather(
        asyncio.to_thread(_built, found, wanted), asyncio.to_thread(found.keep)
    )
    return frames


def _built(found: Read, wanted: Mapping[TableName, bool]) -> dict[TableName, pd.DataFrame]:
    frames: dict[TableName, pd.DataFrame] = {}
    for name in wanted:  # the sessions first, whose totals are of all tables
        if name != "sessions":
            frames[name] = build(name, found.tables.pop(name), found.sessions)
        elif wanted.keys() >= {"messages", "tool_calls", "file_events"}:  # else nobody asked for it
            frames[name] = session_frame(found.sessions, totals_of(found.tables))
    return frames


class _Loading:
    """Rows on their way into frames."""

    def __init__(self, store: Store, chosen: Chosen, bar: "tqdm[Any]") -> None:
        self._store = store
        self._chosen = chosen
        self._bar = bar
        self._messages: Columns | None = None

    async def session_frame(self) -> pd.DataFrame:
        """The frame of the sessions."""
        where = self._chosen.where.get("messages")
        sessions = self._chosen.sessions
        totals = await self._store.totals(None if where is None else sessions.wanted)
        with of_use(self._store.place):
            return await aside(session_frame, sessions, totals)

    async def frame(self, name: TableName, optional: bool) -> pd.DataFrame:
        """The frame of another table."""
        if name == "file_events" and (events := self._chosen.events) is not None:
            return await aside(build, name, events, self._chosen.sessions)
        stored = await self._read(name, stored_columns(name, optional))
        if name == "messages":
            self._messages = stored
        elif self._messages is None:
            self._messages = await self._read("messages", ["id", *OF_MESSAGE])
        agents = None if name == "messages" else self._messages
        return await aside(build, name, stored, self._chosen.sessions, agents)

    async def _read(self, name: TableName, columns: Sequence[str]) -> Columns:
        rows = Rows(name, columns)

        def take(batch: Sequence[tuple[Any, ...]]) -> None:
            rows.take(batch)
            self._bar.update(len(batch))

        if name not in self._chosen.where:
            await self._store.scan(name, columns, None, take)
        else:
            column, values = self._chosen.where[name]
            listed = sorted(values)
            step = SESSIONS_AT_ONCE if column == "session_id" else IDS_AT_ONCE
            for start in range(0, len(listed), step):
                where = {column: listed[start : start + step]}
                try:
                    texts = await self._store.texts(name, columns, where)
                    self._bar.update(await aside(rows.take_texts, texts))
                except NotAtOnce:
                    await self._store.scan(name, columns, where, take)
        with of_use(self._store.place):
            return await aside(rows.arrays)
