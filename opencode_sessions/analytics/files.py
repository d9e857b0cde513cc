"""What happened to each file: its whole history under all its names, and its totals."""

import logging
import posixpath
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ..shown import visible
from .counting import (
    FAILED,
    Extra,
    Flags,
    Numbers,
    codes,
    counted,
    grouped,
    is_counted,
    is_mutation,
    numbered,
    places_in_order,
)
from .results import COUNT, FIRST, LAST, gives, tidy

log = logging.getLogger("opencode_sessions")

NAMED = 5  # files that are named where there is none as was asked for
PATHS = ["file_path", "new_file_path"]
LINES = ["additions", "deletions"]
SUMMED = [
    *("session_id", "turn", "project", "file_path", "time", "agent_name", "model"),
    *("event_type", "status", *LINES),
]
# What a timeline is worked out from.
KEY = ["project", *PATHS, "event_type", "status", "is_fork_copy", "is_undone"]


@gives("events", file_id="Int32", last_path="category", version="Int32")
def file_timeline(
    events: pd.DataFrame,
    file_path: str | None = None,
    *,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """All that happened to one file (or to each), over all sessions, in the order it happened.

    A completed move is followed: asked for either name, it gives the history of both. What comes to
    a path that was moved away or deleted is another file. Two projects never share a file. Commands
    have no path and are left out, and so are fork copies, undone turns and the user's own calls
    unless `include` names them ("fork_copies", "undone", "user"); shown, they rename nothing and
    make no version. A file of no event is no error: the log says so, and which files are named like
    it. Source: this package's; `git log --follow`, of tool calls.

    Returns the columns of `events` and, never NA:
        file_id (Int32): the file, whatever its name; from 0 as files first appear in `events`.
        last_path (category): the last name it had.
        version (Int32): its completed changes so far, this one included; 0 is the file as found.

    >>> history = file_timeline(events, "trailmap/geo/distance.py")
    >>> history[["event_type", "file_path", "status", "version"]].iloc[6:12]
       event_type                 file_path     status  version
    6        read      trailmap/geometry.py  completed        0
    7        edit      trailmap/geometry.py  completed        1
    8        move      trailmap/geometry.py  completed        2
    9        read  trailmap/geo/distance.py  completed        2
    10       edit  trailmap/geo/distance.py  completed        3
    11       read  trailmap/geo/distance.py  completed        3
    """
    rows = np.flatnonzero(is_counted(events, include) & events["file_path"].notna())
    rows = rows[places_in_order(events[["session_id", "seq", "time"]].iloc[rows])]
    ordered = events[KEY].iloc[rows]
    names = all_names(ordered)
    told = _followed(ordered, codes(ordered["project"]), names)
    file_id = told["file_id"].to_numpy()
    added = {
        "file_id": pd.array(file_id, dtype="Int32"),
        "last_path": pd.Categorical.from_codes(told["last"], names).remove_unused_categories(),
        "version": told["is_change"].groupby(file_id).cumsum().astype("Int32").array,
    }
    shown = np.arange(len(rows))
    if file_path is not None and file_path not in names:
        _say_what_is_named_so(file_path, names)
    if file_path is not None:
        wanted = names.get_indexer(pd.Index([file_path]))[0]
        is_named = (wanted >= 0) & told[["path", "target"]].eq(wanted).any(axis=1).to_numpy(bool)
        shown = np.flatnonzero(np.isin(file_id, file_id[is_named]))
    timeline = events.iloc[rows[shown]].reset_index(drop=True)
    return timeline.assign(**{name: values[shown] for name, values in added.items()})


def _say_what_is_named_so(file_path: str, names: "pd.Index[str]") -> None:
    """A file without an event is no error, as it may come yet; or its folder was forgotten."""
    name = posixpath.basename(file_path)
    near = [path for path in names if posixpath.basename(path) == name][:NAMED]
    found = f" So named: {', '.join(map(visible, near))}." if near else ""
    log.warning("No event is of file %r.%s", file_path, found)


@gives(
    project="category",
    file_path="category",
    events=COUNT,
    reads=COUNT,
    writes=COUNT,
    edits=COUNT,
    deletes=COUNT,
    moves=COUNT,
    failed=COUNT,
    sessions="Int64",
    turns="Int64",
    additions=COUNT,
    deletions=COUNT,
    churn=COUNT,
    lines_unknown=COUNT,
    first_time=FIRST,
    last_time=LAST,
    agents="str",
    models="str",
)
def file_summary(events: pd.DataFrame, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """What each path saw in all: one row a project and path, the busiest first.

    Reads, writes, edits, deletes and moves are completed ones, `failed` those that ended in an
    error, were denied or aborted; a move counts for the path it left. Fork copies, undone turns and
    the user's own calls are left out unless `include` names them ("fork_copies", "undone", "user").
    Source: plain counts; lines are added and removed as git's `--numstat` has them.

    Returns:
        project, file_path (category);
        events, reads, writes, edits, deletes, moves, failed, sessions, turns (Int64);
        additions, deletions, churn (Int64, lines): summed over the changes whose lines are known,
            NA where there were changes and none's are; churn = additions + deletions;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's;
        first_time, last_time (datetime64[us, UTC]);
        agents, models (str): the names, sorted, joined by ", "; NA where no event has one.

    >>> file_summary(events)[["file_path", "reads", "edits", "failed", "churn"]].head(4)
                   file_path  reads  edits  failed  churn
    0        trailmap/cli.py     27     54       2    137
    1  trailmap/elevation.py     20     24       0    109
    2    trailmap/storage.py     12     13       2     30
    3        trailmap/gpx.py     13     11       0     58
    """
    rows = counted(events, include, SUMMED)
    rows = rows[rows["file_path"].notna()]
    number, first = grouped(rows, ["project", "file_path"])
    file = pd.Series(number, index=rows.index)
    totals = event_totals(rows, file)
    for place, name in enumerate(["project", "file_path"]):
        totals.insert(place, name, rows[name].iloc[first].array)
    totals.insert(9, "sessions", distinct(rows, file, ["session_id"]))
    totals.insert(10, "turns", distinct(rows, file, ["session_id", "turn"]))
    in_file = rows["time"].groupby(number)
    totals["first_time"], totals["last_time"] = in_file.min(), in_file.max()
    totals["agents"] = _joined(rows["agent_name"], file)
    totals["models"] = _joined(rows["model"], file)
    by = ["events", "file_path", "project"]
    totals = totals.sort_values(by, ascending=[False, True, True])
    return tidy(totals, file_summary)


def event_totals(rows: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """Counts and lines of file events per group: one row a group, in the order of the groups.

    Columns: events, reads, writes, edits, deletes, moves, failed, additions, deletions, churn,
    lines_unknown, all Int64; lines are NA where there were changes and none's are known.
    """
    done = rows["status"].eq("completed").to_numpy(bool)
    kind = rows["event_type"]
    is_change = is_mutation(rows).to_numpy(bool)
    lines = {name: rows[name].to_numpy("float64", na_value=np.nan) for name in LINES}
    is_known = is_change & ~np.isnan(lines["additions"]) & ~np.isnan(lines["deletions"])
    number, names = pd.factorize(group, sort=True)

    def total(of: Any) -> pd.Series:
        counts = np.bincount(number, of, minlength=len(names))
        return pd.Series(counts.astype("int64"), index=names, dtype="Int64")

    totals = {"events": total(None)}
    for name in ("read", "write", "edit", "delete", "move"):
        totals[f"{name}s"] = total(done & kind.eq(name).to_numpy(bool))
    totals["failed"] = total(rows["status"].isin(FAILED).to_numpy(bool))
    unknown = total(is_change & ~is_known)
    is_unknown = total(is_known).eq(0) & unknown.gt(0)
    for name in LINES:
        totals[name] = total(np.where(is_known, lines[name], 0)).mask(is_unknown)
    totals["churn"] = totals["additions"] + totals["deletions"]
    return pd.DataFrame({**totals, "lines_unknown": unknown})


def distinct(rows: pd.DataFrame, group: pd.Series, columns: list[str]) -> pd.Series:
    """How many different values, or combinations of them, each group has (Int64)."""
    _, first = grouped(rows[columns].assign(_group=group), ["_group", *columns])
    found = group.iloc[first]
    return found.groupby(found).size().astype("Int64")


def last_names(events: pd.DataFrame, owner: "pd.Series[Any]") -> "pd.Series[int]":
    """The last name of the file each event is about, a number; -1 where it names none.

    Completed moves are followed among the events of one owner, a number from 0, as `file_timeline`
    follows them in a project: what was moved is one file under both names.
    """
    names = all_names(events)
    last, target = (numbered(events[column], names) for column in PATHS)
    keys = owner.to_numpy("int64") * len(names)
    is_move = is_mutation(events).to_numpy(bool) & (target >= 0)
    moved = np.append((keys + last)[is_move], (keys + target)[is_move])
    rows = np.flatnonzero((last >= 0) & np.isin(keys + last, moved))  # few: the others keep theirs
    rows = rows[places_in_order(events[["session_id", "seq", "time"]].iloc[rows])]
    last[rows] = _followed(events[KEY].iloc[rows], owner.to_numpy("int64")[rows], names)["last"]
    return pd.Series(last, events.index)


def all_names(rows: pd.DataFrame) -> "pd.Index[str]":
    """Every path these rows name, sorted."""
    old, new = (rows[column].astype("category").cat.categories for column in PATHS)
    names: pd.Index[str] = pd.Index(old.union(new), dtype="str")
    return names


def _followed(events: pd.DataFrame, owner: Numbers, names: "pd.Index[str]") -> pd.DataFrame:
    """The file each event is about, events in order; two owners never share one.

    Columns: file_id; path, target (-1 for what is no lasting move) and last, as places among the
    names; is_change.
    """
    path, target = (numbered(events[column], names) for column in PATHS)
    lasts = ~(events["is_fork_copy"] | events["is_undone"]).to_numpy(bool)
    is_change = is_mutation(events).to_numpy(bool) & lasts
    is_move = is_change & events["event_type"].eq("move").to_numpy(bool) & (target >= 0)
    is_proof = lasts & events["status"].eq("completed").to_numpy(bool)
    keys = (owner + 1) * len(names)
    file_id = _file_ids(
        keys + path,
        np.where(is_move, keys + target, -1),
        is_delete=is_change & events["event_type"].eq("delete").to_numpy(bool),
        is_proof=is_proof,
    )
    after = pd.Series(np.where(is_move, target, path))
    last = after.where(is_proof).groupby(file_id).transform("last").fillna(after).astype("int64")
    target = np.where(is_move, target, -1)
    told = {"file_id": file_id, "path": path, "target": target, "is_change": is_change}
    return pd.DataFrame({**told, "last": last})


def _file_ids(path: Numbers, target: Numbers, *, is_delete: Flags, is_proof: Flags) -> Numbers:
    """Which file each event is about, events in order; `target` is -1 for what is no lasting move.

    A path that was moved away or deleted is another file from its next completed event on: a failed
    try there still meant the one that was. So each path's events fall into stretches that are one
    file each, and a stretch that a move began goes on with the file of the one it left.
    """
    events = np.arange(len(path))
    moves = np.flatnonzero(target >= 0)
    # A move is there twice: where it left, and, just after, where it arrived.
    at, event = np.append(path, target[moves]), np.append(events, moves)
    is_arrival = np.append(np.zeros(len(path), dtype=bool), np.ones(len(moves), dtype=bool))
    order = np.lexsort((2 * event + is_arrival, at))
    at, event, is_arrival = at[order], event[order], is_arrival[order]
    says = is_arrival | is_proof[event]  # what tells who is there
    leaves = ~is_arrival & ((target >= 0) | is_delete)[event]
    place = np.arange(len(at))
    is_first = np.append(True, at[1:] != at[:-1])[: len(at)]
    start = np.maximum.accumulate(np.where(is_first, place, 0))
    told = np.append(-1, np.maximum.accumulate(np.where(says, place, -1))[:-1])[: len(at)]
    is_left = (told >= start) & leaves[told]
    stretch = np.cumsum(is_first | is_arrival | (says & is_left)) - 1
    own = np.empty(len(path), dtype="int64")
    own[event[~is_arrival]] = stretch[~is_arrival]
    goes_on = np.arange(int(stretch[-1]) + 1 if len(stretch) else 0)
    goes_on[stretch[is_arrival]] = own[event[is_arrival]]
    while not np.array_equal(further := goes_on[goes_on], goes_on):
        goes_on = further
    return pd.factorize(goes_on[own])[0].astype("int64")


def _joined(names: pd.Series, group: pd.Series) -> pd.Series:
    """The different names of each group, sorted, as one text."""
    pairs = pd.DataFrame({"group": group, "name": names.astype("category")}).drop_duplicates()
    pairs = pairs.dropna().astype({"name": "str"}).sort_values(["group", "name"])
    texts, starts = pairs["name"].tolist(), np.flatnonzero(~pairs["group"].duplicated())
    stretches = pairwise([*starts, len(texts)])
    joined = [", ".join(texts[start:end]) for start, end in stretches]
    return pd.Series(joined, index=pairs["group"].to_numpy()[starts], dtype="str")
