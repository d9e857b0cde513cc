"""What opencode says a session changed, what its tool calls changed, and why they differ.

Every reason is a fact that is stored; none is a guess at how much it accounts for.
"""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd

from .costs import session_costs
from .counting import (
    SHELL_MADE,
    Extra,
    Flags,
    Numbers,
    counted,
    distinct,
    expanded,
    grouped,
    is_counted,
    is_mutation,
    mutations,
    numbered,
)
from .files import PATHS, all_names, event_totals
from .frames import Frames
from .lineage import WHO, ancestry, of_sessions, oldest_first, parents, session_of
from .results import AMOUNT, COUNT, gives, tidy
from .sessions import CALL, CHANGE, MESSAGE, turn_spans

OURS = ["files", "additions", "deletions"]
REPORTED = [f"reported_{name}" for name in OURS]
OUTSIDE = r"/|[A-Za-z]:/"  # paths inside the worktree are relative


@gives(
    session_id="category",
    opencode_session_id="category",
    parent_session_id="category",
    root_session_id="category",
    project="category",
    title="str",
    opencode_version="category",
    reported_files="Int64",
    reported_additions=COUNT,
    reported_deletions=COUNT,
    turns_files="Int64",
    turns_additions=COUNT,
    turns_deletions=COUNT,
    files="Int64",
    additions=COUNT,
    deletions=COUNT,
    lines_unknown=COUNT,
    diff_files="Int64",
    diff_additions=COUNT,
    diff_deletions=COUNT,
    reported_cost_usd=AMOUNT,
    cost_usd=AMOUNT,
    diff_cost_usd=AMOUNT,
    why="str",
)
def compare_with_opencode(
    frames: Frames, *, include: Extra | Collection[Extra] = ()
) -> pd.DataFrame:
    """opencode's own files and lines per session, what tool calls changed, and why they differ.

    opencode compares git trees before and after; tool calls say what the session itself changed.
    Fork copies, undone turns and the user's own calls are left out of `turns_*` and of ours unless
    `include` names them ("fork_copies", "undone", "user"). Source: this package's, of opencode's
    summaries.

    Returns, one row a session, the oldest first:
        session_id, opencode_session_id, parent_session_id, root_session_id, project, title,
            opencode_version: as in `frames.sessions`;
        reported_files, reported_additions, reported_deletions (Int64): opencode's summary of the
            session; NA where it keeps none;
        turns_files, turns_additions, turns_deletions (Int64): opencode's diffs of its turns, added
            up: a file counts in each turn that changed it; NA where it keeps none;
        files, additions, deletions (Int64): what completed tool calls changed: different paths, a
            move's two as opencode counts them, and lines; lines are NA where there were changes and
            none's are known;
        lines_unknown (Int64): changes whose lines are not known, as an overwriting write's;
        diff_files, diff_additions, diff_deletions (Int64): ours minus `reported_*`; NA where
            either is;
        reported_cost_usd, cost_usd, diff_cost_usd (float64, US dollars): opencode's sum of the
            session, its own cost as `session_costs` has it, and ours minus opencode's;
        why (str): what the data shows to set them apart, joined by "; "; "" where nothing does.

    >>> comparison = compare_with_opencode(frames)
    >>> comparison[["reported_additions", "turns_additions", "additions"]].head(3)
       reported_additions  turns_additions  additions
    0                   0              116        117
    1                   0              136        141
    2                   0              167        140
    >>> for reason in comparison["why"][0].split("; "):
    ...     print(reason)
    zeros since 1.17
    2 files changed in several turns, counted in each
    5 files changed more than once in a turn, net in opencode
    lines of 2 changes not known
    """
    frames = of_sessions(frames)
    sessions, ids = oldest_first(frames)
    events = counted(frames.file_events, include, CHANGE)
    messages = counted(frames.messages, include, ["session_id", *REPORTED])
    session = session_of(events, ids)
    totals = event_totals(events, session)
    table = sessions[[*WHO, "title", "opencode_version"]].copy()
    table[REPORTED] = sessions[REPORTED].astype("Int64")
    of_turns = messages[REPORTED].astype("Int64").groupby(session_of(messages, ids))
    by_turn = of_turns.sum(min_count=1).reindex(table.index)
    for name in OURS:
        table[f"turns_{name}"] = by_turn[f"reported_{name}"]
    paths = _paths_changed(events, session)
    different = paths.drop_duplicates(["session", "path"])["session"]
    table["files"] = np.bincount(different, minlength=len(ids))
    for name in ("additions", "deletions", "lines_unknown"):
        table[name] = totals[name].reindex(table.index, fill_value=0)
    for name in OURS:
        table[f"diff_{name}"] = table[name] - table[f"reported_{name}"]
    costs = session_costs(frames)
    table["reported_cost_usd"], table["cost_usd"] = (
        costs["reported_cost_usd"],
        costs["own_cost_usd"],
    )
    table["diff_cost_usd"] = table["cost_usd"] - table["reported_cost_usd"]
    facts = _facts(frames, table, sessions, ids, paths, include)
    facts["copied_cost_usd"] = costs["copied_cost_usd"]
    why = ["; ".join(_reasons(fact)) for fact in facts.itertuples()]
    return tidy(table.assign(why=why), compare_with_opencode)


def _paths_changed(events: pd.DataFrame, session: pd.Series) -> pd.DataFrame:
    """The paths that completed changes name, a move's both: session, turn, path, changes.

    `path` is a number, its place among `all_names(events)`.
    """
    is_change = is_mutation(events).to_numpy(bool)
    changed, names = events[is_change], all_names(events)
    left, went = (numbered(changed[column], names) for column in PATHS)
    keys = pd.DataFrame({"session": session[is_change].to_numpy(), "turn": changed["turn"].array})
    both = pd.concat([keys.assign(path=left), keys[went >= 0].assign(path=went[went >= 0])])
    both = both[both["path"] >= 0]
    number, first = grouped(both, ["session", "turn", "path"])
    return both.iloc[first].assign(changes=np.bincount(number)).reset_index(drop=True)


def _facts(
    frames: Frames,
    table: pd.DataFrame,
    sessions: pd.DataFrame,
    ids: pd.Index,
    paths: pd.DataFrame,
    include: Extra | Collection[Extra],
) -> pd.DataFrame:
    """The table with what else is known of each session beside it, for `_reasons` to read."""
    everything = frames.file_events[CHANGE]
    counts_here = is_counted(frames.file_events, include)
    happened = (is_mutation(everything) | _ran(everything)).to_numpy(bool)
    is_copy, is_undone = (everything[flag].to_numpy(bool) for flag in ("is_fork_copy", "is_undone"))
    session = session_of(everything, ids).to_numpy()

    def number(of: Flags) -> pd.Series:
        return pd.Series(np.bincount(session[of], minlength=len(ids)))

    events = everything[counts_here]
    outside = all_names(events).str.match(OUTSIDE)
    by_path = paths.groupby(["session", "path"])["changes"].agg(["size", "max"]).reset_index("path")
    counts = {
        "copied": number(happened & ~counts_here & is_copy),
        "undone": number(happened & ~counts_here & is_undone & ~is_copy),
        "commands": number(counts_here & _ran(everything).to_numpy(bool)),
        "in_turns": by_path["size"].gt(1).groupby("session").sum(),
        "in_turn": by_path["max"].gt(1).groupby("session").sum(),
        "outside": pd.Series(outside[by_path["path"]], by_path.index).groupby("session").sum(),
    }
    parent = parents(sessions, ids)
    counts |= _subagents(events, ids, parent)
    counts |= _others(frames, sessions, ids, parent, include)
    facts = table.copy()
    for name, count in counts.items():
        facts[name] = count.reindex(table.index, fill_value=0).astype("int64")
    # Where the import looked for what commands changed, those changes are among ours.
    facts["knows_shell"] = bool(everything["evidence"].isin(SHELL_MADE).any())
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


def _subagents(events: pd.DataFrame, ids: pd.Index, parent: Numbers) -> dict[str, pd.Series]:
    """Changes and lines of all sessions below a session, per session that has any."""
    changed = mutations(events)
    totals = event_totals(changed, session_of(changed, ids)).fillna(0)
    below, above = ancestry(parent)
    is_other = (below != above) & np.isin(below, totals.index)
    given = totals.loc[below[is_other]].groupby(above[is_other]).sum()
    names = {"events": "changes", "additions": "additions", "deletions": "deletions"}
    return {f"subagent_{name}": given[column] for column, name in names.items()}


def _others(
    frames: Frames,
    sessions: pd.DataFrame,
    ids: pd.Index,
    parent: Numbers,
    include: Extra | Collection[Extra],
) -> dict[str, pd.Series]:
    """Changes that other sessions made in the same project while a session's turn was running.

    They were on the disk between opencode's two git trees of that turn, undone later or not. A
    subagent is no other session to those who called it.
    """
    happened = mutations(counted(frames.file_events, "undone", CHANGE)).dropna(subset="time")
    spans = turn_spans(
        counted(frames.messages, include, MESSAGE), counted(frames.tool_calls, include, CALL), ids
    ).dropna(subset="start")
    session, one = session_of(happened, ids).to_numpy(), spans["session"].to_numpy()
    disk, _ = grouped(sessions, ["project", "origin"])
    times = pd.concat([happened["time"], spans["start"], spans["end"]])
    rank = pd.factorize(times, sort=True)[0].astype("int64")
    many = len(times) + 1
    when, since, until = np.split(rank, [len(happened), len(happened) + len(spans)])
    order = np.argsort(disk[session] * many + when)
    on_disk = (disk[session] * many + when)[order]
    first, last = (np.searchsorted(on_disk, disk[one] * many + at) for at in (since, until))
    span, place = expanded(first, last)
    mine, other = one[span], session[order][place]
    below, above = ancestry(parent)
    is_other = ~np.isin(other * len(ids) + mine, below * len(ids) + above)
    mine, other = mine[is_other], other[is_other]
    pairs = distinct(mine * len(ids) + other)
    return {
        "other_changes": pd.Series(np.bincount(mine, minlength=len(ids))),
        "other_sessions": pd.Series(np.bincount(pairs // max(len(ids), 1), minlength=len(ids))),
    }


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
