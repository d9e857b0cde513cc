"""What to load of a store: filters as conditions that go down to the database."""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..moments import Moment, moment
from ..store import Store, TableName, Where
from .building import OF_MESSAGE, Sessions, StoredRow, sessions_of
from .columns import COLUMNS
from .paths import plain_paths, posix_path

# Stored columns that a frame is computed from, beside those it shows.
COMPUTED_FROM: dict[TableName, tuple[str, ...]] = {
    "sessions": ("parent_id", "worktree"),
    "messages": ("completed_at",),
    "tool_calls": (),
    "file_events": (),
}
IN_SESSION: tuple[TableName, ...] = ("messages", "tool_calls", "file_events")
IDS = ("id", "opencode_id")
BATCH = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows to load; `where` has nothing for a table that is wanted whole."""

    sessions: Sessions
    where: Mapping[TableName, tuple[str, Collection[str]]]
    events: list[tuple[Any, ...]] | None = None  # what was found on its way


async def choose(
    store: Store,
    sessions: Collection[str] | None,
    since: Moment | None,
    project: str | None,
    file_path: str | None,
    diffs: bool,
) -> Chosen:
    """Which rows these filters of `load` mean."""
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
            wanted &= {row["id"] for row in rows if is_of_project(project, row)}
        if since is not None:
            wanted &= await store.touched(moment(since))
    if file_path is not None:
        return await _choose_events(store, rows, wanted, file_path, diffs)
    assert rows is not None
    where = {} if wanted is None else dict.fromkeys(IN_SESSION, ("session_id", wanted))
    return Chosen(sessions_of(rows, wanted), where)


async def _choose_events(
    store: Store,
    rows: list[StoredRow] | None,
    wanted: set[str] | None,
    file_path: str,
    diffs: bool,
) -> Chosen:
    """One file's events: those on paths that may be shown like this, then those that are."""
    if rows is None:
        places = await store.places()
    else:
        places = {_place(row) for row in rows if wanted is None or row["id"] in wanted}
    paths = plain_paths(file_path, places)
    columns = stored_columns("file_events", diffs)
    session, message = columns.index("session_id"), columns.index("message_id")
    found = await store.on_paths(columns, paths, posixpath.basename(file_path).strip("."))
    if wanted is not None:
        found = [row for row in found if row[session] in wanted]
    if rows is None:
        rows = await _with_ancestors(store, {row[session] for row in found}, ("id",))
    place_of = {row["id"]: _place(row) for row in rows}
    named = columns.index("file_path"), columns.index("new_file_path")

    @cache
    def is_it(path: str | None, place: tuple[str | None, str | None]) -> bool:
        return path is not None and posix_path(path, *place) == file_path

    nowhere = (None, None)
    events = [
        row
        for row in found
        if any(is_it(row[at], place_of.get(row[session], nowhere)) for at in named)
    ]
    messages = {row[message] for row in events} - {None}
    return Chosen(
        sessions_of(rows, {row[session] for row in events}),
        {"messages": ("id", messages), "tool_calls": ("message_id", messages)},
        events,
    )


def stored_columns(name: TableName, optional: bool) -> list[str]:
    """The columns to read of a table; agent and model of a call are its message's."""
    wanted = [c.stored for c in COLUMNS[name] if c.stored and (optional or not c.is_optional)]
    if name in ("tool_calls", "file_events"):
        wanted = [column for column in wanted if column not in OF_MESSAGE]
    return list(dict.fromkeys([*wanted, *COMPUTED_FROM[name]]))


async def _sessions(store: Store, where: Where | None = None) -> list[StoredRow]:
    columns = stored_columns("sessions", optional=False)
    found = await store.select("sessions", columns, where)
    return [dict(zip(columns, row, strict=True)) for row in found]


async def _with_ancestors(
    store: Store, ids: Collection[str], by: Sequence[str] = IDS
) -> list[StoredRow]:
    """Sessions by row id or opencode's, and those they come from."""
    found: dict[str, StoredRow] = {}
    asked: set[str] = set()
    missing = set(ids)
    while missing:
        listed = sorted(missing)
        for start in range(0, len(listed), BATCH):
            for column in by:
                for row in await _sessions(store, {column: listed[start : start + BATCH]}):
                    found[row["id"]] = row
        asked |= missing if by == IDS else set()
        by = IDS  # a parent may be named by either
        known = asked | {row["opencode_id"] for row in found.values()}
        missing = {row["parent_id"] for row in found.values() if row["parent_id"]} - known
    return list(found.values())


def _place(row: StoredRow) -> tuple[str | None, str | None]:
    return row["workdir"], row["worktree"]


def is_of_project(project: str, row: StoredRow) -> bool:
    """Whether a session is of this project, named as `read_opencode` lets one name it."""
    paths = [path for path in _place(row) if path]
    last = (re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path for path in paths)
    return (project.rstrip("/") or project) in {row["project_id"], *paths, *last}
