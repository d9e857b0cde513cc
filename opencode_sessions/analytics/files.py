"""What happened to each file: its whole history under all its names, and its totals."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from .counting import (
    FAILED,
    Extra,
    Flags,
    Numbers,
    codes,
    counted,
    is_counted,
    is_mutation,
    numbered,
    places_in_order,
)

PATHS = ["file_path", "new_file_path"]
# What a timeline is worked out from.
KEY = ["project", *PATHS, "event_type", "status", "is_fork_copy", "is_undone"]


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
    make no version.

    Returns the columns of `events` and:
        file_id (Int32): the file, whatever its name; from 0 as files first appear in `events`.
        last_path (category): the last name it had.
        version (Int32): its completed changes so far, this one included; 0 is the file as found.

    >>> file_timeline(events, "units.py")[["event_type", "file_path", "status", "version"]]
      event_type   file_path     status  version
    0       read  convert.py  completed        0
    1       edit  convert.py      error        0
    2       edit  convert.py  completed        1
    3       move  convert.py  completed        2
    4       edit    units.py  completed        3
    """
    rows = np.flatnonzero(is_counted(events, include) & events["file_path"].notna())
    rows = rows[places_in_order(events[["session_id", "seq", "time"]].iloc[rows])]
    ordered = events[KEY].iloc[rows]
    names = _names(ordered)
    path = numbered(ordered["file_path"], names)
    target = numbered(ordered["new_file_path"], names)
    lasts = ~(ordered["is_fork_copy"] | ordered["is_undone"]).to_numpy(bool)
    is_change = is_mutation(ordered).to_numpy(bool) & lasts
    is_move = is_change & ordered["event_type"].eq("move").to_numpy(bool) & (target >= 0)
    is_delete = is_change & ordered["event_type"].eq("delete").to_numpy(bool)
    is_proof = lasts & ordered["status"].eq("completed").to_numpy(bool)
    project = codes(ordered["project"]) + 1
    file_id = _file_ids(
        project * len(names) + path,
        np.where(is_move, project * len(names) + target, -1),
        is_delete=is_delete,
        is_proof=is_proof,
    )
    after = pd.Series(np.where(is_move, target, path))
    last = after.where(is_proof).groupby(file_id).transform("last").fillna(after).astype("int64")
    added = {
        "file_id": pd.array(file_id, dtype="Int32"),
        "last_path": pd.Categorical.from_codes(last, names).remove_unused_categories(),
        "version": pd.Series(is_change).groupby(file_id).cumsum().astype("Int32").array,
    }
    shown = np.arange(len(rows))
    if file_path is not None:
        wanted = names.get_indexer(pd.Index([file_path]))[0]
        is_named = (wanted >= 0) & ((path == wanted) | (is_move & (target == wanted)))
        shown = np.flatnonzero(np.isin(file_id, file_id[is_named]))
    timeline = events.iloc[rows[shown]].reset_index(drop=True)
    return timeline.assign(**{name: values[shown] for name, values in added.items()})


def file_summary(events: pd.DataFrame, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """What each path saw in all: one row a project and path, the busiest first.

    Reads, writes, edits, deletes and moves are completed ones, `failed` those that ended in an
    error, were denied or aborted; a move counts for the path it left. Fork copies, undone turns and
    the user's own calls are left out unless `include` names them ("fork_copies", "undone", "user").

    Returns:
        project, file_path (category);
        events, reads, writes, edits, deletes, moves, failed, sessions, turns (Int64);
        additions, deletions, churn (Int64, lines): summed over the changes whose lines are known,
            NA where there were changes and none's are; churn = additions + deletions;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's;
        first_time, last_time (datetime64[us, UTC]);
        agents, models (str): the names, sorted, joined by ", "; NA where no event has one.

    >>> file_summary(events)[["file_path", "reads", "edits", "moves", "failed", "churn"]]
        file_path  reads  edits  moves  failed  churn
    0  convert.py      1      1      1       1      4
    1    notes.md      0      0      0       0   <NA>
    2    units.py      0      1      0       0      4
    """
    rows = counted(events, include)
    rows = rows[rows["file_path"].notna()]
    file = rows.groupby(["project", "file_path"], observed=True, dropna=False, sort=False).ngroup()
    totals = event_totals(rows, file)
    in_file = rows.groupby(file)
    totals.insert(0, "project", in_file["project"].first())
    totals.insert(1, "file_path", in_file["file_path"].first())
    totals.insert(9, "sessions", distinct(rows, file, ["session_id"]))
    totals.insert(10, "turns", distinct(rows, file, ["session_id", "turn"]))
    totals["first_time"] = in_file["time"].min()
    totals["last_time"] = in_file["time"].max()
    totals["agents"] = _joined(rows["agent_name"], file)
    totals["models"] = _joined(rows["model"], file)
    by = ["events", "file_path", "project"]
    return totals.sort_values(by, ascending=[False, True, True], ignore_index=True)


def event_totals(rows: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """Counts and lines of file events per group: one row a group, in the order of the groups.

    Columns: events, reads, writes, edits, deletes, moves, failed, additions, deletions, churn,
    lines_unknown, all Int64; lines are NA where there were changes and none's are known.
    """
    done = rows["status"].eq("completed")
    kind = rows["event_type"]
    is_change = is_mutation(rows)
    is_known = is_change & rows["additions"].notna() & rows["deletions"].notna()
    flags = {
        f"{name}s": done & kind.eq(name) for name in ("read", "write", "edit", "delete", "move")
    }
    counts = pd.DataFrame(
        {
            "events": 1,
            **flags,
            "failed": rows["status"].isin(FAILED),
            "additions": rows["additions"].where(is_known, 0),
            "deletions": rows["deletions"].where(is_known, 0),
            "lines_unknown": is_change & ~is_known,
            "known": is_known,
        },
        index=rows.index,
    )
    totals = counts.astype("Int64").groupby(group).sum()
    is_unknown = totals.pop("known").eq(0) & totals["lines_unknown"].gt(0)
    for lines in ("additions", "deletions"):
        totals[lines] = totals[lines].mask(is_unknown)
    totals.insert(9, "churn", totals["additions"] + totals["deletions"])
    return totals


def distinct(rows: pd.DataFrame, group: pd.Series, columns: list[str]) -> pd.Series:
    """How many different values, or combinations of them, each group has (Int64)."""
    pairs = rows[columns].assign(_group=group).drop_duplicates()
    return pairs.groupby("_group").size().astype("Int64")


def _names(rows: pd.DataFrame) -> "pd.Index[str]":
    """Every path these rows name, sorted."""
    old, new = (rows[column].astype("category").cat.categories for column in PATHS)
    names: pd.Index[str] = pd.Index(old.union(new), dtype="str")
    return names


def _file_ids(path: Numbers, target: Numbers, *, is_delete: Flags, is_proof: Flags) -> Numbers:
    """Which file each event is about, events in order; `target` is -1 for what is no lasting move.

    A path that was moved away or deleted is another file from its next completed event on: a failed
    try there still meant the one that was. Only what moves and deletes touch needs the walk.
    """
    ends = np.flatnonzero((target >= 0) | is_delete)
    touched = np.union1d(path[ends], target[ends])
    keys = path.copy()  # a path nobody moved is its file's key
    current: dict[int, int] = {}
    left: set[int] = set()
    fresh = int(path.max(initial=0)) + 1
    for row in np.flatnonzero(np.isin(path, touched)):
        at, to = int(path[row]), int(target[row])
        if at not in current or (at in left and is_proof[row]):
            current[at], fresh = fresh, fresh + 1
            left.discard(at)
        keys[row] = current[at]
        if to >= 0 or is_delete[row]:
            left.add(at)
        if to >= 0:
            current[to] = current[at]
            left.discard(to)
    return pd.factorize(keys)[0].astype("int64")


def _joined(names: pd.Series, group: pd.Series) -> pd.Series:
    """The different names of each group, sorted, as one text."""
    pairs = pd.DataFrame({"name": names, "group": group}).drop_duplicates().dropna()
    pairs["name"] = pairs["name"].astype("str")
    return pairs.sort_values("name").groupby("group")["name"].agg(", ".join).astype("str")
