"""From a store to four pandas DataFrames, the same columns and dtypes whatever the store.

`load` reads the tables and makes frames of them in a thread. What a table does not hold,
because it belongs to a session as a whole, is joined here: its project, its parents, the paths seen
from the worktree.
"""

import asyncio
import html
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from ..store import MONEY, TOTALS, Store, TableName, Totals
from .columns import COLUMNS, FIXED, TIME, Column

# Stored columns that are read to compute others from, beside the frames' own.
COMPUTED_FROM: dict[TableName, tuple[str, ...]] = {
    "sessions": ("parent_id", "worktree"),
    "messages": ("completed_at",),
    "tool_calls": (),
    "file_events": (),
}
# What the rows of the other frames are told of their session, and of their message.
OF_SESSION = ("opencode_session_id", "root_session_id", "parent_session_id", "project")
OF_MESSAGE = ("agent_name", "provider", "model")
PLACE = ("id", "opencode_id", "parent_id", "workdir", "worktree", "agent_name", "created_at")
DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class HasStore(Protocol):
    """A service, as far as loading is concerned."""

    @property
    def store(self) -> Store:
        """Where its rows are."""


@dataclass(frozen=True, slots=True, repr=False)
class Frames:
    """The four frames of a store; `schema` says each column's dtype, unit and meaning."""

    sessions: pd.DataFrame
    messages: pd.DataFrame
    tool_calls: pd.DataFrame
    file_events: pd.DataFrame

    @property
    def schema(self) -> pd.DataFrame:
        """One row a column: frame, name, dtype, unit, meaning, is_optional."""
        rows = [column for columns in COLUMNS.values() for column in columns]
        return pd.DataFrame(rows, columns=list(Column._fields)).drop(columns="stored")

    def __repr__(self) -> str:
        lines = [
            f"{name:<12} {len(frame):>9,} rows   {period}" for name, frame, period in self._parts()
        ]
        return "\n".join(["<Frames", *("  " + line.rstrip() for line in lines), ">"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>.{name}</th><td>{len(frame):,}</td>"
            f"<td>{html.escape(period)}</td></tr>"
            for name, frame, period in self._parts()
        )
        return f"<table><thead><tr><th></th><th>rows</th><th>period</th></tr></thead>{rows}</table>"

    def _parts(self) -> list[tuple[str, pd.DataFrame, str]]:
        frames = [(name, getattr(self, name)) for name in COLUMNS]
        return [(name, frame, _period(frame)) for name, frame in frames]


async def load(
    svc: HasStore,
    *,
    sessions: Collection[str] | None = None,
    diffs: bool = False,
    parts: bool = False,
) -> Frames:
    """The frames of everything a service holds, or of some sessions, by row id or opencode's.

    `diffs` adds `file_events.diff`; `parts` adds `messages.parts` and `tool_calls.input`.
    """
    optional = {"messages": parts, "tool_calls": parts, "file_events": diffs}
    return Frames(
        **{
            name: await load_frame(svc, name, sessions=sessions, optional=optional.get(name, False))
            for name in COLUMNS
        }
    )


async def load_frame(
    svc: HasStore,
    name: TableName,
    *,
    sessions: Collection[str] | None = None,
    optional: bool = False,
) -> pd.DataFrame:
    """One of the frames alone, as `load` gives it; `optional` adds its optional columns.

    Sessions come oldest first; the other frames session by session, in the order of `seq`.
    """
    store = svc.store
    columns = _stored(name, optional)
    known = await _known_sessions(store, columns if name == "sessions" else PLACE, sessions)
    if name == "sessions":
        wanted = None if sessions is None else known.index[known["is_wanted"]]
        totals = await store.totals(wanted)
        return await asyncio.to_thread(_build_sessions, known, totals)
    where = None if sessions is None else {"session_id": known.index[known["is_wanted"]]}
    raw = await _table(store, name, columns, where)
    agents = None
    if name != "messages":
        agents = await _table(store, "messages", ("id", *OF_MESSAGE), where)
    return await asyncio.to_thread(_build, name, raw, known, agents)


async def _known_sessions(
    store: Store, columns: Sequence[str], sessions: Collection[str] | None
) -> pd.DataFrame:
    """Sessions by row id: all, or those wanted (`is_wanted`) and what they come from."""
    if sessions is None:
        found = await _table(store, "sessions", columns)
        found["is_wanted"] = True
    else:
        found = await _found_sessions(store, columns, set(sessions), ("id", "opencode_id"))
        found["is_wanted"] = True
        while missing := set(found["parent_id"].dropna()) - {*found["id"], *found["opencode_id"]}:
            parents = await _found_sessions(store, columns, missing, ("opencode_id", "id"))
            if parents.empty:
                break
            parents["is_wanted"] = False
            found = pd.concat([found, parents]).drop_duplicates("id")
    found = found.set_index("id", drop=False).rename_axis(None)
    found["session_id"], found["opencode_session_id"] = found["id"], found["opencode_id"]
    has_worktree = found["worktree"].notna() & ~found["worktree"].isin(["", "/"])
    found["project"] = found["worktree"].where(has_worktree, found["workdir"])
    found["parent_session_id"], found["root_session_id"] = _family(found)
    return found


async def _found_sessions(
    store: Store, columns: Sequence[str], ids: Collection[str], by: Sequence[str]
) -> pd.DataFrame:
    tables = [await _table(store, "sessions", columns, {column: ids}) for column in by]
    return pd.concat(tables).drop_duplicates("id")


def _stored(name: TableName, optional: bool) -> list[str]:
    """The columns to read of a table; agent and model of a call are its message's."""
    wanted = [c.stored for c in COLUMNS[name] if c.stored and (optional or not c.is_optional)]
    if name in ("tool_calls", "file_events"):
        wanted = [column for column in wanted if column not in OF_MESSAGE]
    return list(dict.fromkeys([*wanted, *COMPUTED_FROM[name]]))


async def _table(
    store: Store,
    name: TableName,
    columns: Sequence[str],
    where: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    rows = await store.select(name, columns, where)
    return await asyncio.to_thread(_as_they_are, rows, columns)


def _as_they_are(rows: Collection[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns), dtype=object)


def _build_sessions(known: pd.DataFrame, totals: Mapping[str, Totals]) -> pd.DataFrame:
    sessions = known[known["is_wanted"]].sort_values(["created_at", "id"])
    held = _as_they_are(totals.values(), TOTALS).set_axis(list(totals)).reindex(sessions.index)
    for name in TOTALS:
        sessions[name] = held[name] if name in MONEY else held[name].fillna(0)
    return _typed(sessions.reset_index(drop=True), COLUMNS["sessions"])


def _build(
    name: TableName, raw: pd.DataFrame, known: pd.DataFrame, agents: pd.DataFrame | None
) -> pd.DataFrame:
    """The frame of a table as it is stored."""
    for column in OF_SESSION:
        raw[column] = raw["session_id"].map(known[column])
    if agents is not None:
        agents = agents.set_index("id")
        for column in OF_MESSAGE:
            raw[column] = raw["message_id"].map(agents[column])
    own = raw["session_id"].map(known["agent_name"])
    raw["agent_name"] = raw["agent_name"].where(raw["agent_name"].notna(), own)
    if name == "messages":
        took = _times(raw["completed_at"]) - _times(raw["created_at"])
        raw["duration_s"] = took.dt.total_seconds()
    if name == "file_events":
        for column in ("file_path", "new_file_path"):
            raw[column] = _paths(raw[column], raw["session_id"], known)
    in_order = known.sort_values(["created_at", "id"]).index
    raw["_session"] = raw["session_id"].map(pd.Series(range(len(known)), index=in_order))
    raw = raw.sort_values(["_session", "seq", "created_at", "id"], ignore_index=True)
    return _typed(raw, COLUMNS[name])


def posix_path(path: str, directory: str | None, worktree: str | None) -> str:
    """A tool's path as the frames show it: POSIX, relative to the worktree, absolute outside.

    A relative path is one of the session's directory; that is also what stands in for a worktree
    that is unknown or "/".
    """
    is_windows = bool(DRIVE.match(path) or DRIVE.match(directory or ""))
    if is_windows:
        path = path.replace("\\", "/")
        directory, worktree = ((place or "").replace("\\", "/") for place in (directory, worktree))
    full = path if DRIVE.match(path) else posixpath.join(directory or "", path)
    full = posixpath.normpath(full)
    if full.startswith("//") and not is_windows:  # normpath keeps two slashes; Linux makes them one
        full = full[1:]
    root = worktree if worktree and worktree != "/" else directory
    if not root:
        return full
    root = posixpath.normpath(root).rstrip("/") + "/"
    folded = str.casefold if is_windows else str
    if folded(full + "/") == folded(root):
        return "."
    start, rest = full[: len(root)], full[len(root) :]
    return rest if folded(start) == folded(root) else full


def _family(sessions: pd.DataFrame) -> tuple[list[str | None], list[str]]:
    """Each session's parent and topmost ancestor; a circle ends where it closes.

    By row id; by opencode's where the parent is not stored.
    """
    ids = dict(zip(sessions["opencode_id"], sessions.index, strict=True))
    parents = {
        id: (ids.get(parent, parent) if parent else None)
        for id, parent in zip(sessions.index, sessions["parent_id"], strict=True)
    }
    roots = []
    for id in parents:
        root, seen = id, {id}
        while (above := parents.get(root)) is not None and above not in seen:
            root = above
            seen.add(root)
        roots.append(root)
    return list(parents.values()), roots


def _paths(paths: pd.Series, session_ids: pd.Series, sessions: pd.DataFrame) -> pd.Series:
    """Paths as the frames show them; each different path of a session is worked out once."""
    where = sessions[["workdir", "worktree"]].astype(object)
    places = {id: tuple(None if pd.isna(v) else v for v in row) for id, *row in where.itertuples()}
    done: dict[tuple[str, str], str] = {}
    shown: list[str | None] = []
    for path, session_id in zip(paths, session_ids, strict=True):
        if path is None or pd.isna(path):
            shown.append(None)
            continue
        key = (session_id, path)
        if key not in done:
            done[key] = posix_path(path, *places.get(session_id, (None, None)))
        shown.append(done[key])
    return pd.Series(shown, index=paths.index, dtype=object)


def _typed(raw: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """The raw columns under their names and dtypes."""
    present = {}
    for column in columns:
        source = column.name if column.name in raw else column.stored
        if source in raw:
            present[column.name] = _series(raw[source], column)
    return pd.DataFrame(present)


def _series(values: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if column.dtype == TIME:
        return _times(values)
    if column.dtype == "bool":
        return values.eq(True).astype(bool)  # rows from before the column was there have None
    if column.dtype == "category":
        text = values.astype("str")
        fixed = FIXED.get(column.name)
        return text.astype(pd.CategoricalDtype(list(fixed)) if fixed else "category")
    dtype: Any = column.dtype
    if dtype in ("Int32", "Int64", "float64"):
        values = pd.to_numeric(values)
    return values.astype(dtype)


def _times(values: "pd.Series[Any]") -> "pd.Series[pd.Timestamp]":
    return pd.to_datetime(values, utc=True).astype(TIME)


def _period(frame: pd.DataFrame) -> str:
    times = frame["time" if "time" in frame else "created_at"].dropna()
    if times.empty:
        return ""
    return f"{times.min():%Y-%m-%d %H:%M} to {times.max():%Y-%m-%d %H:%M} UTC"
