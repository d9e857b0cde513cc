"""How well the agent works, as the measures say, against what really happened and plain loops."""

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import RECORDINGS, TRAILMAP, Recording
from handmade import START, bash, delete, edit, file_events, frame, move, read, write
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_recordings import NOT_KNOWN, SHOP, true_events

import opencode_sessions as ocs
from opencode_sessions.analytics import (
    Frames,
    blind_edits,
    churn_windows,
    diagnostics,
    edit_failures,
    loops,
    overwrites,
    rates,
    redundant_reads,
    retries,
    scope,
    verification,
)
from opencode_sessions.analytics.ratios import wilson

OF_FRAMES = [blind_edits, redundant_reads, retries, churn_windows, loops, diagnostics, verification]
OF_EVENTS = [scope, edit_failures, overwrites]
CHANGES = ("write", "edit", "delete", "move")
FAILED = {"status": "error", "additions": None, "deletions": None}
Measure = Callable[..., pd.DataFrame]


def table_of(measure: Measure, frames: Frames, **options: Any) -> pd.DataFrame:
    return measure(frames.file_events if measure in OF_EVENTS else frames, **options)


@pytest.fixture(scope="module")
def by_name(recordings: dict[str, Recording]) -> dict[str, Frames]:
    return {
        name: ocs.read_opencode(recording.database, shell=False)
        for name, recording in recordings.items()
    }


@pytest.fixture(scope="module")
def demo(recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[TRAILMAP].database)


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request: pytest.FixtureRequest, recordings: dict[str, Recording]) -> Recording:
    return recordings[request.param]


def session(title: str, frames: Frames) -> str:
    return str(frames.sessions.set_index("title")["session_id"][title])


def frames_of(*events: dict[str, Any], **others: pd.DataFrame) -> Frames:
    """Frames with these file events, a message each, and sessions to match."""
    rows = file_events(*events)
    ids = list(dict.fromkeys(rows["session_id"]))
    sessions = frame("sessions", [{"session_id": id, "project": "/home/ana/app"} for id in ids])
    calls = frame("tool_calls", [])
    messages = frame("messages", [])
    return Frames(
        **{"sessions": sessions, "messages": messages, "tool_calls": calls, "file_events": rows}
        | others
    )


def rows(table: pd.DataFrame, *columns: str) -> list[list[Any]]:
    shown = table[list(columns)].astype(object)
    return shown.where(shown.notna(), None).to_numpy().tolist()


# What really happened, step by step


@dataclass(frozen=True)
class Step:
    """A file event of the ground truth, and when opencode began it."""

    session: str
    part: str
    time: float
    kind: str
    path: str
    to: str | None
    is_done: bool
    is_copy: bool
    is_undone: bool
    change: str
    before: str | None
    after: str | None

    @property
    def touches(self) -> set[str]:
        return {self.path, self.to} - {None} if self.kind in CHANGES else {self.path}

    @property
    def is_change(self) -> bool:
        return self.is_done and not self.is_undone and self.kind in CHANGES


def true_steps(recording: Recording) -> list[Step]:
    with sqlite3.connect(f"file:{recording.database}?immutable=1", uri=True) as database:
        began = dict(database.execute("select id, data ->> '$.state.time.start' from part"))
    database.close()
    found = []
    for told in recording.truth["sessions"]:
        latest = 0.0
        raw = [event for event in told["file_events"] if event["part_id"] != NOT_KNOWN]
        for event, said in zip(true_events(told, "path"), raw, strict=True):
            latest = max(latest, began[event.part_id])
            if event.event_type != "bash":
                found.append(
                    Step(
                        *(told["session_id"], event.part_id, latest, event.event_type),
                        *(str(event.path), event.moved_to),
                        *(event.status == "completed", event.is_fork_copy, event.is_undone),
                        *(said.get("change", ""), said["before_sha256"], said["after_sha256"]),
                    )
                )
    return found


def informed(steps: list[Step], place: int) -> bool:
    """Whether the session had read, or made, what this step changes, and nobody came between."""
    step = steps[place]
    own = [
        other
        for other in steps[:place]
        if (other.session, other.is_done, other.is_undone) == (step.session, True, False)
        and step.path in other.touches
    ]
    return bool(own) and not any(
        own[-1].time < other.time < step.time
        for other in steps
        if other.session != step.session
        and other.is_change
        and not other.is_copy
        and step.path in other.touches
    )


# What holds for all of them


@pytest.mark.parametrize("measure", [*OF_FRAMES, *OF_EVENTS])
def test_all_take_the_same_words_for_what_to_count(measure: Measure, demo: Frames) -> None:
    assert "include" in inspect.signature(measure).parameters
    with pytest.raises(ValueError, match="'forks'"):
        table_of(measure, demo, include="forks")


def test_what_is_left_out_counts_when_asked_for() -> None:
    events = frames_of(
        edit("a.py"),
        edit("a.py", is_undone=True),
        edit("a.py", is_fork_copy=True),
        edit("a.py", actor="user"),
    )
    every = ("fork_copies", "undone", "user")
    for measure in (edit_failures, overwrites, scope):
        column = {edit_failures: "attempts", overwrites: "edits", scope: "changes"}[measure]
        counts = [table_of(measure, events, include=some)[column].sum() for some in ((), every)]
        assert counts == [1, 4]
    assert [len(blind_edits(events, include=some)) for some in ((), every)] == [1, 4]


# rates


PUBLISHED = [  # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("count", "total", "low", "high"), PUBLISHED)
def test_interval_is_the_published_one(count: int, total: int, low: float, high: float) -> None:
    found = wilson(pd.Series([count]), pd.Series([total]))
    assert [round(bound[0], 4) for bound in found] == [low, high]


@given(st.integers(0, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_rate_and_solves_the_score_equation(counts: tuple[int, int]) -> None:
    count, total = counts
    (low, high) = (bound[0] for bound in wilson(pd.Series([count]), pd.Series([total])))
    if total == 0:
        assert pd.isna(low) and pd.isna(high)
        return
    rate = count / total
    assert 0 <= low <= rate <= high <= 1
    for bound in (low, high):  # where the score test just rejects
        assert (rate - bound) ** 2 == pytest.approx(
            1.959964**2 * bound * (1 - bound) / total, rel=1e-4, abs=1e-12
        )


def test_rate_of_nothing_is_unknown() -> None:
    cases = pd.DataFrame({"model": ["a", "b", "b"], "is_so": pd.array([None, True, False])})
    cases["is_so"] = cases["is_so"].astype("boolean")
    table = rates(cases, "is_so", by="model")
    assert rows(table, "model", "count", "total", "rate") == [["b", 1, 2, 0.5]]
    assert rows(rates(cases.iloc[:1], "is_so"), "count", "total", "rate") == [[0, 0, None]]


# blind_edits


def test_blind_edits_are_those_of_the_ground_truth(
    recording: Recording, by_name: dict[str, Frames]
) -> None:
    steps = true_steps(recording)
    judged = {
        (step.part, step.path): not informed(steps, place)
        for place, step in enumerate(steps)
        if step.is_change
        and not step.is_copy
        and step.change in ("modify", "delete", "move")
        and not (step.kind == "move" and step.before == step.after)
    }
    table = blind_edits(by_name[recording.name])
    parts = table["event_id"].str.rpartition(".")[0]
    found = dict(zip(zip(parts, table["file_path"], strict=True), table["is_blind"], strict=True))
    assert found == judged
    assert judged


def blind(*events: dict[str, Any], region: bool = False, **others: Any) -> list[bool | None]:
    return [told for (told,) in rows(blind_edits(frames_of(*events, **others), region), "is_blind")]


def test_each_way_of_having_seen_a_file() -> None:
    assert blind(edit("a")) == [True]
    assert blind(read("a"), edit("a"), edit("a")) == [False, False]
    assert blind(read("b"), edit("a"), edit("a")) == [True, False]
    assert blind(read("a", **FAILED), edit("a")) == [True]
    assert blind(edit("a", **FAILED), edit("a")) == [True]
    assert blind(read("a", is_undone=True), edit("a")) == [True]
    assert blind(write("a", is_new_file=True), edit("a")) == [False]
    assert blind(read("a"), move("a", "b"), edit("b")) == [False]
    assert blind(read("a"), edit("a"), read("a", session_id="s2"), edit("a")) == [False, False]


def test_what_another_session_changed_has_to_be_read_again() -> None:
    foreign = edit("a", session_id="s2")
    assert blind(read("a"), foreign, edit("a")) == [True, True]
    assert blind(read("a"), foreign, read("a"), edit("a")) == [True, False]
    assert blind(read("a"), foreign | {"project": "/else"}, edit("a")) == [True, False]
    assert blind(read("a"), foreign | FAILED, edit("a")) == [False]
    table = blind_edits(frames_of(read("a"), foreign, edit("a")))
    assert rows(table, "informed_by", "is_stale") == [[None, False], ["read", True]]


def test_fork_knows_what_was_copied_into_it_and_a_subagent_nothing() -> None:
    copied = read("a", session_id="fork", is_fork_copy=True, seq=0)
    assert blind(read("a"), copied, edit("a", session_id="fork", seq=1)) == [False]
    assert blind(read("a"), edit("a", session_id="child")) == [True]


def test_what_commands_do_is_not_judged_and_informs_of_nothing() -> None:
    by_command = {"evidence": "snapshot", "tool": "bash"}
    assert blind(edit("a", **by_command), edit("a")) == [True]
    assert blind(read("a"), edit("a", **by_command), edit("a")) == [False]
    assert blind(read("a"), move("a", "b", **by_command), edit("b")) == [False]


def test_only_files_that_were_there_are_judged() -> None:
    assert blind(write("a", is_new_file=True)) == []
    assert blind(write("a", is_new_file=False)) == [True]
    assert blind(write("a")) == []  # nobody knows
    assert blind(read("a"), write("a")) == [False]
    assert blind(read("a"), delete("a"), write("a")) == [False]  # the write made it anew
    assert blind(move("a", "b"), move("b", "c", additions=1)) == [False]


def test_files_the_user_attached_are_seen(by_name: dict[str, Frames]) -> None:
    """cart.py was attached whole, checkout.py with its first three lines."""
    frames = by_name[SHOP]
    id = session("Attachments", frames)
    last = int(frames.file_events["seq"][frames.file_events["session_id"].eq(id)].max())
    place = {"session_id": id, "project": "/home/dev/shop", "time": START.replace(year=2027)}

    def told(*late: dict[str, Any], region: bool) -> list[list[Any]]:
        events = [event | place | {"seq": last + 1 + n} for n, event in enumerate(late)]
        events = pd.concat([frames.file_events, file_events(*events)], ignore_index=True)
        table = blind_edits(replace(frames, file_events=events), region=region)
        return rows(table.tail(len(late)), "informed_by", "is_blind")

    cart = edit("cart.py", **at(9, 9))
    second, sixth = (edit("checkout.py", **at(line, line)) for line in (2, 6))
    assert told(cart, sixth, region=False) == [["attachment", False], ["attachment", False]]
    assert told(cart, second, region=True) == [["attachment", False], ["attachment", False]]
    assert told(cart, sixth, region=True) == [["attachment", False], ["attachment", True]]
    assert told(edit("tests/test_cart.py"), region=False) == [[None, True]]


def at(first: int, last: int, added: int = 1, removed: int = 1) -> dict[str, Any]:
    return {"start_line": first, "end_line": last, "additions": added, "deletions": removed}


def test_lines_have_to_be_seen_and_move_with_what_is_changed_above() -> None:
    seen = read("a", start_line=10, end_line=20)
    assert blind(seen, edit("a", **at(15, 15)), region=True) == [False]
    assert blind(seen, edit("a", **at(21, 21)), region=True) == [True]
    assert blind(seen, edit("a", **at(21, 22, 2, 0)), region=True) == [False]  # after line 20
    assert blind(seen, edit("a", **at(22, 22, 1, 0)), region=True) == [True]
    below = [seen, edit("a", **at(1, 5, 5, 0)), edit("a", **at(25, 25))]
    assert blind(*below, region=True) == [True, False]  # what was line 20
    assert blind(*below[:2], edit("a", **at(12, 12)), region=True) == [True, True]
    assert blind(seen, edit("a", **at(15, 15)), edit("a", **at(15, 15)), region=True) == [False] * 2
    assert blind(write("a", is_new_file=True), edit("a", **at(7, 7)), region=True) == [False]
    assert blind(seen, edit("a"), region=True) == [None]
    assert blind(read("a"), edit("a", **at(7, 7)), region=True) == [None]


def test_lines_seen_before_a_compaction_are_forgotten() -> None:
    answer = {"session_id": "s1", "role": "assistant", "is_compaction": True, "is_fork_copy": False}
    messages = frame(
        "messages", [answer | {"is_undone": False, "time": START + pd.Timedelta(seconds=90)}]
    )
    events = [read("a", **at(1, 9)), read("b", **at(1, 9)), read("b", **at(1, 9))]
    changes = [edit("a", **at(2, 2)), edit("b", **at(2, 2))]
    assert blind(*events, *changes, region=True, messages=messages) == [True, False]
    assert blind(*events, *changes, messages=messages) == [False, False]


# redundant_reads


# What happens to a file of 12 lines: who, where, how many lines go, how many come.
happens = st.tuples(
    st.sampled_from(["read", "edit", "edit", "edit", "other", "compaction"]),
    st.integers(0, 30),
    st.integers(0, 4),
    st.integers(0, 4),
)


@given(st.lists(st.lists(happens, max_size=12), max_size=9))
# a removal that goes past what is known
@example([[("edit", 0, 3, 4), ("edit", 3, 3, 0), ("edit", 3, 0, 1)]])
@settings(max_examples=20)
def test_lines_are_those_of_a_file_that_remembers_who_saw_them(stories: list[list[Any]]) -> None:
    events: list[dict[str, Any]] = []
    compactions: list[dict[str, Any]] = []
    expected = []
    for n, story in enumerate(stories):  # each of a file and a session of its own
        file = [False] * 12  # whether the session has seen each line, as it stands
        path, who, another = f"{n}.py", {"session_id": f"s{n}"}, {"session_id": f"other{n}"}
        for kind, where, removed, added in story:
            first = where % (len(file) + 1)  # from 0; at the end, lines can only be added
            removed = min(removed, len(file) - first)
            if kind == "compaction":
                time = START + pd.Timedelta(minutes=len(events) - 0.5)
                compactions.append(who | {"role": "assistant", "time": time, "is_compaction": True})
                file = [False] * len(file)
            elif kind == "read" and removed:
                lines = {"start_line": first + 1, "end_line": first + removed}
                events.append(read(path, **lines, **who))
                file[first : first + removed] = [True] * removed
            elif kind in ("edit", "other") and removed + added:
                # A pure removal is said to be at the line after it.
                lines = at(first + 1, first + max(added, 1), added, removed)
                events.append(edit(path, **lines, **(who if kind == "edit" else another)))
                # An insertion touches the lines that it comes between.
                touched = file[first : first + removed] or file[max(first - 1, 0) : first + 1]
                file[first : first + removed] = [True] * added
                if kind == "other":
                    file = [False] * len(file)
                else:
                    expected.append((path, not any(touched)))
    frames = frames_of(*events, messages=frame("messages", compactions))
    table = blind_edits(frames, region=True)
    table = table[~table["session_id"].astype("str").str.startswith("other")]
    assert rows(table, "file_path", "is_blind") == [list(one) for one in expected]


def test_redundant_reads_are_those_of_the_ground_truth(
    recordings: dict[str, Recording], by_name: dict[str, Frames]
) -> None:
    """Sets of lines, the truth's order, and opencode's own word for lines and compactions."""
    counts = {}
    for name in (SHOP, TRAILMAP):
        steps = true_steps(recordings[name])
        with sqlite3.connect(f"file:{recordings[name].database}?immutable=1", uri=True) as database:
            shown = "data ->> '$.state.metadata.display.lineStart'"
            ends = shown.replace("Start", "End")
            lines = {
                id: set(range(first, last + 1)) if first else set()
                for id, first, last in database.execute(f"select id, {shown}, {ends} from part")
            }
            compacted = list(
                database.execute(
                    "select session_id, data ->> '$.time.created' from message"
                    " where data ->> '$.summary' = 1"
                )
            )
        database.close()
        expected = {}
        for place, step in enumerate(steps):
            if step.kind != "read" or not step.is_done or step.is_copy or step.is_undone:
                continue
            since = [time for id, time in compacted if id == step.session and time < step.time]
            seen: set[int] = set()
            for other in steps[:place] + steps[place + 1 :]:
                if step.path in other.touches and other.is_change and not other.is_copy:
                    is_before = other.session != step.session or other in steps[:place]
                    since += [other.time] * (is_before and other.time <= step.time)
            for other in steps[:place]:
                same = (other.session, other.path, other.kind, other.is_done, other.is_undone)
                is_read = same == (step.session, step.path, "read", True, False)
                if is_read and other.time > max(since, default=0):
                    seen |= lines[other.part]
            read = lines[step.part]
            expected[step.part] = len(read & seen), len(read)
        table = redundant_reads(by_name[name])
        part = table["event_id"].str.rpartition(".")[0]
        found = zip(table["covered_lines"].fillna(0), table["lines"].fillna(0), strict=True)
        assert dict(zip(part, found, strict=True)) == expected
        said = {
            id
            for id, (seen_lines, all_lines) in expected.items()
            if seen_lines >= 0.9 * all_lines > 0
        }
        assert set(part[table["is_redundant"].fillna(False)]) == said
        counts[name] = len(said)
    assert counts[TRAILMAP] > 20


def test_redundant_reads_show_the_same_file_as_one_before(
    recordings: dict[str, Recording], by_name: dict[str, Frames]
) -> None:
    """The contents' hashes know nothing of events: what was read again had not changed."""
    steps = true_steps(recordings[TRAILMAP])
    hashes = {step.part: (step.session, step.path, step.before) for step in steps}
    table = redundant_reads(by_name[TRAILMAP])
    earlier: set[tuple[str, str, str | None]] = set()
    for id, is_redundant in rows(table, "event_id", "is_redundant"):
        told = hashes[id.rpartition(".")[0]]
        assert told in earlier or not is_redundant
        earlier.add(told)


def redundant(*events: dict[str, Any], **others: Any) -> list[bool | None]:
    table = redundant_reads(frames_of(*events, **others))
    return [told for (told,) in rows(table, "is_redundant")]


def lines(first: int, last: int, **more: Any) -> dict[str, Any]:
    return read("a", start_line=first, end_line=last, output_bytes=400) | more


def test_nine_tenths_by_all_earlier_reads_together() -> None:
    assert redundant(lines(1, 10), lines(1, 10)) == [False, True]
    assert redundant(lines(1, 5), lines(5, 9), lines(1, 10)) == [False, False, True]
    assert redundant(lines(1, 5), lines(5, 8), lines(1, 10)) == [False, False, False]
    assert redundant(lines(2, 9), lines(8, 20), lines(3, 4), lines(1, 20))[-1] is True
    assert redundant(read("a"), read("a")) == [None, None]


def test_what_makes_a_second_look_right() -> None:
    first, again = lines(1, 10), lines(1, 10)
    assert redundant(first, edit("a"), again) == [False, False]
    assert redundant(first, edit("a", session_id="s2"), again) == [False, False]
    assert redundant(first, edit("a", **FAILED), again) == [False, True]
    assert redundant(first, again | {"session_id": "s2"}) == [False, False]
    pruned = START + pd.Timedelta(seconds=30)
    assert redundant(first | {"pruned_at": pruned}, again) == [False, False]
    assert redundant(first | {"pruned_at": pruned + pd.Timedelta(hours=1)}, again) == [False, True]
    compaction = {"session_id": "s1", "is_compaction": True, "time": pruned, "role": "assistant"}
    messages = frame("messages", [compaction | {"is_fork_copy": False, "is_undone": False}])
    assert redundant(first, again, messages=messages) == [False, False]


def test_waste_is_below_what_paths_alone_say(demo: Frames) -> None:
    table = redundant_reads(demo)
    assert (table["wasted_tokens"] <= table["repeat_tokens"]).all()
    assert (table["covered_lines"] <= table["lines"]).all()
    assert 3 < table["repeat_tokens"].sum() / table["wasted_tokens"].sum() < 4


# scope, overwrites


def test_scope_and_overwrites_are_those_of_the_ground_truth(
    recording: Recording, by_name: dict[str, Frames]
) -> None:
    events = by_name[recording.name].file_events
    found = {row[0]: row[1:] for row in rows(scope(events), *scope(events))}
    over = {row[0]: row[1:] for row in rows(overwrites(events), *overwrites(events))}
    done = [s for s in true_steps(recording) if s.is_done and not s.is_copy and not s.is_undone]
    for id in {step.session for step in done}:
        own = [step for step in done if step.session == id]
        reads = [step.path for step in own if step.kind == "read"]
        changes = [step for step in own if step.kind in CHANGES]
        first = {step.path: step.change for step in reversed(changes)}
        there = {path for path, change in first.items() if change in ("modify", "delete", "move")}
        there -= {step.to for step in changes}
        both, seen = first.keys() & set(reads), there & set(reads)
        assert found[id][:2] == [len(reads), len(changes)]
        assert found[id][3:5] == [len(set(reads)), len(both)]
        assert found[id][6:8] == [len(there), len(seen)]
        for ratio, (part, whole) in {
            2: (len(reads), len(changes)),
            5: (len(both), len(set(reads))),
            8: (len(seen), len(there)),
        }.items():
            assert found[id][ratio] == (pytest.approx(part / whole) if whole else None)
        writes = sum(step.kind == "write" and step.change == "modify" for step in changes)
        edits = sum(step.kind == "edit" for step in changes)
        if writes + edits:
            whole = writes + edits
            assert over[id] == [writes, edits, whole, pytest.approx(writes / whole)]
        else:
            assert id not in over


# edit_failures


def test_failures_and_what_came_next_are_those_of_the_ground_truth(
    recording: Recording, by_name: dict[str, Frames]
) -> None:
    tries = [
        step
        for step in true_steps(recording)
        if step.kind in CHANGES and not step.is_copy and not step.is_undone
    ]
    overcome = 0
    waits = []
    for place, step in enumerate(tries):
        after = [
            t.is_done
            for t in tries[place + 1 :]
            if (t.session, t.path) == (step.session, step.path)
        ]
        before = [
            t.is_done for t in tries[:place] if (t.session, t.path) == (step.session, step.path)
        ]
        if not step.is_done:
            overcome += bool(after and after[0])
            if not (before and not before[-1]) and True in after:
                waits.append(after.index(True) + 2)
    table = edit_failures(by_name[recording.name].file_events, by="is_undone")
    failures = sum(not step.is_done for step in tries)
    expected = [[len(tries), failures, overcome, np.median(waits) if waits else None]]
    columns = ["attempts", "failures", "recovered", "median_attempts_to_success"]
    assert rows(table, *columns) == expected


def test_why_changes_failed_in_the_demo(by_name: dict[str, Frames]) -> None:
    """Counted by hand in the recording's errors."""
    events = by_name[TRAILMAP].file_events
    reasons = ["failures", "not_found", "several_matches", "stale", "denied", "aborted", "other"]
    assert rows(edit_failures(events, "tool"), "tool", *reasons) == [
        ["apply_patch", 1, 1, 0, 0, 0, 0, 0],
        ["edit", 8, 5, 1, 0, 2, 0, 0],
        ["write", 1, 0, 0, 0, 1, 0, 0],
    ]
    table = edit_failures(events, ["model", "extension"])
    assert (table[reasons[1:]].sum(axis=1) == table["failures"]).all()
    assert set(table["extension"]) >= {".py", ".md", ".toml", ""}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("Error: Could not find oldString in the file. It must match exactly, ...", "not_found"),
        ("oldString not found in content", "not_found"),
        ("Failed to find context 'def f' in /a.py", "not_found"),
        ("File /home/ana/a.py not found", "not_found"),
        ("Found multiple matches for oldString. Provide more context", "several_matches"),
        ("oldString found multiple times and requires more code context", "several_matches"),
        ("oldString not found in content or was found multiple times", "other"),
        ("You must read the file /a.py before overwriting it. Use the Read tool", "stale"),
        ("File /a.py has been modified since it was last read.", "stale"),
        ("No changes to apply: oldString and newString are identical.", "other"),
        (None, "other"),
    ],
)
def test_reasons_by_what_the_tools_of_all_versions_say(error: str | None, reason: str) -> None:
    table = edit_failures(file_events(edit("a", status="error", error=error)))
    assert table[reason][0] == table["failures"][0] == 1


def test_pending_is_no_attempt_and_a_patch_of_two_files_is_two() -> None:
    patch = [edit("a", **FAILED), edit("b", **FAILED)]
    table = edit_failures(file_events(edit("a", status="pending"), *patch, edit("b"), edit("a.b")))
    assert rows(table, "attempts", "failures", "recovered") == [[4, 2, 1]]


# retries, churn_windows, loops


def test_a_retry_is_a_change_after_something_was_run() -> None:
    def told(*events: dict[str, Any]) -> list[list[Any]]:
        return rows(
            retries(frames_of(*events)), "file_path", "changes", "retries", "failed_retries"
        )

    failing = bash("pytest", exit_code=1)
    assert told(edit("a"), failing, edit("a")) == [["a", 2, 1, 1]]
    assert told(edit("a"), bash("pytest", exit_code=0), edit("a")) == [["a", 2, 1, 0]]
    assert told(edit("a"), failing, edit("a"), edit("a"), failing, edit("a")) == [["a", 4, 2, 2]]
    assert told(edit("a"), bash("git diff"), edit("a")) == []
    assert told(edit("a"), failing, edit("b")) == []
    assert told(edit("a"), failing | {"status": "denied"}, edit("a")) == []
    assert told(edit("a"), failing, edit("a", turn=2)) == []
    assert told(edit("a"), failing, edit("a", **FAILED), edit("a")) == [["a", 2, 1, 1]]
    assert told(edit("a"), failing, edit("a", evidence="shell"), edit("b")) == []


def test_retries_in_the_demo_by_hand(demo: Frames) -> None:
    """NOISE is set to 1, 5 and 3 with a failing test after each, then smoothing is dropped."""
    table = retries(demo)
    bug = table[table["session_id"].eq(session("Elevation gain is far too high", demo))]
    columns = ["file_path", "changes", "retries", "failed_retries"]
    assert rows(bug, *columns) == [
        ["trailmap/elevation.py", 10, 3, 3],
        ["trailmap/pace.py", 3, 1, 1],
    ]


SOME = st.lists(
    st.tuples(
        st.sampled_from(["edit", "read", "bash", "fail", "write"]),
        st.sampled_from(["a.py", "b.py", "docs/c.md"]),
        st.sampled_from(["s1", "s2"]),
        st.integers(1, 3),
        st.integers(1, 40),
    ),
    max_size=40,
)


def event(kind: str, path: str, size: int, line: int) -> dict[str, Any]:
    if kind == "read":
        return read(path, start_line=line, end_line=line + 9, output_bytes=400)
    if kind == "bash":
        return bash(["pytest", "ls", "make"][size - 1], exit_code=size - 1)
    if kind == "write":
        return write(path, is_new_file=size == 1, errors_left=size - 1)
    return edit(path, start_line=line, end_line=line + size - 1) | (
        FAILED if kind == "fail" else {}
    )


def made(steps: list[tuple[str, str, str, int, int]]) -> Frames:
    """Frames of two sessions with these steps, a message and a call each."""
    turn = {"s1": 1, "s2": 1}
    events = []
    for number, (kind, path, id, size, line) in enumerate(steps):
        turn[id] += size == 3
        place = {"session_id": id, "turn": turn[id], "message_id": f"m{number}"}
        events.append(event(kind, path, size, line) | place)
    frames = frames_of(*events)
    told = frames.file_events.astype(object).to_dict("records")
    in_call = ("session_id", "turn", "time", "is_fork_copy", "is_undone", "message_id", "seq")
    calls, messages = [], []
    for row in told:
        shared = {name: row[name] for name in in_call}
        messages.append(shared | {"role": "assistant"})
        asked = {name: row[name] for name in ("tool", "status", "actor")}
        same = ["read", "edit", "write", "bash"].index(row["event_type"]) * 10 + ord(
            str(row["file_path"])[0]
        )
        calls.append(shared | asked | {"tool_call_id": row["event_id"], "input_hash": same})
    return replace(
        frames, messages=frame("messages", messages), tool_calls=frame("tool_calls", calls)
    )


def runs_of(frames: Frames, calls: int) -> Iterator[tuple[str, str, int]]:
    """Runs of equal calls with no change between, one call after the other."""
    for id, own in frames.tool_calls.groupby("session_id", observed=True):
        open_runs: dict[tuple[str, int], int] = {}
        events = frames.file_events[frames.file_events["session_id"].eq(id)]
        for call, event in zip(own.itertuples(), events.itertuples(), strict=True):
            key = (call.tool, call.input_hash)
            open_runs[key] = open_runs.get(key, 0) + 1
            if event.event_type in CHANGES and event.status == "completed":
                yield from ((id, k[0], n) for k, n in open_runs.items() if n >= calls)
                open_runs = {}
        yield from ((id, k[0], n) for k, n in open_runs.items() if n >= calls)


@settings(max_examples=20)
@given(SOME)
def test_loops_and_windows_as_plain_loops_find_them(
    steps: list[tuple[str, str, str, int, int]],
) -> None:
    frames = made(steps)
    found = sorted(map(tuple, rows(loops(frames), "session_id", "tool", "calls")))
    assert found == sorted(runs_of(frames, 3))
    seq = dict(zip(frames.messages["message_id"], frames.messages["seq"], strict=True))
    expected = []
    done = frames.file_events["event_type"].isin(CHANGES) & frames.file_events["status"].eq(
        "completed"
    )
    for (id, path), own in frames.file_events[done].groupby(
        ["session_id", "file_path"], observed=True
    ):
        places = [seq[message] for message in own["message_id"]]
        within = [i for i in range(len(places) - 2) if places[i + 2] - places[i] < 10]
        while within:
            first = last = within.pop(0)
            while within and within[0] <= last + 2:
                last = within.pop(0)
            expected.append([id, path, last - first + 3, places[last + 2] - places[first] + 1])
    columns = ["session_id", "file_path", "mutations", "messages"]
    assert sorted(rows(churn_windows(frames), *columns)) == sorted(expected)


def test_a_window_is_ten_messages_with_both_ends() -> None:
    def told(*places: int) -> list[list[Any]]:
        steps = [("edit" if n in places else "read", "a.py", "s1", 1, 1) for n in range(30)]
        return rows(churn_windows(made(steps)), "mutations", "messages")

    assert told(0, 5, 9) == [[3, 10]]
    assert told(0, 5, 10) == []
    assert told(0, 5, 9, 14) == [[4, 15]]  # two that overlap
    assert told(0, 1, 2, 13, 14, 15) == [[3, 3], [3, 3]]


@settings(max_examples=20)
@given(SOME)
def test_counts_are_bounded_and_rates_are_rates(
    steps: list[tuple[str, str, str, int, int]],
) -> None:
    frames = made(steps)
    events = frames.file_events
    ratios = {
        edit_failures: ["failure_rate", "low", "high", "recovery_rate"],
        overwrites: ["overwrite_rate"],
        scope: ["precision", "recall"],
        verification: ["unverified_rate"],
    }
    for measure, columns in ratios.items():
        table = table_of(measure, frames)
        assert table[columns].fillna(0).stack().between(0, 1).all()
    failures = edit_failures(events)
    assert (failures["recovered"] <= failures["failures"]).all()
    assert (failures["failures"] <= failures["attempts"]).all()
    whole, by_lines = blind_edits(frames), blind_edits(frames, region=True)
    assert list(whole["event_id"]) == list(by_lines["event_id"])
    assert (by_lines["is_blind"] | ~whole["is_blind"]).fillna(True).all()  # lines ask for more
    reads = redundant_reads(frames)
    assert (reads["covered_lines"] <= reads["lines"]).all()
    assert (reads["is_repeat"] | ~reads["is_redundant"]).all()
    again = retries(frames)
    assert (again["failed_retries"] <= again["retries"]).all()
    assert (again["retries"] < again["changes"]).all()
    checked = verification(frames)
    assert (checked["unverified_changes"] <= checked["changes"]).all()
    ends = checked["unverified_changes"].eq(0) & checked["changes"].gt(0)
    assert (checked["events_to_check"].notna() == ends).all()
    told = diagnostics(frames)
    of_file = told.groupby(["session_id", "file_path"], observed=True)
    sums = of_file["errors_change"].sum() + of_file["errors_after"].first()
    assert (sums == of_file["errors_after"].last()).all()


def test_the_loop_in_the_demo(demo: Frames) -> None:
    """The reader asks for lines of pace.py three times; the builder's loop has changes in it."""
    (loop,) = loops(demo).to_dict("records")
    assert loop["session_id"] == session("How does the walking time come about?", demo)
    assert (loop["tool"], loop["title"], loop["calls"]) == ("read", "trailmap/pace.py", 3)


# verification, diagnostics


def test_unverified_is_what_no_check_came_after() -> None:
    def told(*events: dict[str, Any]) -> list[Any]:
        columns = ["events_to_check", "unverified_changes", "unverified_at_end", "turns_unverified"]
        (row,) = rows(verification(frames_of(*events)), *columns)
        return row

    check = bash("python -m pytest -q", exit_code=1)
    assert told(edit("a"), edit("b")) == [None, 2, True, 1]
    assert told(edit("a"), read("a"), check) == [2, 0, False, 0]
    assert told(edit("a"), check, edit("b")) == [None, 1, True, 1]
    assert told(edit("a"), edit("a", turn=2), bash("ls", turn=2), check | {"turn": 2}) == [
        2,
        0,
        False,
        1,
    ]
    assert told(edit("a"), check | {"status": "denied"}) == [None, 1, True, 1]
    assert told(check, read("a")) == [None, 0, None, 0]
    assert told(edit("a", **FAILED), edit("a"), bash("cat pytest.ini")) == [None, 1, True, 1]
    both = [
        bash("sed -i s/a/b/ a && pytest", call_id="c"),
        edit("a", call_id="c", evidence="shell"),
    ]
    assert told(*both) == [0, 0, False, 0]


def test_verification_in_the_demo_by_hand(demo: Frames) -> None:
    table = verification(demo).set_index("session_id")
    columns = ["changes", "checks", "failed_checks", "turns_unverified", "unverified_changes"]
    told = {title: table.loc[session(title, demo), columns].tolist() for title in DEMO}
    assert told == DEMO
    assert table["unverified_at_end"].sum() == 6


DEMO = {
    "GPX export for routes": [29, 4, 1, 2, 0],
    "Miles and feet, and a settings file": [31, 5, 1, 1, 8],
    "Do the docs still match the code?": [10, 0, 0, 2, 10],
    "Plan walks over a network of paths (fork #1)": [6, 3, 1, 0, 0],
}


def reported(path: str, *severities: int) -> dict[str, Any]:
    """A change as opencode 1.18.33 stored it with `ruff server` for its language server."""
    place = {"line": 1, "character": 0}
    found = [
        {
            **{"code": "invalid-syntax", "message": "unexpected EOF while parsing"},
            **{"severity": severity, "source": "Ruff", "tags": []},
            "range": {"start": place, "end": place},
        }
        for severity in severities
    ]
    return {"/home/dev/app/other.py": [{"severity": 1}], f"/home/dev/app/{path}": found}


async def test_errors_of_a_language_server() -> None:
    service = ocs.OpencodeSessionService()
    stored = await service.get_or_create_session("ses_1", "build", "/home/dev/app", None, "Lint")
    said = [("a.py", [1, 2]), ("b.py", []), ("a.py", [1, 1]), ("a.py", [1]), ("a.py", [2])]
    for number, (path, severities) in enumerate(said):
        full = f"/home/dev/app/{path}"
        state = {
            **{"status": "completed", "input": {"filePath": full, "content": "x\n"}},
            "metadata": {"filepath": full, "diagnostics": reported(path, *severities)},
            "time": {"start": 1_795_000_000_000 + number, "end": 1_795_000_000_001 + number},
        }
        part = {"type": "tool", "tool": "write", "id": f"prt_{number}", "state": state}
        message = await service.persist_message(
            stored, "assistant", [part], message_id=f"m{number}"
        )
        await service.persist_file_events(message, [part])
    table = diagnostics(await service.frames())
    columns = [
        "file_path",
        "errors_before",
        "errors_after",
        "errors_change",
        "fixed_after",
        "is_fixed",
    ]
    assert rows(table, *columns) == [
        ["a.py", None, 1, None, 4, True],
        ["b.py", None, 0, None, None, None],
        ["a.py", 1, 2, 1, 1, True],
        ["a.py", 2, 1, -1, None, None],
        ["a.py", 1, 0, -1, None, None],
    ]


def test_without_language_servers_nothing_is_known(demo: Frames) -> None:
    assert diagnostics(demo).empty
