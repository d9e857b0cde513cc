"""What to load of a store, and loading it: the filters go down to the database."""

import asyncio
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
from tqdm.auto import tqdm

from ..moments import Moment, moment
from ..store import Store, TableName, Where
from .arrow import Rows
from .building import OF_MESSAGE, Columns, Sessions, StoredRow, build, session_frame, sessions_of
from .columns import COLUMNS
from .frames import Frames
from .paths import plain_paths, posix_path

# Stored columns that a frame is computed from, beside those it shows.
COMPUTED_FROM: dict[TableName, tuple[str, ...]] = {
    "sessions": ("parent_id", "worktree"),
    "messages": ("completed_at",),
    "tool_calls": (),
    "file_events": (),
}
IN_SESSION: tuple[TableName, ...] = ("messages", "tool_calls", "file_events")
BATCH = 500  # ids in one statement
SLOW = 1.0  # seconds; a bar that only flashes up is worse than none


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
        sessions: only these sessions, by row id or opencode's.
        since: only sessions touched at or after this moment: by what `updated_at` or `created_at`
            says, or by a message of theirs.
        project: only this project: its worktree's path, the session's directory, the last part of
            either, or opencode's project id.
        file_path: only this file's events, the path as the frames show it; the messages and tool
            calls are those of the messages they happened in.
        diffs: add `file_events.diff`.
        parts: add `messages.parts` and `tool_calls.input`.
        progress: show a bar when it takes long.
    """
    with tqdm(desc="load", unit="row", delay=SLOW, disable=not progress, leave=False) as bar:
        chosen = await _choose(svc.store, sessions, since, project, file_path, diffs)
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
    chosen = await _choose(svc.store, sessions, None, None, file_path, optional)
    with tqdm(disable=True) as bar:
        loading = _Loading(svc.store, chosen, bar)
        if name == "sessions":
            return await loading.session_frame()
        return await loading.frame(name, optional)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which rows to load; `where` has nothing for a table that is wanted whole."""

    sessions: Sessions
    where: Mapping[TableName, tuple[str, Collection[str]]]
    events: list[tuple[Any, ...]] | None = None  # what was found on its way


async def _choose(
    store: Store,
    sessions: Collection[str] | None,
    since: Moment | None,
    project: str | None,
    file_path: str | None,
    diffs: bool,
) -> _Chosen:
    rows: list[StoredRow] | None = None
    wanted: set[str] | None = None
    if sessions is not None:
        rows = await _with_ancestors(store, sessions)
        wanted = {row["id"] for row in rows if {row["id"], row["opencode_id"]} & {*sessions}}
    elif file_path is None or since is not None or project is not None:
        rows = await _sessions(store)
    if rows is not None and (since is not None or project is not None):
        wanted = {row["id"] for row in rows} if wanted is None else wanted
        if project is not None:
            wanted &= {row["id"] for row in rows if _is_of(project, row)}
        if since is not None:
            wanted &= await store.touched(moment(since))
    if file_path is not None:
        return await _choose_events(store, rows, wanted, file_path, diffs)
    assert rows is not None
    where = {} if wanted is None else dict.fromkeys(IN_SESSION, ("session_id", wanted))
    return _Chosen(sessions_of(rows, wanted), where)


async def _choose_events(
    store: Store,
    rows: list[StoredRow] | None,
    wanted: set[str] | None,
    file_path: str,
    diffs: bool,
) -> _Chosen:
    """One file's events: those on paths that may be shown like this, then those that are."""
    if rows is None:
        places = await store.places()
    else:
        places = {_place(row) for row in rows if wanted is None or row["id"] in wanted}
    paths = plain_paths(file_path, places)
    columns = _stored("file_events", diffs)
    session, message = columns.index("session_id"), columns.index("message_id")
    found = await store.on_paths(columns, paths, posixpath.basename(file_path).strip("."))
    if wanted is not None:
        found = [row for row in found if row[session] in wanted]
    if rows is None:
        rows = await _with_ancestors(store, {row[session] for row in found})
    place_of = {row["id"]: _place(row) for row in rows}
    named = columns.index("file_path"), columns.index("new_file_path")
    events = [
        row
        for row in found
        if any(
            row[at] is not None
            and posix_path(row[at], *place_of.get(row[session], (None, None))) == file_path
            for at in named
        )
    ]
    messages = {row[message] for row in events} - {None}
    return _Chosen(
        sessions_of(rows, {row[session] for row in events}),
        {"messages": ("id", messages), "tool_calls": ("message_id", messages)},
        events,
    )


class _Loading:
    """Rows on their way into frames."""

    def __init__(self, store: Store, chosen: _Chosen, bar: "tqdm[Any]") -> None:
        self._store = store
        self._chosen = chosen
        self._bar = bar
        self._messages: Columns | None = None

    async def session_frame(self) -> pd.DataFrame:
        """The frame of the sessions."""
        where = self._chosen.where.get("messages")
        sessions = self._chosen.sessions
        totals = await self._store.totals(None if where is None else sessions.wanted)
        return await asyncio.to_thread(session_frame, sessions, totals)

    async def frame(self, name: TableName, optional: bool) -> pd.DataFrame:
        """The frame of another table."""
        rows = Rows(name, columns := _stored(name, optional))
        if name == "file_events" and self._chosen.events is not None:
            rows.take(self._chosen.events)
        else:
            await self._read(rows, name, columns)
        stored = await asyncio.to_thread(rows.arrays)
        if name == "messages":
            self._messages = stored
        elif self._messages is None:
            agents = Rows("messages", columns := ["id", *OF_MESSAGE])
            await self._read(agents, "messages", columns)
            self._messages = await asyncio.to_thread(agents.arrays)
        return await asyncio.to_thread(build, name, stored, self._chosen.sessions, self._messages)

    async def _read(self, rows: Rows, name: TableName, columns: Sequence[str]) -> None:
        def take(batch: Sequence[tuple[Any, ...]]) -> None:
            rows.take(batch)
            self._bar.update(len(batch))

        if name not in self._chosen.where:
            await self._store.scan(name, columns, None, take)
            return
        column, values = self._chosen.where[name]
        listed = sorted(values)
        for start in range(0, len(listed), BATCH):
            where = {column: listed[start : start + BATCH]}
            await self._store.scan(name, columns, where, take)


async def _sessions(store: Store, where: Where | None = None) -> list[StoredRow]:
    columns = _stored("sessions", optional=False)
    found = await store.select("sessions", columns, where)
    return [dict(zip(columns, row, strict=True)) for row in found]


async def _with_ancestors(store: Store, ids: Collection[str]) -> list[StoredRow]:
    """Sessions by row id or opencode's, and those they come from."""
    found: dict[str, StoredRow] = {}
    missing = set(ids)
    while missing:
        listed = sorted(missing)
        for start in range(0, len(listed), BATCH):
            for column in ("id", "opencode_id"):
                for row in await _sessions(store, {column: listed[start : start + BATCH]}):
                    found[row["id"]] = row
        known = missing | found.keys() | {row["opencode_id"] for row in found.values()}
        missing = {row["parent_id"] for row in found.values() if row["parent_id"]} - known
    return list(found.values())


def _stored(name: TableName, optional: bool) -> list[str]:
    """The columns to read of a table; agent and model of a call are its message's."""
    wanted = [c.stored for c in COLUMNS[name] if c.stored and (optional or not c.is_optional)]
    if name in ("tool_calls", "file_events"):
        wanted = [column for column in wanted if column not in OF_MESSAGE]
    return list(dict.fromkeys([*wanted, *COMPUTED_FROM[name]]))


def _place(row: StoredRow) -> tuple[str | None, str | None]:
    return row["workdir"], row["worktree"]


def _is_of(project: str, row: StoredRow) -> bool:
    """Whether a session is of this project, named as `read_opencode` lets one name it."""
    paths = [path for path in _place(row) if path]
    last = (re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path for path in paths)
    return (project.rstrip("/") or project) in {row["project_id"], *paths, *last}
