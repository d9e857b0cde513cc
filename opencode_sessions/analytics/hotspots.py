"""Where change and size meet: the files that are long and changed again and again."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from .counting import Extra, Floats, Numbers, counted, grouped, is_mutation
from .files import KEY, LINES, file_timeline
from .results import COUNT, gives, tidy

TOUCHED = ["start_line", "end_line"]
READ = [*KEY, "session_id", "turn", "seq", "time", "actor", "is_new_file", *TOUCHED, *LINES]


@gives(
    project="category",
    file_path="category",
    turns="Int64",
    mutations=COUNT,
    lines="Int64",
    turns_rank="float64",
    lines_rank="float64",
    score="float64",
)
def hotspots(events: pd.DataFrame, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """The files that are both long and changed in many turns, the hottest first.

    score = turns_rank * lines_rank, from 0 to 1. A rank is the share of the project's files here
    that have as many or fewer, ties in the middle (`rank(pct=True)`): scores compare within a
    project alone, where the hottest of a small one has 1 as well. A file that was renamed is
    one under its last name; one that is deleted is no hotspot any more. Fork copies, undone turns
    and the user's own calls are left out unless `include` names them. Source: what Tornhill's *Your
    Code as a Crime Scene* makes of revisions and lines of code, with turns for revisions.

    Returns, one row a project and file with a completed change:
        project, file_path (category): the file under its last name;
        turns (Int64): turns with a completed change of it; mutations (Int64): those changes;
        lines (Int64, lines): how long it is, as far as its events tell: as long as it was written,
            plus what changes added and removed since, and no shorter than any line that was read or
            touched. It is short of the truth where the end was never seen; NA where nothing tells;
        turns_rank, lines_rank, score (float64, share); NA where `lines` is.

    >>> hotspots(events)[["file_path", "turns", "mutations", "lines", "score"]].head(3).round(2)
                   file_path  turns  mutations  lines  score
    0        trailmap/cli.py     17         54    146   1.00
    1  trailmap/elevation.py      8         25     69   0.95
    2   trailmap/web/page.py      6         12     51   0.89
    """
    timeline = file_timeline(counted(events, include, READ), include=include)
    timeline = timeline[timeline["status"].eq("completed")]
    file, first = grouped(timeline, ["project", "last_path"])
    is_change = is_mutation(timeline).to_numpy(bool)
    changed = timeline[is_change].assign(file=file[is_change])
    _, first_of_turn = grouped(changed, ["file", "session_id", "turn"])
    last = np.empty(len(first), dtype="int64")
    last[file] = np.arange(len(file))
    table = timeline.iloc[first][["project"]].assign(
        file_path=timeline["last_path"].iloc[first],
        turns=np.bincount(changed["file"].iloc[first_of_turn], minlength=len(first)),
        mutations=np.bincount(changed["file"], minlength=len(first)),
        lines=_lines(timeline, file, last),
        is_there=timeline["event_type"].iloc[last].ne("delete").to_numpy(bool),
    )
    table = table[table["mutations"].gt(0) & table["is_there"]]
    in_project = table.groupby("project", observed=True, dropna=False)
    for name in ("turns", "lines"):
        table[f"{name}_rank"] = in_project[name].rank(pct=True)
    table["score"] = table["turns_rank"] * table["lines_rank"]
    by = ["score", "turns", "project", "file_path"]
    return tidy(table.sort_values(by, ascending=[False, False, True, True]), hotspots)


def _lines(timeline: pd.DataFrame, file: Numbers, last: Numbers) -> Floats:
    """How long each file is after its last event, as far as these events tell; NaN if they do not.

    A write makes the file as long as itself. From there an event adds its lines, and one that shows
    line n says the file has n at least: length = max(length + added - removed, n).
    """
    order = np.argsort(file, kind="stable")
    rows = timeline.iloc[order]
    is_change = is_mutation(rows).to_numpy(bool)
    is_anew = rows["event_type"].isin(["write", "delete"]).to_numpy(bool)
    added, removed = (rows[name].to_numpy("float64", na_value=0) for name in LINES)
    grown = np.where(is_change & ~is_anew, added - removed, 0)
    start, seen = (rows[name].to_numpy("float64", na_value=np.nan) for name in TOUCHED)
    # Where lines were removed at the end, the line after it was touched; what was added is there.
    least = np.where(is_change, start + added - 1, np.nan)
    seen = np.fmax(seen - (is_change & (removed > 0)), least)
    is_first = np.append(True, np.diff(file[order]) != 0)[: len(order)]
    stretch = np.cumsum(is_anew | is_first)
    total = pd.Series(grown).groupby(stretch).cumsum()
    # A running maximum of sums is one of plain numbers, once the sums so far are taken off.
    at_least = (pd.Series(seen) - total).groupby(stretch).cummax().groupby(stretch).ffill()
    length = np.empty(len(order))
    length[order] = (at_least + total).clip(lower=0)
    return length[last]
