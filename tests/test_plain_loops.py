"""Measures as plain loops find them, of anything: one event after the other, in dictionaries."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from handmade import START, bash, delete, edit, file_events, frame, move, read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from opencode_sessions.analytics import (
    Frames,
    activity,
    diagnostics,
    file_summary,
    file_timeline,
    retries,
    verification,
)
from opencode_sessions.analytics.counting import EXTRAS

CHANGES = ("write", "edit", "delete", "move")
FAILED = ("error", "denied", "aborted")
COMMANDS = ["pytest -q", "git diff", "python -m app", "make && ls", "cat pytest.ini"]
Row = dict[str, Any]

FEW = [None, 0, 1, 2, 3]
HAPPENS: dict[str, Sequence[Any]] = {
    "event_type": ["read", "edit", "edit", "write", "delete", "move", "bash", "bash"],
    "file_path": "abc",
    "new_file_path": "abc",
    "session_id": ["s1", "s2"],
    "project": ["/p", "/p", "/q"],
    "status": ["completed"] * 6 + ["error", "denied", "aborted", "pending"],
    "is_fork_copy": [False] * 7 + [True],
    "is_undone": [False] * 7 + [True],
    "starts_turn": [False] * 4 + [True],
    "of_last_call": [False, False, True],
    "command": COMMANDS,
    "exit_code": [0, 0, 1, None],
    "additions": FEW,
    "deletions": FEW,
    "errors_left": FEW,
    "minutes": range(1, 91),
}


def many(seed: int) -> list[Row]:
    """So many that what takes three of them does happen."""
    random = Random(seed)
    return [{name: random.choice(of) for name, of in HAPPENS.items()} for _ in range(40)]


happening = st.fixed_dictionaries({name: st.sampled_from(of) for name, of in HAPPENS.items()})
happenings = st.lists(happening, max_size=9) | st.builds(many, st.integers(0, 2**32))
MAKE: dict[str, Any] = {"read": read, "edit": edit, "write": write, "delete": delete}


def events_of(given: list[Row]) -> pd.DataFrame:
    """These events, in order, each some minutes after the one before."""
    rows, turn, time, last = [], 1, START, "c"
    for number, one in enumerate(given):
        turn += one["starts_turn"]
        time += pd.Timedelta(minutes=one["minutes"])
        kind, path = one["event_type"], one["file_path"]
        made = {name: one[name] for name in ("session_id", "project", "status")}
        made |= {"is_fork_copy": one["is_fork_copy"], "is_undone": one["is_undone"]}
        # What a command changed is told with its call.
        last = last if one["of_last_call"] and kind in CHANGES else f"c{number}"
        by_shell = {"evidence": "shell"} if one["of_last_call"] else {"evidence": "tool_meta"}
        made |= {"turn": turn, "time": time, "call_id": last, "message_id": f"m{number}"}
        if kind == "bash":
            rows.append(bash(one["command"], exit_code=one["exit_code"]) | made)
            continue
        if kind in CHANGES:
            lines = {name: one[name] for name in ("additions", "deletions")}
            made |= by_shell | lines | {"errors_left": one["errors_left"]}
        is_move = kind == "move"
        rows.append((move(path, one["new_file_path"]) if is_move else MAKE[kind](path)) | made)
    return file_events(*rows)


def frames_of(given: list[Row]) -> Frames:
    empty = {name: frame(name, []) for name in ("sessions", "messages", "tool_calls")}
    return Frames(**empty, file_events=events_of(given))


def plain(table: pd.DataFrame) -> list[Row]:
    """The rows as plain dictionaries, None where they say nothing."""
    shown = table.astype(object)
    return shown.where(shown.notna(), None).to_dict("records")


def counted(rows: pd.DataFrame) -> list[Row]:
    return [row for row in plain(rows) if not (row["is_fork_copy"] or row["is_undone"])]


def is_change(row: Row) -> bool:
    return row["status"] == "completed" and row["event_type"] in CHANGES


def by(rows: list[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in keys)].append(row)
    return found


def told(table: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in plain(table)]


@settings(max_examples=25)
@given(happenings)
def test_a_file_is_who_is_found_under_its_name(given: list[Row]) -> None:
    events = events_of(given)
    who: dict[Any, int] = {}
    left: set[Any] = set()
    versions: dict[int, int] = {}
    names: dict[int, str] = {}
    expected = []
    for row in plain(events):
        if row["event_type"] == "bash":
            continue
        name = row["project"], row["file_path"]
        lasts = not (row["is_fork_copy"] or row["is_undone"])
        is_proof = lasts and row["status"] == "completed"
        if name not in who or (name in left and is_proof):
            who[name] = len(versions)
            versions[len(versions)] = 0
            left.discard(name)
        file, after = who[name], row["file_path"]
        if lasts and is_change(row):
            versions[file] += 1
            if row["event_type"] in ("delete", "move"):
                left.add(name)
            if row["event_type"] == "move":
                after = row["new_file_path"]
                who[row["project"], after] = file
                left.discard((row["project"], after))
        if is_proof:
            names[file] = after
        expected.append((row["event_id"], file, versions[file], row["file_path"]))
    timeline = file_timeline(events, include=EXTRAS)
    assert told(timeline, "event_id", "file_id", "version", "last_path") == [
        (event, file, version, names.get(file, path)) for event, file, version, path in expected
    ]


def totals(rows: list[Row]) -> Row:
    """What is counted of these events, and their lines."""
    changes = [row for row in rows if is_change(row)]
    lines = [
        (row["additions"], row["deletions"])
        for row in changes
        if None not in (row["additions"], row["deletions"])
    ]
    known = lines or not changes
    added, removed = (sum(pair[side] for pair in lines) for side in (0, 1))
    return {
        "events": len(rows),
        "failed": sum(row["status"] in FAILED for row in rows),
        "additions": added if known else None,
        "deletions": removed if known else None,
        "churn": added + removed if known else None,
        "lines_unknown": len(changes) - len(lines),
    }


@settings(max_examples=25)
@given(happenings)
def test_a_path_has_what_happened_to_it(given: list[Row]) -> None:
    events = events_of(given)
    expected = {}
    for key, rows in by(counted(events), "project", "file_path").items():
        if key[1] is not None:
            done = [row["event_type"] for row in rows if row["status"] == "completed"]
            found = totals(rows) | {f"{kind}s": done.count(kind) for kind in ("read", *CHANGES)}
            found |= {"sessions": len(by(rows, "session_id"))}
            found |= {"turns": len(by(rows, "session_id", "turn"))}
            found |= {"first_time": rows[0]["time"], "last_time": rows[-1]["time"]}
            expected[key] = found
    summary = plain(file_summary(events))
    assert len(summary) == len(expected)
    for row in summary:
        wanted = expected[row["project"], row["file_path"]]
        assert {name: row[name] for name in wanted} == wanted


CLOCK = {"min": 5, "h": 4, "D": 3, "M": 2}  # of year, month, day, hour, minute
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Asia/Kolkata"]
# Around the changes of the clock in these zones, and any time.
CHANGED = ["2018-11-04T03:00", "2026-03-08T05:00", "2026-03-29T01:00", "2026-10-25T01:00"]
moments = st.one_of(
    st.datetimes(datetime(2018, 1, 1), datetime(2030, 1, 1)),
    st.builds(
        lambda at, minutes: datetime.fromisoformat(at) + timedelta(minutes=minutes),
        st.sampled_from(CHANGED),
        st.integers(-240, 240),
    ),
)


@settings(max_examples=25)
@given(happenings, st.data(), st.sampled_from(ZONES), st.sampled_from(sorted(CLOCK)))
def test_a_period_is_what_a_clock_on_the_wall_shows(
    given: list[Row], data: st.DataObject, zone: str, freq: Any
) -> None:
    events = events_of(given)
    times = data.draw(st.lists(moments, min_size=len(events), max_size=len(events)))
    events["time"] = pd.Series(times, dtype="datetime64[us]").dt.tz_localize("UTC")

    def shown(time: pd.Timestamp) -> tuple[Any, ...]:
        local = time.to_pydatetime().astimezone(ZoneInfo(zone))
        parts = (local.year, local.month, local.day, local.hour, local.minute)[: CLOCK[freq]]
        # An hour that comes twice is two.
        return (*parts, local.utcoffset()) if freq in ("min", "h") else parts

    rows = [row | {"shown": shown(row["time"])} for row in counted(events)]
    expected = {key: totals(of) for key, of in by(rows, "shown", "event_type").items()}
    table = plain(activity(events, freq, zone))
    assert len(table) == len(expected)
    for row in table:
        wanted = expected[shown(row["period"]), row["event_type"]]
        assert {name: row[name] for name in wanted} == wanted


def runs_a_check(row: Row) -> bool:
    ran = row["event_type"] == "bash" and row["status"] == "completed"
    return ran and row["command"] in ("pytest -q", "make && ls")


@settings(max_examples=25)
@given(happenings)
def test_verified_is_what_a_check_came_after(given: list[Row]) -> None:
    frames = frames_of(given)
    expected = {}
    for (session,), rows in by(counted(frames.file_events), "session_id").items():
        # What a command changed, it had changed when its own check was done.
        happened: list[tuple[int, bool, Row]] = []
        check: Row | None = None
        for row in rows:
            if runs_a_check(row):
                check = row
                happened.append((row["seq"], True, row))
            elif is_change(row):
                is_its = check is not None and row["call_id"] == check["call_id"]
                is_its = is_its and row["evidence"] == "shell"
                happened.append((check["seq"] if is_its and check else row["seq"], False, row))
        happened.sort(key=lambda one: one[:2])
        if not happened:
            continue
        is_check = [one[1] for one in happened]
        changes = [place for place, is_one in enumerate(is_check) if not is_one]
        checks = [place for place, is_one in enumerate(is_check) if is_one]
        ends = {one[2]["turn"]: one[1] for one in happened}
        turns = {happened[place][2]["turn"] for place in changes}
        late = [place for place in changes if not checks or place > checks[-1]]
        to_check = None
        if changes and not late:
            first = next(place for place in checks if place > changes[-1])
            to_check = happened[first][0] - happened[changes[-1]][0]
        expected[session] = (
            *(len(changes), len(checks)),
            sum(happened[place][2]["exit_code"] not in (0, None) for place in checks),
            *(len(turns), sum(not ends[turn] for turn in turns), to_check, len(late)),
            *(bool(late) if changes else None,),
            happened[checks[-1]][2]["exit_code"] if checks else None,
            happened[changes[-1]][2]["event_id"] if changes else None,
        )
    columns = [
        *("changes", "checks", "failed_checks", "turns_changed", "turns_unverified"),
        *("events_to_check", "unverified_changes", "unverified_at_end"),
        *("last_exit_code", "last_change_event_id"),
    ]
    table = verification(frames)
    assert dict(zip(table["session_id"], told(table, *columns), strict=True)) == expected


@settings(max_examples=25)
@given(happenings)
def test_a_retry_is_another_change_with_a_run_between(given: list[Row]) -> None:
    frames = frames_of(given)
    expected = {}
    for (session,), rows in by(counted(frames.file_events), "session_id").items():
        changed: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            if is_change(row) and row["evidence"] != "shell":
                changed[row["file_path"]].append(place)
        for path, places in changed.items():
            again = []
            for earlier, later in pairwise(places):
                between = [
                    row
                    for row in rows[earlier:later]
                    if row["event_type"] == "bash"
                    and row["status"] in ("completed", "aborted")
                    and row["command"] not in ("git diff", "cat pytest.ini")
                ]
                failed = [r for r in between if r["exit_code"] != 0 or r["status"] == "aborted"]
                if between and rows[earlier]["turn"] == rows[later]["turn"]:
                    again.append((rows[later], bool(failed)))
            if again:
                ends = again[0][0]["time"], again[-1][0]["time"], again[-1][0]["event_id"]
                failures = sum(failed for _, failed in again)
                expected[session, path] = (len(places), len(again), failures, *ends)
    table = retries(frames)
    columns = ["changes", "retries", "failed_retries", "first_time", "last_time", "last_event_id"]
    keys = told(table, "session_id", "file_path")
    assert dict(zip(keys, told(table, *columns), strict=True)) == expected
    assert table["retries"].is_monotonic_decreasing


@settings(max_examples=25)
@given(happenings)
def test_an_error_lasts_until_no_more_are_left_than_before_it(given: list[Row]) -> None:
    frames = frames_of(given)
    expected = {}
    seen = [
        row | {"path": row["new_file_path"] or row["file_path"]}
        for row in counted(frames.file_events)
        if is_change(row) and row["errors_left"] is not None
    ]
    for rows in by(seen, "session_id", "path").values():
        before = None
        for place, row in enumerate(rows):
            after = row["errors_left"]
            ends: list[int] | None = None
            if after > (before or 0):
                later = (one for one in rows[place + 1 :] if one["errors_left"] <= (before or 0))
                ends = [one["seq"] - row["seq"] for one, _ in zip(later, range(1), strict=False)]
            change = None if before is None else after - before
            fixed_after = ends[0] if ends else None
            is_fixed = None if ends is None else bool(ends)
            expected[row["event_id"]] = (before, after, change, fixed_after, is_fixed)
            before = after
    table = diagnostics(frames)
    columns = ["errors_before", "errors_after", "errors_change", "fixed_after", "is_fixed"]
    assert dict(zip(table["event_id"], told(table, *columns), strict=True)) == expected
    in_order = told(table, "session_id", "seq")
    assert in_order == sorted(in_order)
