"""From a store to four pandas DataFrames, the same columns and dtypes whatever the store.

`load` reads the tables, `build` makes frames of them in a thread. What a table does not hold,
because it belongs to a session as a whole, is joined here: its project, its parents, the paths seen
from the worktree.
"""

import asyncio
import html
import posixpath
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from ..store import Store, TableName
from .columns import COLUMNS, FIXED, TIME, Column

RawTables = dict[TableName, pd.DataFrame]
# Read beside the frames' own columns, to compute others from.
HELPERS: dict[TableName, tuple[str, ...]] = {
    "sessions": ("parent_id", "worktree"),
    "messages": ("completed_at",),
    "tool_calls": (),
    "file_events": (),
}
MONEY = (
    "cost_usd",
    *(f"tokens_{kind}" for kind in ("input", "output", "reasoning", "cache_read", "cache_write")),
)
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
    store = svc.store
    raw: RawTables = {"sessions": await _table(store, "sessions")}
    where = None
    if sessions is not None:
        wanted = set(sessions)
        all_sessions = raw["sessions"]
        chosen = all_sessions["id"].isin(wanted) | all_sessions["opencode_id"].isin(wanted)
        where = {"session_id": list(all_sessions.loc[chosen, "id"])}
    optional = {"messages": parts, "tool_calls": parts, "file_events": diffs}
    for name, with_optional in optional.items():
        raw[name] = await _table(store, name, where, with_optional)  # type: ignore[index,arg-type]
    return await asyncio.to_thread(build, raw, None if where is None else where["session_id"])


def build(raw: RawTables, session_ids: Sequence[str] | None = None) -> Frames:
    """Frames from tables as they are stored; `session_ids` leaves out the other sessions' rows.

    Sessions come oldest first; the other frames session by session, in the order of `seq`.
    """
    sessions = _sessions(raw)
    agents = raw["messages"].set_index("id")[["agent_name", "provider", "model"]]
    for name in ("messages", "tool_calls", "file_events"):
        frame = raw[name]
        for column in ("opencode_session_id", "root_session_id", "parent_session_id", "project"):
            frame[column] = frame["session_id"].map(sessions[column])
        if name != "messages":
            for column in ("agent_name", "provider", "model"):
                frame[column] = frame["message_id"].map(agents[column])
        own = frame["session_id"].map(sessions["agent_name"])
        frame["agent_name"] = frame["agent_name"].where(frame["agent_name"].notna(), own)
    messages, events = raw["messages"], raw["file_events"]
    took = _times(messages["completed_at"]) - _times(messages["created_at"])
    messages["duration_s"] = took.dt.total_seconds()
    for column in ("file_path", "new_file_path"):
        events[column] = _paths(events[column], events["session_id"], sessions)
    if session_ids is not None:
        sessions = sessions.loc[list(session_ids)]
    sessions = sessions.sort_values(["created_at", "id"])
    order = pd.Series(range(len(sessions)), index=sessions.index)
    raw["sessions"] = sessions.reset_index(drop=True)
    for name in ("messages", "tool_calls", "file_events"):
        frame = raw[name].assign(_session=raw[name]["session_id"].map(order))  # type: ignore[index]
        raw[name] = frame.sort_values(["_session", "seq", "created_at"], ignore_index=True)  # type: ignore[index]
    return Frames(**{name: _typed(raw[name], columns) for name, columns in COLUMNS.items()})


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


async def _table(
    store: Store, name: TableName, where: dict[str, list[str]] | None = None, optional: bool = False
) -> pd.DataFrame:
    wanted = [c.stored for c in COLUMNS[name] if c.stored and (optional or not c.is_optional)]
    if name in ("tool_calls", "file_events"):  # the message knows these, not the call
        wanted = [column for column in wanted if column not in ("agent_name", "provider", "model")]
    columns = list(dict.fromkeys([*wanted, *HELPERS[name]]))
    rows = await store.select(name, columns, where)
    return await asyncio.to_thread(pd.DataFrame, rows, columns=columns, dtype=object)


def _sessions(raw: RawTables) -> pd.DataFrame:
    """The sessions by row id, with what is counted and summed over the other tables."""
    sessions = raw["sessions"].set_index("id", drop=False).rename_axis(None)
    sessions["session_id"] = sessions["id"]
    sessions["opencode_session_id"] = sessions["opencode_id"]
    has_worktree = sessions["worktree"].notna() & ~sessions["worktree"].isin(["", "/"])
    sessions["project"] = sessions["worktree"].where(has_worktree, sessions["workdir"])
    sessions["parent_session_id"], sessions["root_session_id"] = _family(sessions)
    messages = raw["messages"]
    by_session = messages.groupby("session_id", sort=False)
    sessions["turns"] = (messages["role"] == "user").groupby(messages["session_id"]).sum()
    sessions["messages"] = by_session.size()
    for name in ("tool_calls", "file_events"):
        sessions[name] = raw[name].groupby("session_id", sort=False).size()
    for name in ("turns", "messages", "tool_calls", "file_events"):
        sessions[name] = sessions[name].fillna(0).astype(int)
    own = messages[~messages["is_fork_copy"].eq(True)]
    for column in MONEY:
        numbers = pd.to_numeric(own[column])
        sessions[column] = numbers.groupby(own["session_id"]).sum(min_count=1)
    return sessions


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
