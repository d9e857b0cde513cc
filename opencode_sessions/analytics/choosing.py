"""What to load of a store: filters as conditions that go down to the database."""

import asyncio
import difflib
import logging
import posixpath
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np

from ..moments import Moment, moment
from ..shown import visible
from ..store import NotAtOnce, Store, TableName, Where
from ..store.meaning import of_use
from ..store.values import as_stored
from . import few
from .arrow import Coded, listed, types
from .building import (
    OF_MESSAGE,
    Columns,
    Place,
    Sessions,
    StoredRow,
    sessions_of,
    shown_paths,
)
from .columns import COLUMNS
from .paths import plain_paths, project_of

# Stored columns that a frame is computed from, beside those it shows.
COMPUTED_FROM: dict[TableName, tuple[str, ...]] = {
    "sessions": ("parent_id", "worktree"),
    "messages": ("completed_at",),
    "tool_calls": (),
    "file_events": (),
}
IN_SESSION: tuple[TableName, ...] = ("messages", "tool_calls", "file_events")
IDS = ("id", "opencode_id")
IDS_AT_ONCE = 500  # ids in one statement
NAMED = 5  # projects that are named where there is none as was asked for

Given = ParamSpec("Given")
Made = TypeVar("Made")

log = logging.getLogger("opencode_sessions")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows to load; `where` has nothing for a table that is wanted whole."""

    sessions: Sessions
    where: Mapping[TableName, tuple[str, Collection[str]]]
    events: Columns | None = None  # what was found on its way, with agents and models


async def choose(
    store: Store,
    sessions: Collection[str] | None,
    since: Moment | None,
    project: str | None,
    file_path: str | None,
    diffs: bool,
    told: Sequence[str],
) -> Chosen:
    """Which rows these filters of `load` mean; `told` is what to read of their sessions."""
    rows: list[StoredRow] | None = None
    wanted: set[str] | None = None
    if isinstance(sessions, str):  # one, and not as many as it has letters
        sessions = [sessions]
    if sessions is not None:
        sessions = {as_stored(id) for id in sessions}
        rows = await _with_ancestors(store, told, sessions)
        named = {row["id"] for row in rows} & sessions
        by_opencode = {row["opencode_id"]: row["id"] for row in rows}
        wanted = named | {by_opencode[id] for id in sessions - named if id in by_opencode}
    elif file_path is None or since is not None or project is not None:
        rows = await _sessions(store, told)
    if rows is not None and (since is not None or project is not None):
        wanted = {row["id"] for row in rows} if wanted is None else wanted
        if project is not None:
            wanted &= of_project(project, rows)
        if since is not None:
            wanted &= await store.touched(moment(since))
    if file_path is not None:
        file_path = as_stored(file_path)
        found, events = await _choose_events(store, told, rows, wanted, file_path, diffs)
        if not len(events["session_id"].codes) and wanted != set():
            _say_how_paths_are(file_path)
        messages = {*listed(events["message_id"])} - {None}
        return Chosen(
            found,
            {"messages": ("id", messages), "tool_calls": ("message_id", messages)},
            events,
        )
    assert rows is not None
    where = {} if wanted is None else dict.fromkeys(IN_SESSION, ("session_id", wanted))
    return Chosen(sessions_of(rows, wanted), where)


async def _choose_events(
    store: Store,
    told: Sequence[str],
    rows: list[StoredRow] | None,
    wanted: set[str] | None,
    file_path: str,
    diffs: bool,
) -> tuple[Sessions, Columns]:
    """One file's events: those on paths that may be shown like this, then those that are."""
    if rows is None:
        places = await store.places()
    else:
        places = {_place(row) for row in rows if wanted is None or row["id"] in wanted}
    paths = plain_paths(file_path, places)
    columns = [*stored_columns("file_events", diffs), *OF_MESSAGE]
    found = await _on_paths(store, columns, paths, posixpath.basename(file_path).strip("."))
    if rows is None:
        rows = await _with_ancestors(store, told, _values(found["session_id"]), ("id",))
    place_of = {row["id"]: _place(row) for row in rows if wanted is None or row["id"] in wanted}
    events = _shown_as(file_path, found, place_of, wanted is None)
    return sessions_of(rows, _values(events["session_id"])), events


def _say_how_paths_are(file_path: str) -> None:
    """A file without an event is no error, as it may come yet; or its folder was forgotten.

    Which files are named so, as `file_timeline` says, would take a look at all paths of the store.
    """
    log.warning(
        "No event is of file %r. Paths are from the project's worktree, as frames show them.",
        file_path,
    )


def _shown_as(
    file_path: str, found: Columns, place_of: Mapping[str, Place], is_any: bool
) -> Columns:
    """The events whose path is shown like this; in these sessions, or in any."""
    at, ids = found["session_id"]
    places = [place_of.get(id, (None, None)) for id in ids]
    is_it = np.zeros(len(at), dtype=bool)
    for column in ("file_path", "new_file_path"):
        codes, paths = shown_paths(found[column], at, places)
        if file_path in paths:
            is_it |= codes == paths.index(file_path)
    if not is_any:
        is_it &= np.array([*(id in place_of for id in ids), False])[at]
    return found if is_it.all() else few.taken(found, np.flatnonzero(is_it))


def _values(column: Coded) -> set[str]:
    return {column.values[code] for code in {*column.codes.tolist()} - {-1}}


async def _on_paths(
    store: Store, columns: Sequence[str], paths: Collection[str] | None, ending: str
) -> Columns:
    """File events as columns."""
    typed = types("file_events", columns)
    try:
        texts = await store.texts_on_paths(columns, paths, ending)
        return await aside(few.from_texts, texts, typed)
    except NotAtOnce:
        rows = await store.on_paths(columns, paths, ending)
        with of_use(store.place):
            return await aside(few.from_rows, rows, typed)


def stored_columns(name: TableName, optional: bool) -> list[str]:
    """The columns to read of a table; agent and model of a call are its message's."""
    wanted = [c.stored for c in COLUMNS[name] if c.stored and (optional or not c.is_optional)]
    if name in ("tool_calls", "file_events"):
        wanted = [column for column in wanted if column not in OF_MESSAGE]
    return list(dict.fromkeys([*wanted, *COMPUTED_FROM[name]]))


async def _sessions(
    store: Store, columns: Sequence[str], where: Where | None = None
) -> list[StoredRow]:
    with suppress(NotAtOnce):
        texts = await store.texts("sessions", columns, where or {})
        return await aside(few.dicts, texts, types("sessions", columns))
    found = await store.select("sessions", columns, where)
    return [dict(zip(columns, row, strict=True)) for row in found]


async def aside(make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """What `make` returns, made in a thread; at once where no event loop waits for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make(*args, **kwargs)
    return await asyncio.to_thread(make, *args, **kwargs)


async def _with_ancestors(
    store: Store, columns: Sequence[str], ids: Collection[str], by: Sequence[str] = IDS
) -> list[StoredRow]:
    """Sessions, by row id or else opencode's, and those they come from."""
    found: dict[str, StoredRow] = {}
    asked: set[str] = set()
    missing = set(ids)
    while missing:
        for column in by:
            listed = sorted(missing)
            for start in range(0, len(listed), IDS_AT_ONCE):
                where = {column: listed[start : start + IDS_AT_ONCE]}
                for row in await _sessions(store, columns, where):
                    found[row["id"]] = row
                    missing.discard(row[column])
        by = IDS[::-1]  # a parent is named by opencode's, or else by the row's
        known = asked | {row["opencode_id"] for row in found.values()}
        missing = {row["parent_id"] for row in found.values() if row["parent_id"]} - known
        asked |= missing
    return list(found.values())


def _place(row: StoredRow) -> tuple[str | None, str | None]:
    return row["workdir"], row["worktree"]


def of_project(project: str, rows: Collection[StoredRow]) -> set[str]:
    """The row ids of a project's sessions, named as `read_opencode` lets one name it.

    A project without a session is no error, wherever one asks for it: nobody may have worked in it
    yet. As it is misspelt more often, the log says which there are.
    """
    found = {row["id"] for row in rows if _is_of(project, row)}
    if not found and (known := {path for row in rows if (path := project_of(*_place(row)))}):
        near = sorted(known, key=lambda path: _unlike(project, path))[:NAMED]
        more = f", and {len(known) - NAMED:,} more" if len(known) > NAMED else ""
        shown = ", ".join(map(visible, near))
        log.warning("No session is of project %r. Projects: %s%s.", project, shown, more)
    return found


def _is_of(project: str, row: StoredRow) -> bool:
    paths = [path for path in _place(row) if path]
    names = {row["project_id"], *paths, *(_last(path) for path in paths)}
    return (project.rstrip("/") or project) in names


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path


def _unlike(project: str, path: str) -> tuple[float, str]:
    return -difflib.SequenceMatcher(None, _last(project), _last(path)).ratio(), path
