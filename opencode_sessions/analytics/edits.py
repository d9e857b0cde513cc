"""How the agent changes files: whether it had looked at them, and whether it wrote them anew."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from .columns import TIME
from .counting import SHELL_MADE, Extra, Flags, Floats, Numbers, columns_of, counted
from .frames import Frames
from .ratios import ratio
from .results import COUNT, gives, share, tidy
from .touches import (
    DELETE,
    EDIT,
    MOVE,
    NEVER,
    READ,
    WRITE,
    Touches,
    changed_by_others,
    touches,
)

INFORMED_BY = ("read", "attachment", "own change")
# What a touch does to what is known of the lines, and whether a judged change can be told of.
NOTHING, SEES, GUESSES, KNOWS_ALL, KNOWS_NONE, CHANGES = range(6)
CAN_TELL = 2
SHOWN = [
    *("session_id", "project", "agent_name", "model", "event_id", "turn", "seq", "time"),
    *("tool", "event_type", "file_path"),
]


@gives(
    session_id="category",
    project="category",
    agent_name="category",
    model="category",
    event_id="str",
    turn="Int32",
    seq="Int32",
    time=TIME,
    tool="category",
    event_type="category",
    file_path="category",
    informed_by="category",
    is_stale="bool",
    is_blind="boolean",
)
def blind_edits(
    frames: Frames, region: bool = False, *, include: Extra | Collection[Extra] = ()
) -> pd.DataFrame:
    """Changes of files that were there, and whether the agent had seen the file before.

    A change is informed if a completed read of the path, a file the user attached, or a change of
    its own came earlier in the session, and no other session changed the file since; else it is
    blind. A fork has seen what was copied into it; a subagent has seen nothing. Only calls that
    name what they change are judged (write, edit, apply_patch), not what commands did: those inform
    of nothing either, but a move by any means takes along what is known. A write is judged where
    the file is known to have been there; a move that changes no line is not judged. With `region`
    it is lines that must have been seen: those the change touches, or the ones beside an insertion,
    since the context was last compacted (`is_blind` is NA where the lines are not known). What a
    search or a command printed of a file is no read of it: who edits by the results of `grep` edits
    blind. The rate is `1 - mean(informed)`: `rates(blind_edits(frames), "is_blind", by="model")`.
    Source: this package's; up to 1.2 opencode's `edit` and `write` refused what was not read
    before.

    Returns, one row a change, in the order they happened:
        session_id, project, agent_name, model, event_id, turn, seq, time, tool, event_type,
            file_path: as in `frames.file_events`;
        informed_by (category): the last of read, attachment, own change that came earlier; NA if
            nothing did;
        is_stale (bool): another session changed the file after that;
        is_blind (boolean).

    >>> blind = blind_edits(frames)
    >>> blind[["event_type", "file_path", "informed_by", "is_stale", "is_blind"]].iloc[88:92]
       event_type        file_path informed_by  is_stale  is_blind
    88       edit  trailmap/cli.py  own change     False     False
    89       edit  trailmap/cli.py  own change     False     False
    90       edit  trailmap/cli.py        read      True      True
    91       edit  trailmap/cli.py  own change      True      True
    """
    events = frames.file_events
    found = touches(frames, include)
    judged = np.flatnonzero(_is_judged(events, found))
    informs = ~found.is_change | ~found.by_shell | found.is_target
    source = found.last(informs)[judged]
    foreign = changed_by_others(found)
    is_stale = (source >= 0) & (foreign[judged] > found.time[source])
    is_blind = pd.array((source < 0) | is_stale, dtype="boolean")
    if region:
        open_ = ~((source < 0) | is_stale)
        is_blind[open_] = _misses_lines(events, found, judged[open_], foreign)
    kind = np.where(found.is_change[source], 2, np.where(found.event[source] < 0, 1, 0))
    kind = np.where(source < 0, -1, kind).astype("int64")
    table = events[SHOWN].iloc[found.event[judged]]
    table = table.assign(
        informed_by=pd.Categorical.from_codes(kind, pd.Index(INFORMED_BY)),
        is_stale=is_stale,
        is_blind=is_blind,
    )
    order = np.lexsort((table["seq"], found.session[judged], found.time[judged]))
    return tidy(table.iloc[order], blind_edits)


def _is_judged(events: pd.DataFrame, found: Touches) -> Flags:
    """Whether each touch is a change, named by its call, of a file that was there."""
    row, kind = found.event, found.kind
    is_new = np.append(events["is_new_file"].to_numpy("float64", na_value=np.nan), np.nan)[row]
    before = np.arange(len(row)) - 1
    was_left = (kind == DELETE) | ((kind == MOVE) & ~found.is_target)
    was_there = (before >= found.start) & ~was_left[before]
    is_there = np.where(np.isnan(is_new), (kind != WRITE) | was_there, is_new == 0)
    added, removed = (np.append(column, 0)[row] for column in _lines(events, 0))
    is_rename = (kind == MOVE) & (added + removed == 0)
    named = found.counts & found.is_change & ~found.by_shell & ~found.is_target
    judged: Flags = named & is_there & ~is_rename
    return judged


def _misses_lines(
    events: pd.DataFrame, found: Touches, judged: Numbers, foreign: Numbers
) -> pd.arrays.BooleanArray:
    """Whether each judged change touches no line that was seen; NA where that is not known.

    What a session knows of a path is a list of stretches of lines, as they are numbered now: a
    change moves what is below it, and what it writes is known.
    """
    # A session's touches of a path in one context, up to the last change that is asked about.
    one = (np.diff(found.of) == 0) & (np.diff(found.context) == 0)
    place = np.cumsum(np.append(True, ~one)[: len(found.of)]) - 1
    end = np.full(len(found.of), -1)
    np.maximum.at(end, place[judged], judged)
    is_asked = np.zeros(len(found.of), dtype=bool)
    is_asked[judged] = True
    rows = np.flatnonzero(np.arange(len(end)) <= end[place])
    kind, first, last = found.kind[rows], found.first_line[rows], found.last_line[rows]
    added, removed = (np.append(of, np.nan)[found.event[rows]] for of in _lines(events, np.nan))
    more = added - removed
    # A pure removal is told to be at the line after it: it touches none of what is there now.
    last = np.where((added == 0) & (removed > 0), first - 1, last)
    has_lines = ((kind == EDIT) | (kind == MOVE)) & (first > 0) & ~np.isnan(more)
    until = np.where(has_lines, last - more, np.inf)  # as lines were numbered before
    is_empty = until < first  # an insertion touches the lines beside it
    low, high = np.where(is_empty, first - 1, first), np.where(is_empty, first, until)
    can_tell = has_lines | (kind == WRITE) | (kind == DELETE)
    asks = np.where(is_asked[rows], np.where(can_tell, CAN_TELL, 1), 0)
    does = np.select(
        [kind == READ, found.is_target[rows], found.by_shell[rows]],
        [SEES, GUESSES, NOTHING],
        np.select([kind == WRITE, kind == DELETE, has_lines], [KNOWS_ALL, KNOWS_NONE, CHANGES], 0),
    )
    given = (
        *(place[rows], does, asks, found.time[rows], foreign[rows]),
        *(first, last, until, more, low, high),
    )
    misses: list[bool | None] = []
    known: list[tuple[float, float, int]] = []
    here, is_guess, told = -1, False, NEVER
    for at, what, asked, time, changed, begin, stop, before, grown, lowest, highest in zip(
        *(column.tolist() for column in given), strict=True
    ):
        if at != here:
            here, known, is_guess, told = at, [], False, NEVER
        if changed != told:  # by another session: only what was seen since counts
            known, told = [stretch for stretch in known if stretch[2] >= changed], changed
        if what == SEES:
            known.append((begin, stop, time))
            is_guess = is_guess or not begin
            continue
        if asked == CAN_TELL and not is_guess:
            for a, b, _ in known:
                if a <= highest and lowest <= b:
                    misses.append(False)
                    break
            else:
                misses.append(True)
        elif asked:
            misses.append(None)
        if what == CHANGES:
            if known:
                known = _shifted(known, begin, before, grown)
            if begin <= stop:
                known.append((begin, stop, time))
        elif what == GUESSES:
            is_guess = True
        elif what != NOTHING:
            known, is_guess = [(1, np.inf, time)] if what == KNOWS_ALL else [], False
    return pd.array(misses, dtype="boolean")


def _lines(events: pd.DataFrame, unknown: float) -> list[Floats]:
    """Lines added and removed by each event."""
    return [events[n].to_numpy("float64", na_value=unknown) for n in ("additions", "deletions")]


def _shifted(
    known: list[tuple[float, float, int]], first: float, end: float, more: float
) -> list[tuple[float, float, int]]:
    """The stretches as they are numbered when lines from first to end became more, or fewer."""
    shifted = []
    for a, b, time in known:
        if a < first and b > end:  # what is between is written now, or gone
            shifted.append((a, b + more, time))
        elif a < first:
            shifted.append((a, min(b, first - 1), time))
        elif b > end:
            shifted.append((max(a, end + 1) + more, b + more, time))
    return shifted


@gives("by", writes=COUNT, edits=COUNT, changes=COUNT, overwrite_rate=share("writes", "changes"))
def overwrites(
    events: pd.DataFrame,
    by: str | Sequence[str] = "session_id",
    *,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """How often a file that was there is written anew instead of edited.

    Completed calls alone; a write that is not known to have found a file is not counted, nor is
    what commands changed. `by` is one or several columns of the events. Fork copies, undone turns
    and the user's own calls are left out unless `include` names them. Source: this package's.

    Returns, one row a group with any of them, sorted by `by`, so that no rate is NA:
        the columns of `by`;
        writes (Int64): writes over a file that was there; edits (Int64);
        changes (Int64): both; overwrite_rate (float64): writes / changes, from 0 to 1.

    Raises:
        ValueError: `by` names no column.

    >>> overwrites(events, by="model")
             model  writes  edits  changes  overwrite_rate
    0  gpt-5-cedar       0     20       20        0.000000
    1   pine-large       1    185      186        0.005376
    2    pine-mini       0    156      156        0.000000
    """
    columns = columns_of(by, events.columns)
    wanted = ["event_type", "status", "evidence", "is_new_file", *columns]
    rows = counted(events, include, list(dict.fromkeys(wanted)))
    rows = rows[rows["status"].eq("completed") & ~rows["evidence"].isin(SHELL_MADE)]
    was_there = rows["is_new_file"].eq(False).to_numpy(bool, na_value=False)
    over = rows["event_type"].eq("write") & was_there
    cases = rows[columns].assign(writes=over, edits=rows["event_type"].eq("edit"))
    cases = cases[cases["writes"] | cases["edits"]].astype({"writes": "Int64", "edits": "Int64"})
    table = cases.groupby(columns, observed=True, dropna=False)[["writes", "edits"]].sum()
    table["changes"] = table["writes"] + table["edits"]
    table["overwrite_rate"] = ratio(table["writes"], table["changes"])
    return tidy(table.reset_index(), overwrites, columns)
