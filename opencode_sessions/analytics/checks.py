"""Whether the work was checked: by language servers as it went, by tests and builds at the end."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from .columns import TIME
from .commands import checks
from .counting import SHELL_MADE, Extra, Numbers, codes, counted, is_mutation
from .frames import Frames
from .ratios import ratio
from .results import COUNT, gives, share, tidy

CHANGE = [
    *("session_id", "project", "agent_name", "model", "event_id", "turn", "seq", "time", "tool"),
    *("event_type", "status", "evidence", "file_path", "new_file_path", "errors_left"),
]
EVENT = [
    *("session_id", "project", "event_id", "call_id", "turn", "seq", "event_type", "status"),
    *("evidence", "command", "exit_code"),
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
    file_path="category",
    errors_before="Int64",
    errors_after="Int64",
    errors_change="Int64",
    fixed_after="Int64",
    is_fixed="boolean",
)
def diagnostics(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """What language servers said of the changes: errors each left in its file, and for how long.

    Errors alone, no warnings, as opencode got them when the change was done, and told the model: of
    a server slower than that the numbers belong to the change before. Completed changes whose file
    a server had looked at, which takes opencode's `lsp` to be on; a file is seen at its own changes
    alone. Fork copies, undone turns and the user's own calls are left out unless `include` names
    them ("fork_copies", "undone", "user"). Source: this package's, of opencode's diagnostics.

    Returns, one row a change, session by session, in order:
        session_id, project, agent_name, model, event_id, turn, seq, time, tool (as in
            `frames.file_events`), file_path (category): the new path of a move;
        errors_after (Int64): errors in the file then; errors_before (Int64): those after the
            session's last change of the path, NA at the first;
        errors_change (Int64): errors_after - errors_before, NA at the first;
        fixed_after (Int64, events): for a change that left more errors than before (at the first:
            any), events of the session until a change of the path left no more than before;
        is_fixed (boolean): whether one did; NA for a change that added none.

    >>> diagnostics(frames).empty  # it was recorded without language servers
    True
    >>> from dataclasses import replace
    >>> seen = events.query("file_path == 'trailmap/gpx.py' and event_type == 'edit'").head(3)
    >>> seen = replace(frames, file_events=seen.assign(errors_left=[2, 2, 0]))
    >>> diagnostics(seen)[["errors_before", "errors_after", "fixed_after", "is_fixed"]]
       errors_before  errors_after  fixed_after  is_fixed
    0           <NA>             2            3      True
    1              2             2         <NA>      <NA>
    2              2             0         <NA>      <NA>
    """
    rows = counted(frames.file_events, include, CHANGE)
    rows = rows[is_mutation(rows) & rows["errors_left"].notna()]
    rows["file_path"] = rows["new_file_path"].astype("str").fillna(rows["file_path"].astype("str"))
    session, path = codes(rows["session_id"]), codes(rows["file_path"])
    order = np.lexsort((rows["seq"], path, session))
    rows, session, path = rows.iloc[order], session[order], path[order]
    same = np.append(False, (np.diff(session) == 0) & (np.diff(path) == 0))[: len(rows)]
    after = rows["errors_left"].astype("Int64")
    before = after.shift().where(same)
    was, left = (errors.fillna(0).to_numpy().astype("int64") for errors in (before, after))
    fixed_at = _fixed(np.cumsum(~same), was, left)
    is_worse = pd.Series(left > was, index=rows.index)
    seq = rows["seq"].astype("Int64")
    ends = seq.reset_index(drop=True).reindex(fixed_at)  # NA where it is -1
    table = rows.assign(
        errors_before=before,
        errors_after=after,
        errors_change=after - before,
        fixed_after=(ends.set_axis(rows.index) - seq).where(is_worse),
        is_fixed=pd.Series(fixed_at >= 0, index=rows.index, dtype="boolean").where(is_worse),
    )
    return tidy(table.iloc[np.lexsort((table["seq"], session))], diagnostics)


@gives(
    session_id="category",
    project="category",
    changes=COUNT,
    checks=COUNT,
    failed_checks=COUNT,
    turns_changed=COUNT,
    turns_unverified=COUNT,
    unverified_rate=share("turns_unverified", "turns_changed"),
    events_to_check="Int64",
    unverified_changes=COUNT,
    unverified_at_end="boolean",
    last_exit_code="Int32",
    last_change_event_id="str",
)
def verification(frames: Frames, *, include: Extra | Collection[Extra] = ()) -> pd.DataFrame:
    """Whether changes were followed by a test, lint or build command: one row a session.

    A check is a command that runs one (`commands.checks`: pytest, npm test, make, cargo build, tsc,
    ...) and ran to its end, whatever came out. Changes are completed ones, those that commands made
    as well; what a subagent checks is its own. Fork copies, undone turns and the user's own calls
    are left out unless `include` names them ("fork_copies", "undone", "user"). Source: this
    package's.

    Returns, for sessions with a change or a check, sorted by session:
        session_id, project (category);
        changes, checks, failed_checks (Int64): events; failed: another exit code than 0. In a pipe
            that is the last program's: `pytest | tail` never fails;
        turns_changed, turns_unverified (Int64): turns with a change, and those of them that end
            without a check after the last one; unverified_rate (float64): their ratio, NA at 0/0;
        events_to_check (Int64, events): from the session's last change to the first check after it;
            NA where none came;
        unverified_changes (Int64): changes after the last check, all if there is none;
        unverified_at_end (boolean): whether there are any; NA where nothing was changed. That a
            check came is not that it passed: work that was left failing is False here, with a
            `last_exit_code` other than 0 (below: sessions 10 and 11);
        last_exit_code (Int32): of the last check; last_change_event_id (str).

    >>> columns = ["changes", "checks", "unverified_changes", "unverified_at_end", "last_exit_code"]
    >>> verification(frames)[columns].iloc[9:13]
        changes  checks  unverified_changes  unverified_at_end  last_exit_code
    9        16       6                   1               True               2
    10       35       5                   0              False               2
    11      107      21                   0              False               2
    12       29       5                   0              False               0
    """
    rows = counted(frames.file_events, include, EVENT)
    is_run = rows["status"].eq("completed") & rows["event_type"].eq("bash")
    is_check = is_run.to_numpy(bool).copy()
    is_check[is_check] = checks(rows["command"][is_check])
    rows = rows.assign(check=is_check, change=is_mutation(rows), session=codes(rows["session_id"]))
    rows = _in_order(rows[rows["check"] | rows["change"]])
    made, run = rows[rows["change"]], rows[rows["check"]]
    by_session = rows.groupby("session")
    table = by_session[["session_id", "project"]].first()
    table["changes"], table["checks"] = by_session["change"].sum(), by_session["check"].sum()
    last, last_run = (
        part.drop_duplicates("session", keep="last").set_index("session") for part in (made, run)
    )
    table["last_change_event_id"] = last["event_id"]
    table["last_exit_code"] = last_run["exit_code"]
    after = run[run["place"] >= run["session"].map(last["place"])]
    table["events_to_check"] = after.groupby("session")["place"].first() - last["place"]
    late = made[~(made["place"] <= made["session"].map(last_run["place"]))]
    by_turn = rows.groupby(["session", "turn"], dropna=False)
    turns = by_turn.agg(change=("change", "any"), check=("check", "last")).reset_index()
    turns = turns[turns["change"]]
    for name, some in {
        "failed_checks": run[run["exit_code"].fillna(0).ne(0)],
        "unverified_changes": late,
        "turns_changed": turns,
        "turns_unverified": turns[~turns["check"]],
    }.items():
        table[name] = some.groupby("session").size().astype("Int64")
        table[name] = table[name].fillna(0)
    table["unverified_rate"] = ratio(table["turns_unverified"], table["turns_changed"])
    unverified = table["unverified_changes"].gt(0).astype("boolean")
    table["unverified_at_end"] = unverified.where(table["changes"].gt(0))
    return tidy(table, verification)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Changes and checks session by session, in order, by a `place` of their own.

    A command that changes files and checks them as well (`sed -i ... && pytest`) has done so first,
    though its changes are the later events.
    """
    rows = rows.sort_values(["session", "seq"], kind="stable")
    check = rows[["session", "call_id", "seq"]].where(rows["check"]).ffill()
    same = rows["evidence"].isin(SHELL_MADE) & rows["call_id"].eq(check["call_id"])
    same &= rows["session"].eq(check["session"])
    rows["place"] = rows["seq"].mask(same, check["seq"]).astype("float64")
    return rows.sort_values(["session", "place", "check"], kind="stable")


def _fixed(path: Numbers, before: Numbers, after: Numbers) -> Numbers:
    """The place of the next change of the path that left no more errors than before; -1 for none.

    A stack of what is open: each error spell is put on it once and taken off once.
    """
    fixed = np.full(len(path), -1)
    open_: list[tuple[int, int]] = []
    current = -1
    for place, (of, was, left) in enumerate(
        zip(path.tolist(), before.tolist(), after.tolist(), strict=True)
    ):
        if of != current:
            current, open_ = of, []
        while open_ and left <= open_[-1][1]:
            fixed[open_.pop()[0]] = place
        if left > was:
            open_.append((place, was))
    return fixed
