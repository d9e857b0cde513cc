"""Which rows of a session are stored already: by opencode's ids, else by what an application said.

An application that stored a session as it happened may not have known opencode's ids, and its parts
may have a shape of their own. What it stored is the same thing all the same, and is not doubled.
Nor is a call that had no id of its own when it was imported, before opencode 0.5 and after 2.0, or
that has none now. Of a copied session, opencode's ids may be another session's rows' already: then
its rows have ids that are made of the session's and theirs.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping
from datetime import datetime, timedelta
from typing import Any

from .events import PATH_KEYS
from .models import Row
from .rows import SessionRows, row_id
from .store import TableName
from .store.values import JsonText, dumps

APPLICATION = (None, "service")  # the source of what applications stored, now and long ago
TRUST = {"database": 2, "storage": 1}  # what tells most of a session; given out files come last
IN_SESSION: tuple[TableName, ...] = ("messages", "tool_calls", "file_events")
# The column that holds opencode's own name of a row, where the application knew it.
NAMES = {"messages": "opencode_id", "tool_calls": "call_id", "file_events": "call_id"}
NOT_SAID = ("snapshot", "patch_part", "shell")  # how we know what no application has said
Key = Callable[[Row, str], Hashable]
# Two imported rows with the same key are one, whatever their ids.
AGAIN: dict[TableName, Key] = {
    "messages": lambda row, _: None,
    "tool_calls": lambda row, _: row["call_id"] and (row["message_id"], row["call_id"]),
    "file_events": lambda row, _: (
        row["tool_call_id"]
        and (row["tool_call_id"], row["event_type"], row["file_path"], row["new_file_path"])
    ),
}
# Two rows with the same key are one; with a key that is alike they are, if nothing else is.
SAME: dict[TableName, Key] = {
    "messages": lambda row, _: row["opencode_id"],
    "tool_calls": lambda row, _: row["call_id"],
    "file_events": lambda row, _: row["tool_call_id"] and (row["tool_call_id"], row["event_type"]),
}
ALIKE: dict[TableName, Key] = {
    "messages": lambda row, _: (row["role"], row["content"]),
    "tool_calls": lambda row, folder: (
        row["tool"],
        _target(_input(row) or {}, folder) or dumps(_input(row)),
    ),
    "file_events": lambda row, folder: (
        None if row["evidence"] in NOT_SAID else (row["event_type"], _target(row, folder))
    ),
}


def take_over_ids(
    rows: SessionRows, stored: SessionRows, taken: Mapping[TableName, Collection[str]]
) -> Counter[TableName]:
    """Gives a session's rows the ids under which they are stored, or can be: some may be `taken`.

    Returns how many rows of each table an application stored beside them that are none of these.
    """
    (session,) = rows["sessions"]
    for kept in stored["sessions"]:
        session["id"] = kept["id"]
    ids: dict[str, str] = {}
    others: Counter[TableName] = Counter()
    for name in IN_SESSION:
        for row in rows[name]:
            row["session_id"] = session["id"]
            for parent in row.keys() & {"message_id", "tool_call_id"}:
                row[parent] = ids.get(row[parent], row[parent])
        own_ids = _own_ids(session["opencode_id"], rows[name], stored[name], taken.get(name, ()))
        pairs = _pairs(name, rows[name], stored[name], own_ids, session["workdir"] or "")
        for row in rows[name]:
            own: str = row["id"]
            row["id"] = ids[own] = pairs.get(own, own)
        written = {row["id"] for row in rows[name]}
        others[name] = sum(row["id"] not in written for row in _applications(stored[name]))
    return others


def _applications(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["source"] in APPLICATION]


def _own_ids(
    session_id: str, new: list[Row], old: list[Row], taken: Collection[str]
) -> dict[str, str]:
    """The ids of the new rows that are stored under them, or under those of a copy, or must be."""
    stored = {row["id"] for row in old}
    found = {}
    for row in new if stored or taken else ():
        id: str = row["id"]
        if id in stored:
            found[id] = id
        elif (copy := row_id(f"{session_id}/{id}")) in stored or id in taken:
            found[id] = copy
    return found


def _pairs(
    name: TableName, new: list[Row], old: list[Row], pairs: dict[str, str], folder: str
) -> dict[str, str]:
    """The ids of the new rows that are stored, each with the id it is stored under."""
    said = _applications(old)
    said.sort(key=lambda row: (row["seq"] is None, row["seq"] or 0, str(row["created_at"])))
    nameless = [row for row in said if row[NAMES[name]] is None]
    imported = [row for row in old if row["source"] not in APPLICATION]
    for key, candidates in (
        (AGAIN[name], imported),
        (SAME[name], said),
        (ALIKE[name], nameless),
    ):
        if not candidates:
            continue
        taken = set(pairs.values())
        groups: dict[Hashable, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
        for row in new:
            if row["id"] not in pairs:
                groups[key(row, folder)][0].append(row)
        for row in candidates:
            if row["id"] not in taken:
                groups[key(row, folder)][1].append(row)
        groups.pop(None, None)
        for group in groups.values():
            pairs |= _nearest(*group)
    return pairs


def _nearest(new: list[Row], old: list[Row]) -> dict[str, str]:
    """Pairs of the ids of rows that are alike, in order, and as near in time as that allows."""
    few, many = sorted((new, old), key=len)
    pairs: dict[str, str] = {}
    start = 0
    for place, row in enumerate(few):
        end = len(many) - (len(few) - place - 1)  # as many must be left as follow
        nearest = min(range(start, end), key=lambda i: _apart(row, many[i]))
        pairs[row["id"]] = many[nearest]["id"]
        start = nearest + 1
    return pairs if few is new else {new_id: old_id for old_id, new_id in pairs.items()}


def _apart(one: Row, other: Row) -> timedelta:
    times: list[datetime | None] = [one["created_at"], other["created_at"]]
    first, second = times
    return abs(first - second) if first and second else timedelta.max


def _input(call: Row) -> Any:
    given = call["input"]
    return given.value if isinstance(given, JsonText) else given


def _target(said: Row, folder: str) -> str | None:
    """What an event, or a call with this input, was about: a path however given, or a command."""
    path = next((value for key in PATH_KEYS if isinstance(value := said.get(key), str)), None)
    if path is not None:
        return posixpath.normpath(posixpath.join(folder, path))
    command = said.get("command")
    return command if isinstance(command, str) else None
