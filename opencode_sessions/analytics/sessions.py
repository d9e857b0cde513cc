"""What each session did, in numbers."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from ..store import MONEY
from .columns import TIME
from .costs import session_costs
from .counting import FAILED, Extra, Numbers, counted, grouped, is_mutation
from .files import LINES, PATHS, distinct, event_totals, last_names
from .frames import Frames
from .lineage import WHO, of_sessions, oldest_first, session_of
from .results import AMOUNT, COUNT, Column, gives, tidy

WRITTEN = ("output", "reasoning")
MESSAGE = [
    *("session_id", "turn", "seq", "time", "duration_s", "role"),
    *(f"tokens_{of}" for of in WRITTEN),
]
CALL = ["session_id", "turn", "seq", "time", "duration_s", "status", "tool"]
CHANGE = [
    *("session_id", "project", "turn", "seq", "time", "event_type", "status", "evidence"),
    *(*PATHS, *LINES, "is_fork_copy", "is_undone"),
]
# What is inclusive counts for every session above it: it adds up to nothing.
OWN = {f"own_{name}": AMOUNT if name == "cost_usd" else COUNT for name in MONEY}
SPENT: dict[str, str | Column] = {
    **OWN,
    **{f"inclusive_{name[4:]}": column.dtype for name, column in OWN.items()},
}


@gives(
    session_id="category",
    opencode_session_id="category",
    parent_session_id="category",
    root_session_id="category",
    project="category",
    title="str",
    agent_name="category",
    model="category",
    created_at=TIME,
    turns=COUNT,
    calls=COUNT,
    failed=COUNT,
    denied=COUNT,
    aborted=COUNT,
    files_read="Int64",
    files_changed="Int64",
    reads=COUNT,
    writes=COUNT,
    edits=COUNT,
    deletes=COUNT,
    moves=COUNT,
    additions=COUNT,
    deletions=COUNT,
    churn=COUNT,
    lines_unknown=COUNT,
    duration_s=AMOUNT,
    active_s=AMOUNT,
    first_edit_s="float64",
    first_edit_calls="Int64",
    first_edit_tokens="Int64",
    **SPENT,
)
def session_summary(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """What each session did: one row a session, the oldest first; what its subagents did is theirs.

    Fork copies, undone turns and the user's own calls are left out unless `include` names them
    ("fork_copies", "undone", "user"). Source: plain counts and sums; see `session_costs`.

    Returns:
        session_id, opencode_session_id, parent_session_id, root_session_id, project, title,
            agent_name, model, created_at: as in `frames.sessions`;
        turns (Int64): user messages;
        calls, failed, denied, aborted (Int64): tool calls; `failed` are those that ended in an
            error, were denied or aborted;
        files_read, files_changed (Int64): different files with a completed read, or change; one
            that the session moved is one under both names;
        reads, writes, edits, deletes, moves (Int64): completed file events;
        additions, deletions, churn (Int64, lines): summed over the changes whose lines are known,
            NA where there were changes and none's are; churn = additions + deletions;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's;
        duration_s (float64): from the first message to the end of the last, pauses included; NA
            where there is none;
        active_s (float64): of that, from each prompt to the end of its turn;
        first_edit_s, first_edit_calls, first_edit_tokens (float64, Int64, Int64): from the first
            message to the start of the first completed change, tool calls before it, and tokens
            the model wrote in the requests before, reasoning included (up to 0.5, where a message
            is a whole turn, those of its turn are not among them); NA where nothing was changed;
        own_cost_usd, own_tokens_*, inclusive_cost_usd, inclusive_tokens_*: as `session_costs` says.

    >>> session_summary(frames)[["title", "calls", "files_changed", "first_edit_s"]].head(3)
                                     title  calls  files_changed  first_edit_s
    0                GPX export for routes     59              7        13.217
    1       Elevation gain is far too high     55              5         4.908
    2  Miles and feet, and a settings file     59              9        12.469
    """
    frames = of_sessions(frames)
    sessions, ids = oldest_first(frames)
    events = counted(frames.file_events, include, [*CHANGE, "tool"])
    calls = counted(frames.tool_calls, include, CALL)
    messages = counted(frames.messages, include, MESSAGE)
    session, caller, writer = (session_of(rows, ids) for rows in (events, calls, messages))
    prompts = messages[messages["role"].eq("user")]
    is_read = (events["event_type"].eq("read") & events["status"].eq("completed")).to_numpy(bool)
    is_change = is_mutation(events).to_numpy(bool)
    files = last_names(events, session).to_frame("file")
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
        "files_read": distinct(files[is_read], session[is_read], ["file"]),
        "files_changed": distinct(files[is_change], session[is_change], ["file"]),
        **{name: totals[name] for name in ("reads", "writes", "edits", "deletes", "moves")},
        **{name: totals[name] for name in ("additions", "deletions", "churn", "lines_unknown")},
    }
    summary = sessions[[*WHO, "title", "agent_name", "model", "created_at"]].copy()
    for name, count in counts.items():
        summary[name] = count.astype("Int64").reindex(summary.index, fill_value=0)
    summary["duration_s"] = (in_session["end"].max() - start).dt.total_seconds()
    spans["active"] = (spans["end"] - spans["start"]).dt.total_seconds()
    summary["active_s"] = in_session["active"].sum()
    changed = events[["seq", "time", "tool"]][is_change].assign(session=session[is_change])
    first = changed.sort_values("seq").drop_duplicates("session").set_index("session")
    summary["first_edit_s"] = (first["time"] - start).dt.total_seconds()
    of_all = len(ids)
    summary["first_edit_calls"] = _calls_before(first, calls, caller.to_numpy(), of_all)
    summary["first_edit_tokens"] = _tokens_before(first, messages, writer.to_numpy(), of_all)
    costs = session_costs(frames)
    return tidy(summary.join(costs[list(SPENT)]), session_summary)


def turn_spans(messages: pd.DataFrame, calls: pd.DataFrame, ids: pd.Index) -> pd.DataFrame:
    """When each turn started and ended: session, turn, start, end."""
    parts = []
    for rows in (messages, calls):
        took = pd.to_timedelta(rows["duration_s"].fillna(0), unit="s").astype("timedelta64[us]")
        part = {"turn": rows["turn"], "start": rows["time"], "end": rows["time"] + took}
        parts.append(pd.DataFrame({"session": session_of(rows, ids), **part}))
    spans = pd.concat(parts, ignore_index=True)
    number, first = grouped(spans, ["session", "turn"])
    start, end = (spans[name].groupby(number) for name in ("start", "end"))
    return (
        spans[["session", "turn"]]
        .iloc[first]
        .reset_index(drop=True)
        .assign(start=start.min(), end=end.max())
    )


def _calls_before(
    first: pd.DataFrame, calls: pd.DataFrame, caller: Numbers, sessions: int
) -> "pd.Series[Any]":
    """Tool calls before each session's first change; `first` is indexed by session number."""
    began = np.full(sessions, np.datetime64("NaT", "us"))
    began[first.index] = first["time"].to_numpy("datetime64[us]")
    is_near = calls["time"].to_numpy("datetime64[us]") == began[caller]
    near = calls[["seq", "tool"]][is_near].assign(session=caller[is_near])
    tool = first["tool"].astype("str").reindex(near["session"]).to_numpy(object)
    place = (
        near[near["tool"].astype("str").to_numpy(object) == tool].groupby("session")["seq"].min()
    )
    edit = np.full(sessions, -1)
    edit[place.index] = place
    is_before = calls["seq"].to_numpy("int64", na_value=0) < edit[caller]
    before = np.bincount(caller[is_before], minlength=sessions)
    return pd.Series(before, dtype="Int64").where(pd.Series(edit) >= 0)


def _tokens_before(
    first: pd.DataFrame, messages: pd.DataFrame, writer: Numbers, sessions: int
) -> "pd.Series[Any]":
    """Tokens the model wrote before the request of each session's first change."""
    is_request = messages["role"].eq("assistant").to_numpy(bool)
    asked, writer = messages[is_request], writer[is_request]
    changed = np.full(sessions, np.datetime64("NaT", "us"))
    changed[first.index] = first["time"].to_numpy("datetime64[us]")
    begun = asked["time"].to_numpy("datetime64[us]") <= changed[writer]
    seq = asked["seq"].to_numpy("int64", na_value=0)
    request = np.full(sessions, -1)  # the last one that had begun made the change
    np.maximum.at(request, writer[begun], seq[begun])
    wrote = sum(asked[f"tokens_{of}"].to_numpy("float64", na_value=0) for of in WRITTEN)
    before = np.bincount(writer, np.where(seq < request[writer], wrote, 0), minlength=sessions)
    return pd.Series(before, dtype="Int64").where(pd.Series(request) >= 0)
