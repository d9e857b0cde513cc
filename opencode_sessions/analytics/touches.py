"""What each session saw and did of each path, in order: the ground on which reads are judged.

A touch is a completed read or change of one path; a move touches two, and a file that the user
attached to a prompt is read with it. A fork has read what was copied into it.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..events import lines_printed
from ..loose import as_dict, as_text
from .counting import SHELL_MADE, Extra, Flags, Numbers, clock, codes, is_counted, numbered
from .frames import Frames
from .paths import posix_path

# What opencode puts into a prompt, before the text of a file that is attached to it.
ATTACHED = re.compile(r"^Called the Read tool with the following input: (\{.*\})$", re.MULTILINE)
ATTACHED_MARK = "Called the Read tool with"
ATTACHMENT = ("session_id", "file_path", "time", "start_line", "end_line")
PATHS = ("file_path", "new_file_path")
COLUMNS = [
    *("session_id", "project", "seq", "time", "actor", "is_fork_copy", "is_undone"),
    *(*PATHS, "event_type", "status", "evidence"),
]
KINDS = ("read", "write", "edit", "delete", "move")
READ, WRITE, EDIT, DELETE, MOVE = range(len(KINDS))
NEVER = np.iinfo("int64").min


class Touches(NamedTuple):
    """Arrays of one length, by session, path and order.

    `event` is the row number in the events, -1 for an attachment; `of` numbers session and path
    together, `file` project and path; `time` is `clock`'s; `start` is the place of the first touch
    of the same `of`. `kind` is a place in `KINDS`. `is_target`: the second touch of a move.
    `counts` is False for what only tells what a fork knows. Lines that are not known are 0.
    `context` is another number after each compaction.
    """

    event: Numbers
    of: Numbers
    session: Numbers
    file: Numbers
    time: Numbers
    start: Numbers
    kind: Numbers
    is_target: Flags
    by_shell: Flags
    counts: Flags
    first_line: Numbers
    last_line: Numbers
    context: Numbers

    @property
    def is_change(self) -> Flags:
        """Whether each touch is a change."""
        return self.kind > READ

    def last(self, which: Flags) -> Numbers:
        """The place of the last of these touches before each, of the same session and path; -1."""
        place = np.where(which, np.arange(len(which)), -1)
        before = np.append(-1, np.maximum.accumulate(place)[:-1])[: len(place)]
        return np.where(before >= self.start, before, -1)


def touches(frames: Frames, include: Extra | Collection[Extra] = ()) -> Touches:
    """All touches of the counted events, and of those a fork copied."""
    events = frames.file_events
    extras: set[Extra] = {include} if isinstance(include, str) else {*include}
    kind = numbered(events["event_type"], pd.Index(KINDS))
    kept = is_counted(events, {*extras, "fork_copies"}) & events["file_path"].notna().to_numpy(bool)
    kept &= events["status"].eq("completed").to_numpy(bool) & (kind >= 0)
    rows = np.flatnonzero(kept)
    some, kind = events[COLUMNS].iloc[rows], kind[rows]
    attached = pd.DataFrame(_attachments(frames, extras), columns=[*ATTACHMENT])
    given = attached[["session_id", "file_path"]].astype("str")
    both = [*(some[column] for column in PATHS), given["file_path"]]
    names, sessions = _all_of(*both), _all_of(some["session_id"], given["session_id"])
    target = numbered(some["new_file_path"], names)
    moves = np.flatnonzero((target >= 0) & (kind == MOVE))
    # A touch for each event, one more where a move arrives, and the attachments.
    ours = np.append(np.arange(len(rows)), moves)
    is_given = np.arange(len(ours) + len(given)) >= len(ours)

    def each(of_events: Any, of_given: Any = 0) -> Any:
        return np.append(np.asarray(of_events)[ours], np.broadcast_to(of_given, len(given)))

    session = each(numbered(some["session_id"], sessions), numbered(given["session_id"], sessions))
    path = each(numbered(some["file_path"], names), numbered(given["file_path"], names))
    path[len(rows) : len(ours)] = target[moves]
    of = session * len(names) + path
    time = each(clock(some), attached["time"].to_numpy("int64"))
    order = np.lexsort((each(some["seq"].to_numpy("int64", na_value=-1), -1), time, of))
    of = of[order]
    is_first = np.append(True, of[1:] != of[:-1])[: len(of)]
    return Touches(
        event=each(rows, -1)[order],
        of=of,
        session=session[order],
        file=each(codes(some["project"]), -2)[order] * len(names) + path[order],
        time=time[order],
        start=np.maximum.accumulate(np.where(is_first, np.arange(len(of)), 0)),
        kind=each(kind, READ)[order],
        is_target=(np.arange(len(of)) >= len(rows))[order] & ~is_given[order],
        by_shell=each(some["evidence"].isin(SHELL_MADE))[order].astype(bool),
        counts=each(is_counted(some, extras))[order].astype(bool),
        first_line=_lines(events, rows, "start_line", attached, each)[order],
        last_line=_lines(events, rows, "end_line", attached, each)[order],
        context=_contexts(frames.messages, sessions, session[order], time[order]),
    )


def _contexts(
    messages: pd.DataFrame, sessions: "pd.Index[str]", session: Numbers, time: Numbers
) -> Numbers:
    """A number for each context window: another one after a session's context was compacted."""
    some = messages.loc[messages["is_compaction"].to_numpy(bool), ["session_id", "time"]]
    context = np.zeros(len(session), dtype="int64")
    where = numbered(some["session_id"], sessions)
    rows = np.flatnonzero(np.isin(session, where[where >= 0]))
    when = some["time"].to_numpy("datetime64[us]").astype("int64")
    both = np.append(where, session[rows]), np.append(when, time[rows])
    is_touch = np.arange(len(both[0])) >= len(where)
    order = np.lexsort((is_touch, both[1], both[0]))
    count = np.empty(len(order), dtype="int64")
    count[order] = np.cumsum(~is_touch[order])
    context[rows] = count[is_touch]
    return context


def _lines(
    events: pd.DataFrame, rows: Numbers, name: str, attached: pd.DataFrame, each: Any
) -> Numbers:
    of_events = events[name].iloc[rows].to_numpy("int64", na_value=0)
    lines: Numbers = each(of_events, attached[name].to_numpy("int64"))
    return lines


def changed_by_others(touches: Touches) -> Numbers:
    """When another session last changed the file before each touch; NEVER if none did."""
    order = np.lexsort((touches.time, touches.file))
    file, session = touches.file[order], touches.session[order]
    place = np.arange(len(order))
    changes = place[(touches.is_change & touches.counts)[order]]
    last = np.full(len(order), -1)
    last[changes] = changes
    last = np.append(-1, np.maximum.accumulate(last)[:-1])[: len(order)]
    # What another than the last one changed is where the last one's row of changes began.
    same = (np.diff(file[changes]) == 0) & (np.diff(session[changes]) == 0)
    is_new = np.append(True, ~same)[: len(changes)]
    began = np.maximum.accumulate(np.where(is_new, np.arange(len(changes)), 0))
    other = np.full(len(order) + 1, -1)
    other[changes] = np.append(changes, -1)[began - 1]
    found = np.where(session[last] != session, last, other[last])
    found = np.where((last >= 0) & (found >= 0) & (file[found] == file), found, -1)
    when = np.empty(len(order), dtype="int64")
    when[order] = np.where(found >= 0, touches.time[order][found], NEVER)
    return when


def _attachments(frames: Frames, extras: set[Extra]) -> Iterator[tuple[Any, ...]]:
    """The text files that came with prompts, in the columns of `ATTACHMENT`."""
    messages = frames.messages
    rows = is_counted(messages, {*extras, "fork_copies"}) & messages["role"].eq("user").to_numpy()
    prompts = messages.loc[rows, ["session_id", "time", "content"]]
    prompts = prompts[prompts["content"].str.contains(ATTACHED_MARK, regex=False, na=False)]
    places = frames.sessions.set_index("session_id")[["workdir", "project"]].astype(object)
    for id, time, content in prompts.itertuples(index=False):
        found = list(ATTACHED.finditer(content))
        for match, after in zip(found, [*found[1:], None], strict=True):
            path = _path_of(match[1])
            first, last = lines_printed(content[match.end() : after.start() if after else None])
            if path and first and last:
                where = (None if pd.isna(place) else place for place in places.loc[id])
                moment = NEVER if pd.isna(time) else time.value // 1000
                yield id, posix_path(path, *where), moment, first, last


def _path_of(input: str) -> str | None:
    try:
        return as_text(as_dict(json.loads(input)).get("filePath"))
    except ValueError:  # what the user wrote looks the same
        return None


def _all_of(*columns: "pd.Series[Any]") -> "pd.Index[str]":
    """Every value of these columns, sorted."""
    names = [column.astype("category").cat.categories.to_numpy(object) for column in columns]
    found: pd.Index[str] = pd.Index(np.unique(np.concatenate(names)), dtype="str")
    return found
