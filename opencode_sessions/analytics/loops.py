"""Where the agent goes in circles: changes tried again, files reworked, calls repeated."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from .commands import looks
from .counting import (
    FAILED,
    SHELL_MADE,
    Extra,
    Flags,
    Numbers,
    clock,
    codes,
    counted,
    is_mutation,
    numbered,
    places_of,
)
from .frames import Frames
from .results import COUNT, FIRST, LAST, gives, tidy

RETRY = [
    *("session_id", "project", "event_id", "turn", "seq", "time", "event_type", "status"),
    *("evidence", "file_path", "command", "exit_code"),
]
CHURN = [
    *("session_id", "project", "event_id", "message_id", "turn", "seq", "time", "event_type"),
    *("status", "evidence", "file_path", "additions", "deletions"),
]
CHANGE = [
    *("session_id", "seq", "time", "event_type", "status", "actor"),
    *("is_fork_copy", "is_undone"),
]
CALL = [
    *("session_id", "project", "tool_call_id", "turn", "seq", "time", "tool", "status"),
    *("input_hash", "title"),
]


@gives(
    session_id="category",
    project="category",
    file_path="category",
    changes=COUNT,
    retries=COUNT,
    failed_retries=COUNT,
    first_time=FIRST,
    last_time=LAST,
    last_event_id="str",
)
def retries(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """Files changed again after something was run: edit, command, edit; one row a session and path.

    A retry is a completed change of a path after an earlier one in the same turn (what the user
    asks for next is no retry), with a command between them that ran and was for more than looking
    (`cat`, `grep`, `git diff`, ...: see `commands.looks`). What commands changed themselves is no
    change here. Fork copies, undone turns and the user's own calls are left out unless `include`
    names them ("fork_copies", "undone", "user"). Source: this package's.

    Returns, for paths with a retry, the most first:
        session_id, project, file_path (category);
        changes (Int64): completed changes of the path in the session;
        retries (Int64); failed_retries (Int64): those with a command between them that ended with
            another exit code than 0, or was stopped;
        first_time, last_time (datetime64[us, UTC]), last_event_id (str): the first and last retry;
            a time is NA where none has one.

    >>> retries(frames)[["file_path", "changes", "retries", "failed_retries"]].head(3)
                   file_path  changes  retries  failed_retries
    0        trailmap/cli.py       11        3               3
    1  trailmap/elevation.py       10        3               3
    2  trailmap/checklist.py        8        3               1
    """
    rows = counted(frames.file_events, include, RETRY)
    rows = rows.sort_values(["session_id", "seq"], kind="stable")
    is_run = rows["event_type"].eq("bash") & rows["status"].isin(["completed", "aborted"])
    ran = is_run.to_numpy(bool).copy()
    ran[ran] = ~looks(rows["command"][ran])
    failed = ran & (rows["exit_code"].ne(0).fillna(True) | rows["status"].eq("aborted")).to_numpy(
        bool
    )
    rows = rows.assign(ran=np.cumsum(ran), failed=np.cumsum(failed))
    changed = rows[_is_own(rows)]
    session, path = codes(changed["session_id"]), codes(changed["file_path"])
    order = np.lexsort((changed["seq"], path, session))
    changed = changed.iloc[order]
    same = _same_as_before(session[order], path[order])
    in_turn = same & (changed["turn"].diff().eq(0).fillna(False)).to_numpy(bool)
    again = in_turn & changed["ran"].diff().gt(0).to_numpy(bool)
    changed = changed.assign(
        group=np.cumsum(~same),
        retries=again,
        failed_retries=again & changed["failed"].diff().gt(0).to_numpy(bool),
    )
    of_path = changed.groupby("group")
    table = of_path[["session_id", "project", "file_path"]].first()
    table["changes"] = of_path.size()
    for name in ("retries", "failed_retries"):
        table[name] = of_path[name].sum()
    found = changed[again].groupby("group")
    table = table.join(found["time"].agg(first_time="min", last_time="max"), how="inner")
    table["last_event_id"] = found["event_id"].last()
    by = ["retries", "changes", "session_id", "file_path"]
    return tidy(table.sort_values(by, ascending=[False, False, True, True]), retries)


@gives(
    session_id="category",
    project="category",
    file_path="category",
    mutations=COUNT,
    messages="Int64",
    first_turn="Int32",
    last_turn="Int32",
    first_time=FIRST,
    last_time=LAST,
    additions=COUNT,
    deletions=COUNT,
    first_event_id="str",
    last_event_id="str",
)
def churn_windows(
    frames: Frames,
    mutations: int = 3,
    messages: int = 10,
    *,
    include: Extra | Collection[Extra] = (),
) -> pd.DataFrame:
    """Files changed over and over in a short time: at least 3 changes within 10 messages.

    A message is a prompt or one request to the model (before 1.0 a whole turn), counted with the
    session's others. Windows of one path that overlap are one. Completed changes by calls that name
    the path. Fork copies, undone turns and the user's own calls are left out unless `include` names
    them ("fork_copies", "undone", "user"). Source: this package's.

    Returns, one row a window, the most changes first:
        session_id, project, file_path (category);
        mutations (Int64): changes in the window; messages (Int64): from the first one's to the last
            one's, both counted;
        first_turn, last_turn (Int32); first_time, last_time (datetime64[us, UTC]);
        additions, deletions (Int64, lines): where they are known, summed; NA where none are;
        first_event_id, last_event_id (str).

    >>> columns = ["file_path", "mutations", "messages", "additions", "deletions"]
    >>> churn_windows(frames)[columns].head(3)
              file_path  mutations  messages  additions  deletions
    0   trailmap/cli.py         11        12         11          0
    1    docs/grades.md          7         7         15          0
    2  docs/settings.md          7         7         20          0
    """
    rows = counted(frames.file_events, include, CHURN)
    rows = rows[_is_own(rows)]
    place = places_of(rows["message_id"], frames.messages["message_id"])
    number = frames.messages["seq"].to_numpy("int64", na_value=-1)
    session, path = codes(rows["session_id"]), codes(rows["file_path"])
    order = np.lexsort((rows["seq"], path, session))
    order = order[place[order] >= 0]
    changed, at = rows.iloc[order], number[place[order]]
    window = _windows(~_same_as_before(session[order], path[order]), at, mutations, messages)
    changed = changed.assign(window=window, message=at)[window >= 0]
    of_window = changed.groupby("window")
    table = of_window[["session_id", "project", "file_path"]].first()
    table["mutations"] = of_window.size()
    table["messages"] = of_window["message"].max() - of_window["message"].min() + 1
    for name in ("turn", "time", "event_id"):
        table[f"first_{name}"] = of_window[name].first()
        table[f"last_{name}"] = of_window[name].last()
    for name in ("additions", "deletions"):
        table[name] = of_window[name].sum(min_count=1)
    by = ["mutations", "session_id", "first_time", "file_path"]
    return tidy(table.sort_values(by, ascending=[False, True, True, True]), churn_windows)


@gives(
    session_id="category",
    project="category",
    tool="category",
    title="str",
    input_hash="Int64",
    calls=COUNT,
    failed=COUNT,
    turns="Int64",
    first_time=FIRST,
    last_time=LAST,
    first_tool_call_id="str",
    last_tool_call_id="str",
)
def loops(
    frames: Frames, calls: int = 3, *, include: Extra | Collection[Extra] = ()
) -> pd.DataFrame:
    """The same call again and again while nothing changed: one row a run of at least 3.

    Calls are the same if they ask the same tool for the same (`input_hash`: the arguments in any
    order, without how a command was described), however they ended and whatever other calls came
    between. What ends a run is a change of any file in the session, by a command too. Fork copies,
    undone turns and the user's own calls are left out unless `include` names them. Source: this
    package's.

    Returns, the longest first:
        session_id, project, tool (category), title (str): opencode's of the first call that has
            one, NA where none has; input_hash (Int64): of all of them, as in `frames.tool_calls`;
        calls, failed (Int64): calls in the run, and those of them that ended in an error, were
            denied or aborted; turns (Int64): how many prompts it goes over;
        first_time, last_time (datetime64[us, UTC]); first_tool_call_id, last_tool_call_id (str).

    >>> loops(frames)[["tool", "title", "calls", "turns"]]
       tool             title  calls  turns
    0  read  trailmap/pace.py      3      2
    """
    asked = counted(frames.tool_calls, include, CALL)
    asked = asked[asked["status"].ne("pending") & asked["input_hash"].notna()]
    changed = counted(frames.file_events, include, CHANGE)
    changed = changed[is_mutation(changed)]
    before = _changes_before(asked, changed)
    key = codes(asked["session_id"]), codes(asked["tool"]), codes(asked["input_hash"]), before
    order = np.lexsort((asked["seq"], *key[::-1]))
    run = np.cumsum(~_same_as_before(*(part[order] for part in key))) - 1
    size = np.bincount(run) if len(run) else np.empty(0, dtype="int64")
    is_long = size[run] >= calls
    asked = asked.iloc[order[is_long]].assign(run=run[is_long])
    of_run = asked.groupby("run")
    table = of_run[["session_id", "project", "tool", "title", "input_hash"]].first()
    table["calls"] = of_run.size()
    table["failed"] = asked["status"].isin(FAILED).groupby(asked["run"]).sum()
    table["turns"] = of_run["turn"].nunique()
    for name in ("time", "tool_call_id"):
        table[f"first_{name}"] = of_run[name].first()
        table[f"last_{name}"] = of_run[name].last()
    by = ["calls", "session_id", "first_time", "tool"]
    return tidy(table.sort_values(by, ascending=[False, True, True, True]), loops)


def _is_own(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each event is a completed change by a call that names its path."""
    return is_mutation(rows) & ~rows["evidence"].isin(SHELL_MADE) & rows["file_path"].notna()


def _same_as_before(*key: Numbers) -> Flags:
    """Whether each row has the same key as the one before it."""
    same = np.ones(max(len(key[0]) - 1, 0), dtype=bool)
    for part in key:
        same &= part[1:] == part[:-1]
    return np.append(False, same)[: len(key[0])]


def _windows(is_first: Flags, message: Numbers, least: int, within: int) -> Numbers:
    """The number of the window each change is in, -1 for none; changes by path, in order."""
    place, group = np.arange(len(message)), np.cumsum(is_first)
    last = np.minimum(place + least - 1, len(message) - 1)
    begins = (place + least <= len(message)) & (group[last] == group)
    begins &= message[last] - message < within
    latest = np.maximum.accumulate(np.where(begins, place, -least))
    earlier = np.append(-least, latest[:-1])[: len(latest)]
    is_new = begins & ((place - earlier >= least) | (group != group[np.maximum(earlier, 0)]))
    is_in = (place - latest < least) & (latest >= 0)
    return np.where(is_in, np.cumsum(is_new)[np.maximum(latest, 0)] - 1, -1)


def _changes_before(asked: pd.DataFrame, changed: pd.DataFrame) -> Numbers:
    """A number for each call that goes up with every change in its session before it."""
    sessions = pd.Index(asked["session_id"].astype("category").cat.categories, dtype="str")
    session = np.append(codes(asked["session_id"]), numbered(changed["session_id"], sessions))
    time = np.append(clock(asked), clock(changed))
    is_change = np.arange(len(session)) >= len(asked)
    order = np.lexsort((is_change, time, session))
    count = np.empty(len(order), dtype="int64")
    count[order] = np.cumsum(is_change[order])
    return count[: len(asked)]
