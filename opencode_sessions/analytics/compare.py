"""What opencode says a session changed, what its tool calls changed, and why they differ.

Every reason is a fact that is stored; none is a guess at how much it accounts for.
"""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd

from .counting import Extra, counted, is_mutation, mutations, numbered
from .files import event_totals
from .frames import Frames
from .sessions import WHO, files_changed, lean, oldest_first, paths_changed, session_of, turn_spans

OURS = ["files", "additions", "deletions"]
SHELL_MADE = ("snapshot", "patch_part", "shell")
OUTSIDE = r"/|[A-Za-z]:/"  # paths inside the worktree are relative


def compare_with_opencode(
    frames: Frames, *, include: Extra | Collection[Extra] = ()
) -> pd.DataFrame:
    """opencode's own files and lines per session, what tool calls changed, and why they differ.

    opencode compares git trees before and after; tool calls say what the session itself changed.
    Fork copies, undone turns and the user's own calls are left out of `turns_*` and of ours unless
    `include` names them ("fork_copies", "undone", "user").

    Returns, one row a session, the oldest first:
        session_id, opencode_session_id, parent_session_id, root_session_id, project, title,
            opencode_version: as in `frames.sessions`;
        reported_files, reported_additions, reported_deletions (Int64): opencode's summary of the
            session; NA where it keeps none;
        turns_files, turns_additions, turns_deletions (Int64): opencode's diffs of its turns, added
            up: a file counts in each turn that changed it; NA where it keeps none;
        files, additions, deletions (Int64): what completed tool calls changed: different paths, a
            move's two, and lines; lines are NA where there were changes and none's are known;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's;
        diff_files, diff_additions, diff_deletions (Int64): ours minus `reported_*`; NA where
            either is;
        why (str): what the data shows to set them apart, joined by "; "; "" where nothing does.

    >>> comparison = compare_with_opencode(frames)
    >>> comparison[["title", "reported_additions", "turns_additions", "additions"]]
       title  reported_additions  turns_additions  additions
    0  Units                   0               10          5
    >>> for reason in comparison["why"][0].split("; "):
    ...     print(reason)
    zeros since 1.17
    1 shell command, whose changes no tool call tells
    1 file changed in several turns, counted in each
    1 file changed more than once in a turn, net in opencode
    lines of 1 change not known
    """
    frames = lean(frames)
    sessions, ids = oldest_first(frames)
    events, messages = counted(frames.file_events, include), counted(frames.messages, include)
    session = session_of(events, ids)
    totals = event_totals(events, session)
    table = sessions[[*WHO, "title", "opencode_version"]].copy()
    reported = [f"reported_{name}" for name in OURS]
    table[reported] = sessions[reported].astype("Int64")
    of_turns = messages[reported].astype("Int64").groupby(session_of(messages, ids))
    by_turn = of_turns.sum(min_count=1).reindex(table.index)
    for name in OURS:
        table[f"turns_{name}"] = by_turn[f"reported_{name}"]
    table["files"] = files_changed(events, session).reindex(table.index, fill_value=0)
    for name in ("additions", "deletions", "lines_unknown"):
        table[name] = totals[name].reindex(table.index, fill_value=0)
    for name in OURS:
        table[f"diff_{name}"] = table[name] - table[f"reported_{name}"]
    facts = _facts(frames, table, sessions, ids, include)
    why = ["; ".join(_reasons(fact)) for fact in facts.itertuples()]
    return table.assign(why=pd.Series(why, dtype="str"))


def _facts(
    frames: Frames,
    table: pd.DataFrame,
    sessions: pd.DataFrame,
    ids: pd.Index,
    include: Extra | Collection[Extra],
) -> pd.DataFrame:
    """The table with what else is known of each session beside it, for `_reasons` to read."""
    happened = is_mutation(frames.file_events) | _ran(frames.file_events)
    events = counted(frames.file_events, include)
    left_out = frames.file_events[happened].drop(index=events.index, errors="ignore")
    copied = left_out[left_out["is_fork_copy"]]
    undone = left_out[left_out["is_undone"] & ~left_out["is_fork_copy"]]
    paths = paths_changed(events, session_of(events, ids))
    by_path = paths.groupby(["session", "path"])["changes"].agg(["size", "max"]).reset_index("path")
    counts = {
        "copied": copied.groupby(session_of(copied, ids)).size(),
        "undone": undone.groupby(session_of(undone, ids)).size(),
        "commands": _ran(events).groupby(session_of(events, ids)).sum(),
        "in_turns": by_path["size"].gt(1).groupby("session").sum(),
        "in_turn": by_path["max"].gt(1).groupby("session").sum(),
        "outside": by_path["path"].str.match(OUTSIDE).groupby("session").sum(),
    }
    above = _above(sessions, ids)
    counts |= _subagents(events, ids, above)
    counts |= _others(frames, sessions, ids, above, include)
    facts = table.copy()
    for name, count in counts.items():
        facts[name] = count.reindex(table.index, fill_value=0).astype("int64")
    # Where the import looked for what commands changed, those changes are among ours.
    facts["knows_shell"] = bool(frames.file_events["evidence"].isin(SHELL_MADE).any())
    facts["has_git"] = sessions["project_id"].ne("global").to_numpy(bool)
    facts["is_late"] = [_version(said) >= (1, 17) for said in table["opencode_version"]]
    return facts


def _reasons(fact: Any) -> Iterator[str]:
    """What sets opencode's numbers for one session apart from ours; `fact` is a row of `_facts`."""
    ours = [fact.files, fact.additions, fact.deletions]
    reported = [fact.reported_files, fact.reported_additions, fact.reported_deletions]
    turns = [fact.turns_files, fact.turns_additions, fact.turns_deletions]
    has_summary, has_diffs = _is_known(reported), _is_known(turns)
    is_empty = has_summary and not any(reported)
    if not has_summary:
        yield "opencode keeps no summary of this session"
    elif is_empty and (fact.files or (has_diffs and any(turns))):
        yield "zeros since 1.17" if fact.is_late else "its summary is empty"
    if fact.files and not fact.has_git:
        yield "no git here, so opencode makes no diffs"
        return
    if has_diffs and not any(turns) and fact.files > fact.outside:
        yield "the diffs of its turns are empty" + (" too" if is_empty else "")
        return
    told = [numbers for numbers in (reported, turns) if _is_known(numbers)]
    if is_empty:
        told.remove(reported)
    is_same = _is_known(ours) and all(numbers == ours for numbers in told)
    if not is_same or fact.copied or fact.undone:
        yield from _causes(fact)


def _causes(fact: Any) -> Iterator[str]:
    """What git trees take in that the session's tool calls do not, and the other way round."""
    if fact.undone:
        yield f"{_n(fact.undone, 'event')} undone"
    if fact.copied:
        yield f"{_n(fact.copied, 'event')} copied by the fork"
    if fact.subagent_changes:
        lines = f"+{fact.subagent_additions} -{fact.subagent_deletions}"
        yield f"{_n(fact.subagent_changes, 'change')} by its subagents ({lines})"
    if fact.other_changes:
        others = _n(fact.other_sessions, "other session")
        yield f"{_n(fact.other_changes, 'change')} by {others} at the same time"
    if fact.commands and not fact.knows_shell:
        yield f"{_n(fact.commands, 'shell command')}, whose changes no tool call tells"
    if fact.in_turns:
        yield f"{_n(fact.in_turns, 'file')} changed in several turns, counted in each"
    if fact.in_turn:
        yield f"{_n(fact.in_turn, 'file')} changed more than once in a turn, net in opencode"
    if fact.lines_unknown:
        yield f"lines of {_n(fact.lines_unknown, 'change')} not known"
    if fact.outside:
        yield f"{_n(fact.outside, 'file')} outside the worktree"


def _ran(events: pd.DataFrame) -> pd.Series:
    """Whether each event is a command that ran, to its end or not."""
    return events["event_type"].eq("bash") & events["status"].isin(["completed", "aborted"])


def _above(sessions: pd.DataFrame, ids: pd.Index) -> list[list[int]]:
    """The numbers of each session's parent, grandparent, ...; a circle ends where it closes."""
    parents = numbered(sessions["parent_session_id"], ids).tolist()
    lines = []
    for session, parent in enumerate(parents):
        line: list[int] = []
        while parent >= 0 and parent != session and parent not in line:
            line.append(parent)
            parent = parents[parent]
        lines.append(line)
    return lines


def _subagents(events: pd.DataFrame, ids: pd.Index, above: list[list[int]]) -> dict[str, pd.Series]:
    """Changes and lines of all sessions below a session, per session that has any."""
    changed = mutations(events)
    totals = event_totals(changed, session_of(changed, ids))
    pairs = [(parent, child) for child in totals.index for parent in above[child]]
    parent, child = ([pair[side] for pair in pairs] for side in (0, 1))
    given = totals.loc[child].fillna(0).groupby(np.array(parent, dtype="int64")).sum()
    names = {"events": "changes", "additions": "additions", "deletions": "deletions"}
    return {f"subagent_{name}": given[column] for column, name in names.items()}


def _others(
    frames: Frames,
    sessions: pd.DataFrame,
    ids: pd.Index,
    above: list[list[int]],
    include: Extra | Collection[Extra],
) -> dict[str, pd.Series]:
    """Changes that other sessions made in the same project while a session's turn was running.

    They were on the disk between opencode's two git trees of that turn, undone later or not. A
    subagent is no other session to those who called it.
    """
    happened = mutations(counted(frames.file_events, "undone"))
    happened = happened.dropna(subset="time").sort_values("time")
    disk = sessions.groupby(["project", "origin"], observed=True, dropna=False).ngroup().to_numpy()
    session, time = session_of(happened, ids).to_numpy(), _clock(happened["time"])
    on_disk = pd.Series(np.arange(len(session))).groupby(disk[session]).indices
    logs = {each: (time[rows], session[rows]) for each, rows in on_disk.items()}
    spans = turn_spans(counted(frames.messages, include), counted(frames.tool_calls, include), ids)
    start, end = _clock(spans["start"]), _clock(spans["end"])
    who: dict[int, list[int]] = {}
    for one, since, until in zip(spans["session"], start, end, strict=True):
        times, sessions_then = logs.get(disk[one], (time[:0], session[:0]))
        met = sessions_then[slice(*np.searchsorted(times, [since, until]))].tolist()
        who.setdefault(one, []).extend(
            other for other in met if other != one and one not in above[other]
        )
    return {
        "other_changes": pd.Series(
            {one: len(others) for one, others in who.items()}, dtype="int64"
        ),
        "other_sessions": pd.Series({one: len(set(o)) for one, o in who.items()}, dtype="int64"),
    }


def _clock(times: "pd.Series[Any]") -> np.ndarray[Any, np.dtype[Any]]:
    clock: np.ndarray[Any, np.dtype[Any]] = times.dt.tz_localize(None).to_numpy()
    return clock


def _is_known(numbers: list[Any]) -> bool:
    return not any(number is pd.NA for number in numbers)


def _version(said: object) -> tuple[int, ...]:
    """The leading numbers of a version: (1, 18, 33); () where it says none."""
    numbers = []
    for part in str(said).split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
