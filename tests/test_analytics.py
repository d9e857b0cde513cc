"""The measures: on a few rows made by hand, and on recordings against what really happened."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import RECORDINGS, Recording
from handmade import START, bash, delete, edit, example, file_events, frame, move, read, write
from test_recordings import LEFT_REVERTED, SHOP, numstat, true_events

import opencode_sessions as ocs
from opencode_sessions.analytics import (
    Frames,
    activity,
    compare_with_opencode,
    file_summary,
    file_timeline,
    session_summary,
)
from opencode_sessions.showing.story import Story

OF_EVENTS = [file_timeline, file_summary, activity]
OF_FRAMES = [session_summary, compare_with_opencode]
MUTATIONS = ("write", "edit", "delete", "move")
FAILED = {"status": "error", "additions": None, "deletions": None}


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request: pytest.FixtureRequest, recordings: dict[str, Recording]) -> Recording:
    return recordings[request.param]


@pytest.fixture(scope="module")
def by_name(recordings: dict[str, Recording]) -> dict[str, Frames]:
    return {
        name: ocs.read_opencode(recording.database, shell=False)
        for name, recording in recordings.items()
    }


@pytest.fixture(scope="module")
def frames(recording: Recording, by_name: dict[str, Frames]) -> Frames:
    return by_name[recording.name]


def steps(timeline: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(timeline[list(columns)].itertuples(index=False, name=None))


def numbers(table: pd.DataFrame, *columns: str) -> list[list[int | None]]:
    rows = table[list(columns)].astype(object).where(table[list(columns)].notna(), None)
    return rows.to_numpy().tolist()


# What holds for all of them


@pytest.mark.parametrize("function", OF_EVENTS)
def test_events_are_left_as_they_were(
    function: Callable[..., pd.DataFrame], by_name: dict[str, Frames]
) -> None:
    events = by_name[SHOP].file_events
    before = events.copy(deep=True)
    plain = function(events)
    pd.testing.assert_frame_equal(events, before)
    assert isinstance(plain.index, pd.RangeIndex)
    shuffled = events.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(function(shuffled), plain)
    with_diffs = function(events.assign(diff="x")).drop(columns="diff", errors="ignore")
    pd.testing.assert_frame_equal(with_diffs, plain)
    reads = events[events["event_type"].eq("read")]  # most categories are not observed
    observed = reads.assign(**{c: reads[c].astype("str") for c in ("project", "file_path")})
    assert len(function(reads)) == len(function(observed)) > 0


@pytest.mark.parametrize("function", OF_FRAMES)
def test_frames_are_left_as_they_were(
    function: Callable[..., pd.DataFrame], by_name: dict[str, Frames]
) -> None:
    frames = by_name[SHOP]
    names = ("sessions", "messages", "tool_calls", "file_events")
    before = {name: getattr(frames, name).copy(deep=True) for name in names}
    table = function(frames)
    for name in names:
        pd.testing.assert_frame_equal(getattr(frames, name), before[name])
    assert isinstance(table.index, pd.RangeIndex)
    assert list(table["session_id"]) == list(frames.sessions["session_id"])


def test_text_columns_do_as_well_as_categories() -> None:
    events = example().file_events
    text = events.astype({c: "str" for c in events if events[c].dtype == "category"})
    for function in OF_EVENTS:
        plain, found = function(events).astype(object), function(text).astype(object)
        in_order = plain.columns.intersection(["period", "event_type", "event_id", "file_path"])
        plain, found = (t.sort_values(list(in_order), ignore_index=True) for t in (plain, found))
        pd.testing.assert_frame_equal(found, plain)


def test_only_what_counts_is_counted_unless_asked_for() -> None:
    events = file_events(
        edit("a.py"),
        edit("a.py", is_undone=True),
        edit("a.py", is_fork_copy=True, is_undone=True),
        write("a.py", actor="user"),
    )
    counted = {
        include: int(file_summary(events, include=include)["events"].sum())
        for include in [(), "undone", "user", ("undone", "fork_copies"), ("undone", "user")]
    }
    assert counted == {
        (): 1,
        "undone": 2,
        "user": 2,
        ("undone", "fork_copies"): 3,
        ("undone", "user"): 3,
    }
    with pytest.raises(ValueError, match=r"\['forks'\] is unknown.*'fork_copies'"):
        file_summary(events, include="forks")  # type: ignore[arg-type]


# file_timeline


def test_renamed_file_has_one_history_under_either_name() -> None:
    events = file_events(read("a.py"), edit("a.py"), move("a.py", "b.py"), edit("b.py"))
    by_old, by_new = file_timeline(events, "a.py"), file_timeline(events, "b.py")
    pd.testing.assert_frame_equal(by_old, by_new)
    assert list(by_new["version"]) == [0, 1, 2, 3]
    assert set(by_new["last_path"]) == {"b.py"}
    assert by_new["file_id"].nunique() == 1


def test_path_that_was_left_is_another_file_when_it_is_used_again() -> None:
    events = file_events(
        edit("a.py"), move("a.py", "b.py"), write("a.py", additions=9, deletions=0), edit("b.py")
    )
    columns = ["event_type", "file_id", "last_path", "version"]
    assert steps(file_timeline(events), *columns) == [
        ("edit", 0, "b.py", 1),
        ("move", 0, "b.py", 2),
        ("write", 1, "a.py", 1),
        ("edit", 0, "b.py", 3),
    ]
    assert len(file_timeline(events, "a.py")) == 4  # both files were called so
    assert list(file_timeline(events, "b.py")["event_type"]) == ["edit", "move", "edit"]


def test_deleted_file_that_is_written_again_is_another() -> None:
    events = file_events(edit("a.py"), delete("a.py"), read("a.py", **FAILED), write("a.py"))
    timeline = file_timeline(events, "a.py")
    assert steps(timeline, "file_id", "version") == [(0, 1), (0, 2), (0, 2), (1, 1)]


def test_failed_try_at_a_left_path_means_the_file_that_was_there() -> None:
    events = file_events(move("a.py", "b.py"), edit("a.py", **FAILED), edit("b.py"))
    assert list(file_timeline(events, "b.py")["status"]) == ["completed", "error", "completed"]


@pytest.mark.parametrize("status", ["error", "denied", "aborted", "pending"])
def test_move_that_did_not_happen_renames_nothing(status: str) -> None:
    events = file_events(edit("a.py"), move("a.py", "b.py", status=status), edit("a.py"))
    assert list(file_timeline(events)["file_id"]) == [0, 0, 0]
    assert list(file_timeline(events)["version"]) == [1, 1, 2]
    assert file_timeline(events, "b.py").empty


def test_two_files_that_swap_names_stay_themselves() -> None:
    events = file_events(
        read("a"), read("b"), move("a", "tmp"), move("b", "a"), move("tmp", "b"), edit("b")
    )
    assert list(file_timeline(events)["file_id"]) == [0, 1, 0, 1, 0, 0]


def test_file_that_another_is_moved_onto_is_gone() -> None:
    events = file_events(edit("old"), edit("new"), move("new", "old"), edit("old"))
    assert list(file_timeline(events)["file_id"]) == [0, 1, 1, 1]


def test_move_onto_itself_is_a_change() -> None:
    events = file_events(edit("a"), move("a", "a"), edit("a"))
    assert steps(file_timeline(events), "file_id", "version") == [(0, 1), (0, 2), (0, 3)]


def test_two_projects_share_no_file() -> None:
    events = file_events(
        edit("a.py"),
        edit("a.py", project="/home/ana/other", session_id="s2"),
        move("a.py", "b.py"),
        edit("a.py", project="/home/ana/other", session_id="s2"),
    )
    assert list(file_timeline(events)["file_id"]) == [0, 1, 0, 1]
    assert list(file_timeline(events, "b.py")["project"].unique()) == ["/home/ana/app"]
    assert list(file_summary(events)["project"]) == ["/home/ana/app", "/home/ana/other"]


def test_sessions_are_told_in_one_order_and_never_against_their_own() -> None:
    events = file_events(
        edit("a", seq=0, time=START + pd.Timedelta(seconds=5)),  # one step, started out of order
        edit("a", seq=1, time=START + pd.Timedelta(seconds=4)),
        edit("a", seq=0, time=START + pd.Timedelta(seconds=4.5), session_id="s2"),
        edit("a", seq=1, time=None, session_id="s2"),
        edit("a", seq=2, time=START + pd.Timedelta(seconds=9), session_id="s2"),
    )
    expected = [("s2", 0), ("s2", 1), ("s1", 0), ("s1", 1), ("s2", 2)]
    assert steps(file_timeline(events), "session_id", "seq") == expected


def test_undone_turn_and_fork_copy_rename_nothing_and_make_no_version() -> None:
    events = file_events(
        edit("a"),
        move("a", "b", is_undone=True),
        edit("a"),
        move("a", "c", is_fork_copy=True, session_id="s2", seq=0),
        edit("a"),
    )
    shown = file_timeline(events, "a", include=("undone", "fork_copies"))
    assert list(shown["event_type"]) == ["edit", "move", "edit", "move", "edit"]
    assert list(shown["file_id"].unique()) == [0]
    assert list(shown["version"]) == [1, 1, 2, 2, 3]
    assert list(file_timeline(events, "a")["version"]) == [1, 2, 3]


def test_copy_of_a_move_belongs_to_the_file_that_moved() -> None:
    events = file_events(
        edit("a"),
        move("a", "b"),
        edit("a", is_fork_copy=True, session_id="s2", seq=0, time=START),
        move("a", "b", is_fork_copy=True, session_id="s2", seq=1),
        edit("b", is_fork_copy=True, session_id="s2", seq=2),
    )
    assert list(file_timeline(events, "b", include="fork_copies")["file_id"].unique()) == [0]


def test_commands_have_no_path_and_an_unknown_path_no_events() -> None:
    events = file_events(bash("mv a b"), edit("a"))
    assert list(file_timeline(events)["event_type"]) == ["edit"]
    unknown = file_timeline(events, "b")
    assert unknown.empty
    assert list(unknown.dtypes) == list(file_timeline(events).dtypes)


def test_a_name_without_its_folder_is_said_to_be_none(
    trailmap: Recording, by_name: dict[str, Frames], caplog: pytest.LogCaptureFixture
) -> None:
    events = by_name[trailmap.name].file_events
    assert file_timeline(events, "distance.py").empty
    assert caplog.messages == [
        "No event is of file 'distance.py'. So named: trailmap/geo/distance.py."
    ]
    caplog.clear()
    assert file_timeline(events, "nowhere.py").empty
    assert caplog.messages == ["No event is of file 'nowhere.py'."]
    caplog.clear()
    assert not file_timeline(events, "trailmap/geo/distance.py").empty
    assert not caplog.messages


def test_moved_module_of_trailmap_has_the_history_of_both_names(
    trailmap: Recording, by_name: dict[str, Frames]
) -> None:
    timeline = file_timeline(by_name[trailmap.name].file_events, "trailmap/geometry.py")
    happened = Counter(
        event.event_type
        for session in trailmap.truth["sessions"]
        for event in true_events(session, "path")
        if event.path in ("trailmap/geometry.py", "trailmap/geo/distance.py")
        and not event.is_fork_copy
    )
    assert Counter(timeline["event_type"]) == happened == {"read": 15, "edit": 9, "move": 1}
    assert timeline["file_id"].nunique() == 1
    assert list(timeline["version"].tail(1)) == [9]
    assert timeline["time"].is_monotonic_increasing


# file_summary


def test_summary_counts_what_happened_to_each_path(recording: Recording, frames: Frames) -> None:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for session in recording.truth["sessions"]:
        for event in true_events(session, "path"):
            if event.path is None or event.is_fork_copy or event.is_undone:
                continue
            of_path = counts.setdefault((session["directory"], event.path), Counter())
            done = event.status == "completed"
            of_path[f"{event.event_type}s" if done else "failed"] += 1
            of_path["events"] += 1
    kinds = ["events", "reads", "writes", "edits", "deletes", "moves", "failed"]
    summary = file_summary(frames.file_events)
    found = {
        (row["project"], row["file_path"]): Counter({kind: row[kind] for kind in kinds})
        for row in summary.to_dict("records")
    }
    assert found == {
        path: Counter({kind: of[kind] for kind in kinds}) for path, of in counts.items()
    }
    assert summary["events"].is_monotonic_decreasing


def test_summary_of_one_file_by_hand(by_name: dict[str, Frames]) -> None:
    summary = file_summary(by_name["opencode-1.2.1"].file_events).set_index("file_path")
    readme, checkout = summary.loc["README.md"], summary.loc["checkout.py"]
    assert (readme["writes"], readme["lines_unknown"], readme["churn"]) == (1, 1, pd.NA)
    assert (checkout["additions"], checkout["deletions"], checkout["churn"]) == (4, 4, 8)
    assert (checkout["sessions"], checkout["turns"]) == (2, 2)
    assert (checkout["agents"], checkout["models"]) == ("build", "fake-1, gpt-5-fake")
    assert checkout["first_time"] < checkout["last_time"]


def test_lines_are_summed_where_some_are_known() -> None:
    summary = file_summary(file_events(edit("a", additions=3), write("a"), read("b"), write("c")))
    rows = numbers(summary, "additions", "deletions", "churn", "lines_unknown")
    assert rows == [[3, 1, 4, 1], [0, 0, 0, 0], [None, None, None, 1]]


def test_names_are_sorted_and_missing_where_nobody_said_any() -> None:
    summary = file_summary(
        file_events(
            edit("a", agent_name="plan", model=None),
            edit("a", agent_name="build", model=None),
            edit("a", agent_name="plan", model=None),
        )
    )
    assert summary["agents"][0] == "build, plan"
    assert summary["models"].isna().all()


def test_projects_one_by_one_add_up_to_all_of_them(by_name: dict[str, Frames]) -> None:
    events = by_name[SHOP].file_events
    parts = [file_summary(part) for _, part in events.groupby("project", observed=True)]
    assert len(parts) == 3
    whole = file_summary(events).astype({"project": "str", "file_path": "str"})
    by = ["project", "file_path"]
    joined = pd.concat(parts).astype({"project": "str", "file_path": "str"})
    pd.testing.assert_frame_equal(
        joined.sort_values(by, ignore_index=True), whole.sort_values(by, ignore_index=True)
    )


# session_summary


def test_session_counts_what_happened(recording: Recording, frames: Frames) -> None:
    summary = session_summary(frames).set_index("session_id")
    for session in recording.truth["sessions"]:
        events = [
            event
            for event in true_events(session, "path")
            if event.status == "completed" and not (event.is_fork_copy or event.is_undone)
        ]
        changes = [event for event in events if event.event_type in MUTATIONS]
        names = [(e.event_type, last_name(e.path, events[n:])) for n, e in enumerate(events)]
        found = summary.loc[session["session_id"]]
        assert found["files_read"] == len({name for kind, name in names if kind == "read"})
        assert found["files_changed"] == len({name for kind, name in names if kind in MUTATIONS})
        assert [found[f"{kind}s"] for kind in MUTATIONS] == [
            sum(event.event_type == kind for event in changes) for kind in MUTATIONS
        ]


def last_name(path: str, later: list[Any]) -> str:
    """What the file at this path is called once all that happened later has happened."""
    for event in later:
        if event.event_type == "move" and event.path == path:
            path = event.moved_to
    return path


def test_a_session_counts_the_files_that_the_explorer_lists(frames: Frames) -> None:
    summary = session_summary(frames, include=("fork_copies", "undone", "user"))
    for session, events in frames.file_events.groupby("session_id", observed=True):
        story = Story(events.reset_index(drop=True))
        is_done, kind = story.events["status"].eq("completed"), story.events["event_type"]
        found = summary.set_index("session_id").loc[session]
        assert found["files_read"] == story.names[is_done & kind.eq("read")].nunique()
        assert found["files_changed"] == story.names[is_done & kind.isin(MUTATIONS)].nunique()


@pytest.mark.parametrize(
    ("events", "read_and_changed"),
    [
        ([read("a"), edit("a"), move("a", "b"), read("b"), edit("b")], (1, 1)),
        ([move("a", "b"), move("b", "c"), move("c", "a")], (0, 1)),
        ([read("a"), move("a", "b"), write("a"), read("a")], (2, 2)),
        ([edit("a"), move("a", "b", status="error"), edit("b")], (0, 2)),
        ([edit("a"), edit("b"), move("c", "d", session_id="s2")], (0, 2)),
        ([edit("a"), move("a", "b", session_id="s2"), edit("b")], (0, 2)),
    ],
)
def test_what_a_session_moved_is_one_file(
    events: list[dict[str, Any]], read_and_changed: tuple[int, int]
) -> None:
    made = example()
    twice = made.sessions.assign(session_id=pd.Categorical(["s2"]))
    sessions = pd.concat([made.sessions, twice], ignore_index=True)
    frames = Frames(sessions, made.messages, made.tool_calls, file_events(*events))
    summary = session_summary(frames).set_index("session_id").loc["s1"]
    assert (summary["files_read"], summary["files_changed"]) == read_and_changed


def test_session_counts_its_own_calls(recording: Recording, frames: Frames) -> None:
    summary = session_summary(frames).set_index("session_id")
    for session in recording.truth["sessions"]:
        id, calls = session["session_id"], len(session["tool_calls"])
        copies = sum(bool(event.get("copied_by_fork")) for event in session["file_events"])
        if session["title"] == "Attachments":
            calls -= 1  # the user's own command
        elif id == LEFT_REVERTED:
            calls = 0
        elif copies:  # the truth marks the copies that touched files
            assert summary.loc[id, "calls"] <= calls - copies
            continue
        assert summary.loc[id, "calls"] == calls


def test_lines_of_a_session_are_what_git_counts(
    recording: Recording, frames: Frames, tmp_path: Path
) -> None:
    contents = recording.truth["contents"] | {None: ""}
    changes = [
        (session["session_id"], contents[event["before_sha256"]], contents[event["after_sha256"]])
        for session in recording.truth["sessions"]
        for event in session["file_events"]
        if event.get("change") in ("create", "modify", "delete", "move")
        and (event["tool"], event["change"]) != ("write", "modify")  # known to nobody but the disk
        and not event.get("copied_by_fork")
        and {event["before_sha256"], event["after_sha256"]} <= contents.keys()
    ]
    counted = numstat(tmp_path, [(before, after) for _, before, after in changes])
    counts = pd.DataFrame(counted, columns=["additions", "deletions"])
    true = counts.groupby([session for session, _, _ in changes]).sum()
    summary = session_summary(frames).set_index("session_id")
    summary = summary[summary["title"] != "Colour and outside file"]  # and what is outside, is
    known = summary[summary["churn"].fillna(0) > 0]  # not in the truth
    expected = true.loc[true.index.isin(summary.index) & true.any(axis=1)]
    for lines in ("additions", "deletions"):
        assert known[lines].to_dict() == expected[lines].to_dict()


def test_times_of_a_session_are_the_databases(recording: Recording, frames: Frames) -> None:
    """The same numbers from opencode's JSON, in SQL."""
    with sqlite3.connect(f"file:{recording.database}?immutable=1", uri=True) as database:
        started = dict(
            database.execute(
                """select s.id, min(m.data ->> '$.time.created') from session s
                join message m on m.session_id = s.id
                where m.data ->> '$.time.created' >= s.time_created group by s.id"""
            )
        )
        edited = dict(
            database.execute(
                """select s.id, min(p.data ->> '$.state.time.start') from session s
                join part p on p.session_id = s.id join message m on m.id = p.message_id
                where p.data ->> '$.tool' in ('edit', 'write', 'apply_patch')
                and p.data ->> '$.state.status' = 'completed' and s.revert is null
                and m.data ->> '$.time.created' >= s.time_created group by s.id"""
            )
        )
        before = dict(
            database.execute(
                """select s.id, count(*) from session s
                join part p on p.session_id = s.id join message m on m.id = p.message_id
                where p.data ->> '$.type' = 'tool'
                and m.data ->> '$.time.created' >= s.time_created
                and p.data ->> '$.state.time.start' < (
                    select min(q.data ->> '$.state.time.start') from part q
                    join message n on n.id = q.message_id
                    where q.session_id = s.id
                    and q.data ->> '$.tool' in ('edit', 'write', 'apply_patch')
                    and q.data ->> '$.state.status' = 'completed'
                    and n.data ->> '$.time.created' >= s.time_created)
                group by s.id"""
            )
        )
    database.close()
    summary = session_summary(frames).set_index("opencode_session_id")
    seconds = {id: (edited[id] - started[id]) / 1000 for id in edited}
    assert summary["first_edit_s"].dropna().to_dict() == pytest.approx(seconds)
    calls = summary["first_edit_calls"].dropna().to_dict()
    assert calls == {id: before.get(id, 0) for id in edited}
    assert len(seconds) > 2


def test_ends_and_tokens_of_a_session_are_the_databases(
    recording: Recording, frames: Frames
) -> None:
    """How long it took, and what the model wrote before it changed something: in SQL again."""
    own = """from session s join message m on m.session_id = s.id
        left join part p on p.message_id = m.id and p.data ->> '$.type' = 'tool'
        where m.data ->> '$.time.created' >= s.time_created and s.revert is null"""
    with sqlite3.connect(f"file:{recording.database}?immutable=1", uri=True) as database:
        took = dict(
            database.execute(
                f"""select s.id, max(max(
                    coalesce(m.data ->> '$.time.completed', m.data ->> '$.time.created'),
                    coalesce(p.data ->> '$.state.time.end', 0)
                )) - min(m.data ->> '$.time.created') {own} group by s.id"""
            )
        )
        wrote = {
            id: (output, reasoning)
            for id, output, reasoning in database.execute(
                f"""with edited as (
                    select s.id, min(p.data ->> '$.state.time.start'), m.data as message {own}
                    and p.data ->> '$.tool' in ('edit', 'write', 'apply_patch')
                    and p.data ->> '$.state.status' = 'completed' group by s.id
                ) select e.id, sum(m.data ->> '$.tokens.output'),
                sum(m.data ->> '$.tokens.reasoning')
                from edited e join session s on s.id = e.id left join message m
                on m.session_id = e.id and m.data ->> '$.time.created' >= s.time_created
                and m.data ->> '$.time.created' < e.message ->> '$.time.created'
                group by e.id"""
            )
        }
    database.close()
    summary = session_summary(frames).set_index("opencode_session_id")
    summary = summary[summary["duration_s"].notna() & summary.index.isin(took)]
    seconds = {id: took[id] / 1000 for id in summary.index}
    assert summary["duration_s"].to_dict() == pytest.approx(seconds)
    versions = frames.sessions.set_index("opencode_session_id")["opencode_version"].astype("str")
    # Until 1.3 the reasoning was counted in the output.
    splits = {id: int(str(versions[id]).split(".")[1]) >= 14 for id in wrote}
    tokens = {id: (said[0] or 0) + (said[1] or 0) * splits[id] for id, said in wrote.items()}
    assert summary["first_edit_tokens"].dropna().to_dict() == tokens
    assert sum(map(bool, tokens.values())) > 1


def test_durations_by_hand() -> None:
    summary = session_summary(example())
    assert summary["duration_s"][0] == 200 + 10 + 180 + 20  # to the end of the second answer
    assert summary["active_s"][0] == (10 + 180) + (10 + 180) + 10
    assert (summary["turns"][0], summary["first_edit_calls"][0]) == (2, 2)


def test_session_without_messages_has_no_times(by_name: dict[str, Frames]) -> None:
    summary = session_summary(by_name[SHOP]).set_index("title").loc["Never used"]
    assert (summary["calls"], summary["additions"], summary["lines_unknown"]) == (0, 0, 0)
    assert pd.isna(summary["duration_s"]) and pd.isna(summary["active_s"])
    assert pd.isna(summary["first_edit_s"]) and summary["first_edit_calls"] is pd.NA


def test_refused_and_stopped_calls_are_told_apart(by_name: dict[str, Frames]) -> None:
    summary = session_summary(by_name[SHOP]).set_index("title")
    counts = ["calls", "failed", "denied", "aborted"]
    assert summary.loc["Greeting with permissions", counts].tolist() == [8, 3, 3, 0]
    assert summary.loc["A long report", counts].tolist() == [3, 1, 0, 1]


# activity


def at(*times: str, **more: Any) -> pd.DataFrame:
    return file_events(*(edit("a", time=pd.Timestamp(time)) | more for time in times))


def periods(events: pd.DataFrame, freq: Any, tz: str) -> list[tuple[str, int]]:
    table = activity(events, freq, tz)
    return [(str(period), count) for period, count in steps(table, "period", "events")]


def test_day_is_the_readers_and_has_23_or_25_hours() -> None:
    spring = at("2026-03-28T23:30Z", "2026-03-29T21:30Z", "2026-03-29T22:30Z")
    assert periods(spring, "D", "Europe/Berlin") == [
        ("2026-03-29 00:00:00+01:00", 2),
        ("2026-03-30 00:00:00+02:00", 1),
    ]
    autumn = at("2026-10-24T22:30Z", "2026-10-25T22:30Z", "2026-10-25T23:30Z")
    assert periods(autumn, "D", "Europe/Berlin") == [
        ("2026-10-25 00:00:00+02:00", 2),
        ("2026-10-26 00:00:00+01:00", 1),
    ]


def test_hour_that_the_clock_repeats_is_two() -> None:
    events = at("2026-10-25T00:10Z", "2026-10-25T00:50Z", "2026-10-25T01:10Z")
    assert periods(events, "h", "Europe/Berlin") == [
        ("2026-10-25 02:00:00+02:00", 2),
        ("2026-10-25 02:00:00+01:00", 1),
    ]


def test_hours_of_a_zone_half_an_hour_apart_are_its_own() -> None:
    events = at("2026-03-07T18:20Z", "2026-03-07T18:40Z", "2026-03-07T19:20Z")
    assert periods(events, "h", "Asia/Kolkata") == [
        ("2026-03-07 23:00:00+05:30", 1),
        ("2026-03-08 00:00:00+05:30", 2),
    ]


def test_day_without_a_midnight_starts_at_one_and_with_two_at_the_first() -> None:
    assert periods(at("2018-11-04T03:30Z", "2018-11-05T01:30Z"), "D", "America/Sao_Paulo") == [
        ("2018-11-04 01:00:00-02:00", 2)
    ]
    twice = at("2026-11-01T04:30Z", "2026-11-01T05:30Z", "2026-11-01T12:00Z")
    assert periods(twice, "D", "America/Havana") == [("2026-11-01 00:00:00-04:00", 3)]


def test_month_starts_at_the_readers_first_midnight() -> None:
    events = at("2026-02-28T22:59Z", "2026-02-28T23:01Z", "2026-03-31T21:59Z", "2026-03-31T22:01Z")
    assert periods(events, "M", "Europe/Berlin") == [
        ("2026-02-01 00:00:00+01:00", 1),
        ("2026-03-01 00:00:00+01:00", 2),
        ("2026-04-01 00:00:00+02:00", 1),
    ]


def test_time_zone_and_frequency_have_to_be_known() -> None:
    with pytest.raises(ValueError, match="freq='W' is unknown"):
        activity(at("2026-03-07T00:00Z"), "W")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="Mars"):
        activity(at("2026-03-07T00:00Z"), tz="Mars")


def test_event_without_a_time_is_counted_too() -> None:
    events = file_events(edit("a"), edit("a", time=None))
    table = activity(events)
    assert list(table["events"]) == [1, 1] and pd.isna(table["period"][1])


def test_activity_adds_up_to_the_summary_however_it_is_split(frames: Frames) -> None:
    events = frames.file_events
    summary = file_summary(events)
    for by in (None, "project", ["agent_name", "model"]):
        table = activity(events, "h", "Europe/Berlin", by=by)
        of_files = table[table["event_type"] != "bash"]
        for column in ("events", "failed", "additions", "deletions", "churn", "lines_unknown"):
            assert of_files[column].sum() == summary[column].sum()
        keys = list(table.columns[: table.columns.get_loc("event_type") + 1])
        assert not table.duplicated(keys).any()
        assert table["period"].is_monotonic_increasing


# compare_with_opencode


def comparison(frames: Frames) -> dict[str, list[Any]]:
    table = compare_with_opencode(frames)
    groups = ["reported_", "turns_", ""]
    rows = [
        numbers(table, *(f"{g}{n}" for n in ("files", "additions", "deletions"))) for g in groups
    ]
    told = zip(table["title"], *rows, table["why"], strict=True)
    return {title: [*parts] for title, *parts in told}


SHELL = "4 shell commands, whose changes no tool call tells; lines of 1 change not known"
BY_CHILD = "2 changes by its subagents (+5 -0)"
UNTIL_1_15 = {
    "Add a discount to the cart": [[9, 20, 9], [9, 20, 9], [5, 14, 6], SHELL],
    "Add shipping costs": [[5, 7, 4], [5, 7, 4], [5, 7, 4], ""],
    "Review of the tests": [[1, 5, 0], [1, 5, 0], [0, 0, 0], BY_CHILD],
    "Review the tests (@general subagent)": [[1, 5, 0], [1, 5, 0], [1, 5, 0], ""],
}
BLIND = "its summary is empty; the diffs of its turns are empty too"
# Their snapshots did not notice the patch: the tree before and after is the same.
AT_1_2_27 = UNTIL_1_15 | {"Add shipping costs": [[0, 0, 0], [0, 0, 0], [5, 7, 4], BLIND]}
SINCE_1_17 = {
    title: [[0, 0, 0], turns, ours, "; ".join(["zeros since 1.17", *([why] if why else [])])]
    for title, (_, turns, ours, why) in UNTIL_1_15.items()
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("opencode-1.2.1", UNTIL_1_15),
        ("opencode-1.2.27", AT_1_2_27),
        ("opencode-1.3.2", AT_1_2_27),
        ("opencode-1.14.34", UNTIL_1_15),
        ("opencode-1.15.4", UNTIL_1_15),
        ("opencode-1.1.65-upgraded-to-1.18.33", UNTIL_1_15),
        ("opencode-1.17.11", SINCE_1_17),
    ],
)
def test_each_version_against_the_tool_calls(
    name: str, expected: dict[str, list[Any]], by_name: dict[str, Frames]
) -> None:
    assert comparison(by_name[name]) == expected


def test_newest_version_against_the_tool_calls(by_name: dict[str, Frames]) -> None:
    found, nothing = comparison(by_name[SHOP]), [None, None, None]
    assert {title: found[title] for title in SINCE_1_17} == SINCE_1_17
    zeros, twice = "zeros since 1.17; ", "1 file changed in several turns, counted in each"
    assert found["Tax rate"] == [[0, 0, 0], [2, 2, 1], [1, 2, 1], zeros + twice]
    assert found["Receipts"] == [[0, 0, 0], [1, 2, 0], [1, 2, 0], zeros[:-2]]
    assert found["Scratch notes"] == [
        *([0, 0, 0], [0, 0, 0], [1, 2, 1]),
        zeros + "no git here, so opencode makes no diffs",
    ]
    assert found["Colour and outside file"] == [
        *([0, 0, 0], [1, 2, 0], [2, 4, 1]),
        zeros + "1 file changed more than once in a turn, net in opencode; "
        "1 file outside the worktree",
    ]
    assert found["Left reverted"] == [[1, 1, 0], nothing, [0, 0, 0], "1 event undone"]
    assert found["An archived session"] == [[0, 0, 0], [0, 0, 0], [0, 0, 0], ""]
    no_summary = "opencode keeps no summary of this session"
    assert found["Never used"] == [nothing, nothing, [0, 0, 0], no_summary]
    assert found["Tax rate (fork #1)"][-1] == no_summary + "; 1 event copied by the fork"


def test_what_opencode_has_more_is_the_write_and_the_shell(
    recordings: dict[str, Recording], by_name: dict[str, Frames], tmp_path: Path
) -> None:
    recording = recordings["opencode-1.2.1"]
    contents = recording.truth["contents"] | {None: ""}
    events = recording.truth["sessions"][0]["file_events"]
    by_write = [e for e in events if (e["tool"], e.get("change")) == ("write", "modify")]
    by_shell = [change for e in events for change in e.get("changed_files", [])]
    counts = numstat(
        tmp_path,
        [(contents[e["before_sha256"]], contents[e["after_sha256"]]) for e in by_write + by_shell],
    )
    table = compare_with_opencode(by_name[recording.name])
    more = [-table[f"diff_{name}"][0] for name in ("files", "additions", "deletions")]
    assert more == [len(by_shell), *map(sum, zip(*counts, strict=True))]


def test_other_sessions_changes_are_in_the_diffs_of_a_session_that_only_read(
    by_name: dict[str, Frames],
) -> None:
    found = comparison(by_name["trailmap-1.18.33"])
    assert found["How does the walking time come about?"] == [
        *([0, 0, 0], [16, 78, 16], [0, 0, 0]),
        "zeros since 1.17; 43 changes by 4 other sessions at the same time",
    ]
    forked = found["Plan walks over a network of paths (fork #1)"]
    assert "; 11 events copied by the fork; " in forked[-1]
    assert "; 3 changes by its subagents (+18 -2); " in found["Review before the release"][-1]


def test_others_are_counted_as_they_were_in_time(
    trailmap: Recording, by_name: dict[str, Frames]
) -> None:
    """The 43 changes above, from the truth's order and the frames' times alone."""
    frames = by_name[trailmap.name]
    reader = frames.sessions.set_index("title")["session_id"][
        "How does the walking time come about?"
    ]
    messages = frames.messages[frames.messages["session_id"] == reader]
    ends = messages["time"] + pd.to_timedelta(messages["duration_s"].fillna(0), unit="s")
    turns = pd.DataFrame({"start": messages["time"], "end": ends}).groupby(messages["turn"])
    changes = {
        event.part_id: session["session_id"]
        for session in trailmap.truth["sessions"]
        for event in true_events(session, "path")
        if event.event_type in MUTATIONS and event.status == "completed" and not event.is_fork_copy
    }
    events = frames.file_events
    part = events["event_id"].str.rpartition(".")[0]
    during = pd.concat(
        events[events["time"].between(turn["start"].min(), turn["end"].max()) & part.isin(changes)]
        for _, turn in turns
    )
    assert (len(during), during["session_id"].nunique()) == (43, 4)


def test_copies_and_undone_turns_compared_when_asked_for(by_name: dict[str, Frames]) -> None:
    table = compare_with_opencode(by_name[SHOP], include=("fork_copies", "undone"))
    rows = dict(zip(table["title"], numbers(table, "turns_files", "files"), strict=True))
    assert rows["Left reverted"] == [1, 0]
    assert rows["Tax rate (fork #1)"] == [1, 1]
    assert not table["why"].str.contains("copied|undone").any()


def test_parents_in_a_circle_are_each_others_subagents_once() -> None:
    frames = example()
    session = frames.sessions.iloc[0].to_dict()
    circle = frame(
        "sessions",
        [
            session | {"session_id": one, "parent_session_id": other, "reported_files": 1}
            for one, other in (("s1", "s2"), ("s2", "s1"), ("s3", "s3"))
        ],
    )
    table = compare_with_opencode(
        Frames(circle, frames.messages, frames.tool_calls, frames.file_events)
    )
    assert "subagents" not in table["why"][0]
    assert list(table["why"][1:]) == ["4 changes by its subagents (+5 -3)", ""]
