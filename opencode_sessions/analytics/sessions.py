"""What each session did, in numbers."""

from collections.abc import Collection
from typing import Any

import pandas as pd

from .counting import FAILED, Extra, counted, mutations, numbered
from .files import PATHS, distinct, event_totals
from .frames import Frames

WHO = ["session_id", "opencode_session_id", "parent_session_id", "root_session_id", "project"]


def session_summary(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """What each session did: one row a session, the oldest first; what its subagents did is theirs.

    Fork copies, undone turns and the user's own calls are left out unless `include` names them
    ("fork_copies", "undone", "user").

    Returns:
        session_id, opencode_session_id, parent_session_id, root_session_id, project, title,
            agent_name, model, created_at: as in `frames.sessions`;
        turns (Int64): user messages;
        calls, failed, denied, aborted (Int64): tool calls; `failed` are those that ended in an
            error, were denied or aborted;
        files_read, files_changed (Int64): different paths with a completed read, or change: a move
            changes two;
        reads, writes, edits, deletes, moves (Int64): completed file events;
        additions, deletions, churn (Int64, lines): summed over the changes whose lines are known,
            NA where there were changes and none's are; churn = additions + deletions;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's;
        duration_s (float64): from the first message to the end of the last, pauses included; NA
            where there is none;
        active_s (float64): of that, from each prompt to the end of its turn;
        first_edit_s, first_edit_calls (float64, Int64): from the first message to the start of the
            first completed change, and tool calls before it; NA where nothing was changed.

    >>> session_summary(frames)[["title", "calls", "failed", "files_changed", "first_edit_s"]]
       title  calls  failed  files_changed  first_edit_s
    0  Units      7       1              3         140.0
    """
    frames = lean(frames)
    sessions, ids = oldest_first(frames)
    events, calls, messages = (
        counted(frame, include)
        for frame in (frames.file_events, frames.tool_calls, frames.messages)
    )
    session, caller = session_of(events, ids), session_of(calls, ids)
    prompts = messages[messages["role"].eq("user")]
    reads = events[events["event_type"].eq("read") & events["status"].eq("completed")]
    totals = event_totals(events, session)
    spans = turn_spans(messages, calls, ids)
    in_session = spans.groupby("session")
    start = in_session["start"].min()
    counts: dict[str, pd.Series[Any]] = {
        "turns": prompts.groupby(session_of(prompts, ids)).size(),
        "calls": calls.groupby(caller).size(),
        "failed": calls["status"].isin(FAILED).groupby(caller).sum(),
        "denied": calls["status"].eq("denied").groupby(caller).sum(),
        "aborted": calls["status"].eq("aborted").groupby(caller).sum(),
        "files_read": distinct(reads, session_of(reads, ids), ["file_path"]),
        "files_changed": files_changed(events, session),
        **{name: totals[name] for name in ("reads", "writes", "edits", "deletes", "moves")},
        **{name: totals[name] for name in ("additions", "deletions", "churn", "lines_unknown")},
    }
    summary = sessions[[*WHO, "title", "agent_name", "model", "created_at"]].copy()
    for name, count in counts.items():
        summary[name] = count.astype("Int64").reindex(summary.index, fill_value=0)
    summary["duration_s"] = (in_session["end"].max() - start).dt.total_seconds()
    spans["active"] = (spans["end"] - spans["start"]).dt.total_seconds()
    summary["active_s"] = in_session["active"].sum()
    changed = mutations(events).assign(session=session)
    first = changed.sort_values("seq").drop_duplicates("session").set_index("session")
    summary["first_edit_s"] = (first["time"] - start).dt.total_seconds()
    summary["first_edit_calls"] = _calls_before(first, calls, caller)
    return summary


def lean(frames: Frames) -> Frames:
    """The frames with the columns these measures read: texts make copying a million rows slow."""
    common = ["session_id", "turn", "seq", "time", "is_fork_copy", "is_undone"]
    call = [*common, "actor", "message_id", "call_id", "tool", "status"]
    reported = ["reported_files", "reported_additions", "reported_deletions"]
    return Frames(
        sessions=frames.sessions,
        messages=frames.messages[[*common, "role", "duration_s", *reported]],
        tool_calls=frames.tool_calls[[*call, "duration_s"]],
        file_events=frames.file_events[
            [*call, "event_type", "evidence", *PATHS, "additions", "deletions"]
        ],
    )


def oldest_first(frames: Frames) -> tuple[pd.DataFrame, pd.Index]:
    """The sessions, the oldest first, and their ids in that order."""
    sessions = frames.sessions.sort_values(["created_at", "session_id"], ignore_index=True)
    return sessions, pd.Index(sessions["session_id"], dtype="str")


def session_of(rows: pd.DataFrame, ids: pd.Index) -> pd.Series:
    """The number of each row's session."""
    return pd.Series(numbered(rows["session_id"], ids), index=rows.index)


def files_changed(events: pd.DataFrame, session: pd.Series) -> pd.Series:
    """How many different paths each session's completed changes name (Int64)."""
    paths = paths_changed(events, session).drop_duplicates(["session", "path"])
    return paths.groupby("session").size().astype("Int64")


def paths_changed(events: pd.DataFrame, session: pd.Series) -> pd.DataFrame:
    """The paths that completed changes name, a move's both: session, turn, path, changes."""
    changed = mutations(events).assign(session=session)
    keys = ["session", "turn", "path"]
    both = [changed[["session", "turn", column]].set_axis(keys, axis=1) for column in PATHS]
    paths = pd.concat([part.astype({"path": "str"}) for part in both]).dropna(subset="path")
    return paths.groupby(keys, dropna=False).size().rename("changes").reset_index()


def turn_spans(messages: pd.DataFrame, calls: pd.DataFrame, ids: pd.Index) -> pd.DataFrame:
    """When each turn started and ended: session, turn, start, end."""
    parts = []
    for rows in (messages, calls):
        took = pd.to_timedelta(rows["duration_s"].fillna(0), unit="s").astype("timedelta64[us]")
        part = {"turn": rows["turn"], "start": rows["time"], "end": rows["time"] + took}
        parts.append(pd.DataFrame({"session": session_of(rows, ids), **part}))
    in_turn = pd.concat(parts).groupby(["session", "turn"], dropna=False)
    return in_turn.agg({"start": "min", "end": "max"}).reset_index()


def _calls_before(first: pd.DataFrame, calls: pd.DataFrame, caller: pd.Series) -> pd.Series:
    """Tool calls before each session's first change; `first` is indexed by session number."""
    same = ["message_id", "call_id", "tool", "time"]
    near = calls[calls["message_id"].isin(first["message_id"])]
    found = near[[*same, "seq"]].merge(first[same].reset_index(), on=same)
    place = found.groupby("session")["seq"].min()
    edits = caller.map(place)
    before = (calls["seq"] < edits).groupby(caller).sum().astype("Int64")
    return before.where(before.index.isin(place.index))
