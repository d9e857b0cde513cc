"""How far changes reach: over the folders of a project, and into each other's way."""

from collections.abc import Collection
from posixpath import dirname

import numpy as np
import pandas as pd

from .columns import TIME
from .counting import Extra, Floats, Numbers, counted, expanded, grouped, mutations, numbered
from .files import KEY, LINES, PATHS, all_names, event_totals, file_timeline
from .results import COUNT, gives, tidy

CHANGED = ["session_id", "project", "turn", "seq", "time", "event_type", "status", *PATHS, *LINES]
CONTENDED = [*KEY, "session_id", "root_session_id", "origin", "seq", "time", "actor"]


@gives(
    session_id="category",
    project="category",
    turn="Int32",
    time=TIME,
    paths="Int64",
    folders="Int64",
    top_folders="Int64",
    churn=COUNT,
    lines_unknown=COUNT,
    entropy="float64",
)
def blast_radius(events: pd.DataFrame, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """How widely each turn's changes are spread, one row a turn that changed something, in order.

    entropy H = -sum p_d log2 p_d in bits, p_d being the share of the turn's churn in folder d: 0 is
    all in one folder, log2(folders) evenly over all of them. A folder is the one the file is in;
    `top_folders` are the first ones of the paths. Fork copies, undone turns and the user's own
    calls are left out unless `include` names them. Source: Hassan's complexity of changes (ICSE
    2009), with folders for files and turns for months.

    Returns:
        session_id, project (category), turn (Int32), time (of the first change);
        paths (Int64): different paths that completed changes name, a move's both;
        folders, top_folders (Int64): the different folders of these paths, and first folders; the
            worktree itself is one;
        churn (Int64, lines): added and removed, NA where no change's lines are known;
        lines_unknown (Int64): changes whose lines are not known; they are not in the entropy;
        entropy (float64, bits): NA where the churn is 0 or NA. A move's lines are where it went.

    >>> columns = ["turn", "paths", "folders", "churn", "lines_unknown", "entropy"]
    >>> blast_radius(events)[columns].head(3).round(2)
       turn  paths  folders  churn  lines_unknown  entropy
    0     1      5        4    101              0     1.41
    1     2      3        3     18              2     0.50
    2     1      3        2     87              0     0.91
    """
    changes = mutations(counted(events, include, CHANGED)).sort_values(["session_id", "seq"])
    turn, first = grouped(changes, ["session_id", "turn"])
    names = all_names(changes)
    left, went = (numbered(changes[column], names) for column in PATHS)
    moved = went >= 0
    turn_of, path = np.append(turn, turn[moved]), np.append(left, went[moved])
    turn_of, path = turn_of[path >= 0], path[path >= 0]
    folder, top = (pd.factorize(names.map(part))[0] for part in (dirname, _top))
    totals = event_totals(changes, pd.Series(turn))
    table = changes[["session_id", "project", "turn", "time"]].iloc[first].reset_index(drop=True)
    for name, of in (("paths", path), ("folders", folder[path]), ("top_folders", top[path])):
        pairs = pd.DataFrame({"turn": turn_of, "of": of}).drop_duplicates()
        table[name] = np.bincount(pairs["turn"], minlength=len(first))
    table[["churn", "lines_unknown"]] = totals[["churn", "lines_unknown"]]
    lines = changes[LINES].sum(axis=1, skipna=False).to_numpy("float64", na_value=0)
    where = folder[np.where(moved, went, left)]
    table["entropy"] = _entropy(turn, where, lines, len(first))
    return tidy(table.sort_values(["time", "session_id", "turn"]), blast_radius)


@gives(
    project="category",
    file_path="category",
    session_id="category",
    other_session_id="category",
    is_related="bool",
    changes="Int64",
    other_changes="Int64",
    start=TIME,
    end=TIME,
    overlap_s="float64",
)
def contention(events: pd.DataFrame, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """Which sessions' work on one file overlapped: one row a file and pair of them.

    A session is at a file from its first completed change of it to its last, breaks of any length
    with it: who comes back after one may not know what was changed in between. Two are in each
    other's way where these overlap, so that one changed what the other had made and went on from.
    A file that was renamed is one under its last name; what was imported from another machine
    (`origin`) is another file. Fork copies, undone turns and the user's own calls are left out
    unless `include` names them. Source: this package's.

    Returns, by project, file and time, no number or time NA (changes without a time are left out):
        project, file_path (category): the file under its last name;
        session_id, other_session_id (category): the one that came first, and the other;
        is_related (bool): one is the other's subagent, or both are of one session;
        changes, other_changes (Int64): completed changes of the file by each, in all;
        start, end (datetime64[us, UTC]): from when to when both were at it, or in a break;
        overlap_s (float64, seconds): how long that is; 0 where one changed it once in between.

    >>> pairs = contention(events)
    >>> pairs[["file_path", "changes", "other_changes", "overlap_s"]].iloc[2:5].round(1)
             file_path  changes  other_changes  overlap_s
    2  trailmap/cli.py        4              6        0.7
    3  trailmap/cli.py       11              4      209.8
    4  trailmap/cli.py        4             11       21.3
    """
    changes = mutations(counted(events, include, CONTENDED)).dropna(subset="time")
    changes = file_timeline(changes, include=include)
    file, _ = grouped(changes, ["project", "origin", "last_path"])
    at, first = grouped(changes.assign(_file=file), ["_file", "session_id"])
    times = changes["time"].groupby(at)
    stays = changes[["project", "last_path", "session_id", "root_session_id"]].iloc[first]
    stays = stays.assign(file=file[first], start=times.min().array, end=times.max().array)
    stays["changes"] = np.bincount(at, minlength=len(first))
    stays = stays.sort_values(["file", "start", "end"], ignore_index=True)
    one, other = _overlaps(stays["file"], stays["start"], stays["end"])
    ours, theirs = (stays.iloc[rows].reset_index(drop=True) for rows in (one, other))
    table = pd.DataFrame(
        {
            "project": ours["project"],
            "file_path": ours["last_path"],
            "session_id": ours["session_id"],
            "other_session_id": theirs["session_id"],
            "is_related": ours["root_session_id"].eq(theirs["root_session_id"]),
            "changes": ours["changes"],
            "other_changes": theirs["changes"],
            "start": theirs["start"],
            "end": ours["end"].where(ours["end"] < theirs["end"], theirs["end"]),
        }
    )
    table["overlap_s"] = (table["end"] - table["start"]).dt.total_seconds()
    by = ["project", "file_path", "start", "session_id", "other_session_id"]
    return tidy(table.sort_values(by), contention)


def _top(path: str) -> str:
    """The first folder of a path, "" for a file in the worktree itself."""
    folder = dirname(path)
    return folder[: folder.find("/", 1)] if "/" in folder[1:] else folder


def _entropy(group: Numbers, part: Numbers, weight: Floats, groups: int) -> Floats:
    """The entropy in bits of each group's weight over its parts; NaN where it has none."""
    parts = pd.DataFrame({"group": group, "part": part, "weight": weight})
    parts = parts[parts["weight"] > 0].groupby(["group", "part"])["weight"].sum().reset_index()
    whole = np.bincount(parts["group"], parts["weight"], minlength=groups)
    share = parts["weight"] / whole[parts["group"]]
    entropy = np.bincount(parts["group"], -share * np.log2(share), minlength=groups)
    return np.where(whole > 0, np.maximum(entropy, 0), np.nan)  # no -0


def _overlaps(file: pd.Series, start: pd.Series, end: pd.Series) -> tuple[Numbers, Numbers]:
    """The pairs of rows of one file whose times overlap; rows come by file and start."""
    rank = pd.factorize(pd.concat([start, end]), sort=True)[0].astype("int64")
    key = file.to_numpy("int64") * (int(rank.max(initial=0)) + 1)
    starts, ends = key + rank[: len(file)], key + rank[len(file) :]
    ends = np.searchsorted(starts, ends, side="right")  # who starts after has not met it
    return expanded(np.arange(len(file)) + 1, ends)
