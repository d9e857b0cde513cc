"""What the agent reads: how that fits what it changes, and what it had before its eyes already."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from .columns import TIME
from .costs import BYTES_A_TOKEN
from .counting import (
    Extra,
    Numbers,
    columns_of,
    counted,
    expanded,
    grouped,
    numbered,
    places_in_order,
)
from .files import all_names
from .frames import Frames
from .ratios import ratio
from .results import COUNT, gives, share, tidy
from .touches import KINDS, Touches, changed_by_others, touches

COVERED = 0.9  # of its lines, from which on a read is redundant
MOST_READS = 200  # of one file and nothing else changed: older ones of them are not looked at
FAR = 2**32  # more than any line number
SCOPE = [
    *("session_id", "project", "seq", "time", "file_path", "new_file_path", "event_type"),
    *("status", "is_new_file"),
]
SHOWN = [
    *("session_id", "project", "agent_name", "model", "event_id", "turn", "seq", "time"),
    *("file_path", "start_line", "end_line"),
]


@gives(
    "by",
    reads=COUNT,
    changes=COUNT,
    reads_per_change=share("reads", "changes"),
    files_read=COUNT,
    files_read_changed=COUNT,
    precision=share("files_read_changed", "files_read"),
    files_changed=COUNT,
    files_changed_read=COUNT,
    recall=share("files_changed_read", "files_changed"),
)
def scope(
    events: pd.DataFrame,
    by: str | Sequence[str] = "session_id",
    *,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """How much is read for what is changed: one row a group of `by` with any of either, sorted.

    Completed reads and changes, whatever made them; in which order they came is what `blind_edits`
    asks. A file was there unless the first change of it in the group made it, or may have, or a
    move brought it to this path. A move counts for the path it left. `by` is one or several columns
    of the events. Fork copies, undone turns and the user's own calls are left out unless `include`
    names them ("fork_copies", "undone", "user"). Source: precision and recall of information
    retrieval, of files: read is found, changed is wanted.

    Returns:
        the columns of `by`;
        reads, changes (Int64): events; reads_per_change (float64): reads / changes;
        files_read, files_read_changed (Int64): paths read, and those of them changed as well;
        precision (float64): files_read_changed / files_read;
        files_changed, files_changed_read (Int64): paths changed that were there, and those of them
            read as well;
        recall (float64): files_changed_read / files_changed. All ratios are NA at 0/0.

    Raises:
        ValueError: `by` names no column.

    >>> scope(events, by="model")[["model", "reads", "changes", "precision", "recall"]].round(2)
             model  reads  changes  precision  recall
    0  gpt-5-cedar     22       45       0.82    0.31
    1   pine-large    177      229       0.73    0.87
    2    pine-mini     85      164       0.90    0.81
    """
    columns = columns_of(by, events.columns)
    rows = counted(events, include, list(dict.fromkeys([*SCOPE, *columns])))
    done = rows["status"].eq("completed") & rows["file_path"].notna()
    rows = rows[done & rows["event_type"].isin(KINDS)]
    rows = rows.iloc[places_in_order(rows)].reset_index(drop=True)
    is_move = rows["new_file_path"].notna() & rows["event_type"].eq("move")
    file = list(dict.fromkeys([*columns, "project"]))
    # Where a move arrived is a row more: there the file is not met, but brought.
    keys = pd.concat([rows, rows[is_move]], ignore_index=True)[file]
    names = all_names(rows)
    target = numbered(rows["new_file_path"], names)[is_move]
    keys["path"] = np.append(numbered(rows["file_path"], names), target)
    path, first = grouped(keys, [*file, "path"])
    path, arrived = path[: len(rows)], path[len(rows) :]
    is_read = rows["event_type"].eq("read").to_numpy(bool)
    reads, changes = (np.bincount(path[some], minlength=len(first)) for some in (is_read, ~is_read))
    # A write that says neither is not known to have found a file.
    is_new = rows["is_new_file"].fillna(rows["event_type"].eq("write")).to_numpy(bool)
    is_there = np.zeros(len(first), dtype=bool)
    is_there[path[~is_read][::-1]] = ~is_new[~is_read][::-1]  # the first one stays
    is_there[arrived] = False
    files = (
        keys[columns]
        .iloc[first]
        .assign(
            reads=reads,
            changes=changes,
            files_read=reads > 0,
            files_read_changed=(reads > 0) & (changes > 0),
            files_changed=is_there,
            files_changed_read=is_there & (reads > 0),
        )
    )
    counts = [column for column in files if column not in columns]
    files = files.astype(dict.fromkeys(counts, "Int64"))
    table = files.groupby(columns, observed=True, dropna=False)[counts].sum().reset_index()
    table["reads_per_change"] = ratio(table["reads"], table["changes"])
    table["precision"] = ratio(table["files_read_changed"], table["files_read"])
    table["recall"] = ratio(table["files_changed_read"], table["files_changed"])
    return tidy(table, scope, columns)


@gives(
    session_id="category",
    project="category",
    agent_name="category",
    model="category",
    event_id="str",
    turn="Int32",
    seq="Int32",
    time=TIME,
    file_path="category",
    start_line="Int32",
    end_line="Int32",
    lines="Int64",
    covered_lines="Int64",
    is_redundant="boolean",
    is_repeat="bool",
    output_bytes="Int64",
    tokens=COUNT,
    wasted_tokens=COUNT,
    repeat_tokens=COUNT,
)
def redundant_reads(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """Reads of what the model still had before its eyes: one row a completed read of a file.

    A read of some lines is redundant if earlier reads of the path cover 90 % of them, by the same
    session, still in its context: not before it was compacted, not pruned from it since, and no
    session changed the path in between. A subagent has a context of its own; a fork has what was
    copied into it. `is_repeat` is what path names alone would say: read before in this session,
    whatever happened since. Tokens are an estimate, a quarter of the output's bytes. Fork copies,
    undone turns and the user's own calls are left out unless `include` names them. Source: this
    package's.

    Returns, in the order they happened:
        session_id, project, agent_name, model, event_id, turn, seq, time, file_path, start_line,
            end_line, output_bytes: as in `frames.file_events`;
        lines, covered_lines (Int64): lines read, and those of them that were in the context;
        is_redundant (boolean): covered_lines / lines >= 0.9; NA where lines are not known;
        is_repeat (bool);
        tokens (Int64): estimate of the output's tokens;
        wasted_tokens, repeat_tokens (Int64): those of redundant reads, and of repeats, else 0.

    >>> reads = redundant_reads(frames)
    >>> reads[["file_path", "lines", "covered_lines", "is_redundant", "is_repeat"]].iloc[6:9]
             file_path  lines  covered_lines  is_redundant  is_repeat
    6  trailmap/gpx.py     26              0         False       True
    7  trailmap/gpx.py     47              0         False       True
    8  trailmap/gpx.py     12             12          True       True
    >>> reads[["tokens", "wasted_tokens", "repeat_tokens"]].sum()
    tokens           74227
    wasted_tokens     7658
    repeat_tokens    27355
    dtype: Int64
    """
    events = frames.file_events
    found = touches(frames, include)
    is_read = ~found.is_change & (found.event >= 0)
    reads = np.flatnonzero(is_read & found.counts)
    covered = _covered(events, found)[reads]
    row = found.event[reads]
    lines = np.maximum(found.last_line - found.first_line + 1, 0)[reads]
    is_known = (found.first_line[reads] > 0) & (lines > 0)
    table = (
        events[[*SHOWN, "output_bytes"]]
        .iloc[row]
        .assign(
            lines=pd.array(np.where(is_known, lines, -1), dtype="Int64"),
            covered_lines=pd.array(covered, dtype="Int64"),
            is_repeat=found.last(is_read)[reads] >= 0,
        )
    )
    for name in ("lines", "covered_lines"):
        table[name] = table[name].where(is_known)
    table["is_redundant"] = table["covered_lines"] >= COVERED * table["lines"]
    table["tokens"] = table["output_bytes"] // BYTES_A_TOKEN
    table["wasted_tokens"] = table["tokens"].where(table["is_redundant"].fillna(False), 0)
    table["wasted_tokens"] = table["wasted_tokens"].mask(table["tokens"].isna())
    table["repeat_tokens"] = table["tokens"].where(table["is_repeat"] | table["tokens"].isna(), 0)
    order = np.lexsort((table["seq"], found.session[reads], found.time[reads]))
    return tidy(table.iloc[order], redundant_reads)


def _covered(events: pd.DataFrame, found: Touches) -> Numbers:
    """How many lines of each read are in the context already; 0 for what is no read."""
    covered = np.zeros(len(found.of), dtype="int64")
    foreign = changed_by_others(found)
    changes = np.cumsum(found.is_change)
    rows = np.flatnonzero(~found.is_change & (found.first_line > 0))
    # Reads of one context and path between changes follow each other.
    same = (np.diff(found.of[rows]) == 0) & (np.diff(found.context[rows]) == 0)
    same &= (np.diff(changes[rows]) == 0) & (foreign[rows][1:] <= found.time[rows][:-1])
    follows = np.append(False, same)[: len(rows)]
    place = np.arange(len(rows))
    begin = np.maximum.accumulate(np.where(follows, 0, place))
    later, earlier = expanded(np.maximum(begin, place - MOST_READS), place)
    still = _pruned(events, found.event[rows])[earlier] > found.time[rows][later]
    later, earlier = later[still], earlier[still]
    low, high = (lines[rows] for lines in (found.first_line, found.last_line))
    # The union's length: each earlier read adds what those that start before it have not.
    order = np.lexsort((low[earlier], later))
    later, earlier = later[order], earlier[order]
    ends = later * FAR + np.minimum(high[earlier], high[later])
    reached = np.append(-1, np.maximum.accumulate(ends)[:-1])[: len(ends)] - later * FAR
    start = np.maximum(np.maximum(low[earlier], low[later]), reached + 1)
    more = np.maximum(ends - later * FAR - start + 1, 0)
    covered[rows] = np.bincount(later, more, minlength=len(rows))
    return covered


def _pruned(events: pd.DataFrame, row: Numbers) -> Numbers:
    """When each event's output was taken out of the context; the end of time if it was not."""
    never = np.iinfo("int64").max
    pruned = events["pruned_at"]
    if not pruned.notna().any():
        return np.full(len(row), never)
    when = pruned.to_numpy("datetime64[us]").astype("int64")
    when = np.append(np.where(pruned.isna(), never, when), never)
    return when[row]
