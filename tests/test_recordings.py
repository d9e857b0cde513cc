"""Recordings of real opencode, held against what really happened: every file event, every call.

The truth knows two statuses, completed and error. Ours are finer; where they differ is named below,
and so are the one event that opencode itself does not know and the one move that failed.
"""

import posixpath
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from conftest import RECORDINGS, TRAILMAP, TREES, Recording

import opencode_sessions as ocs
from opencode_sessions.records import (
    FileEventRecord,
    MessageRecord,
    SessionRecord,
    ToolCallRecord,
)
from opencode_sessions.rows import row_id
from opencode_sessions.tokens import Tokens

SHOP = "opencode-1.18.33"
# Part by part, what was done in the recordings: refused by a rule, refused by the user with a
# reason or without, stopped while it ran.
REFINED = {
    "prt_2042b680f001imlLAV2CqRtJ3a": "denied",  # "Greeting with permissions": rm, by rule
    "prt_2042b6f43001KmbRDLGAhZByr0": "denied",  # an edit, plainly: the turn ends
    "prt_2042b737c001dU5OJwUsyvhxW3": "denied",  # an edit, with feedback: the turn goes on
    "prt_2042b8b9d001ILX4YmORW1VwbY": "aborted",  # "A long report": while bash runs
    "prt_204621992001qOdIOWlfcq9qpb": "denied",  # "Weather and grades": a write, agent plan
    "prt_2046ac307001ImvaoBct6W6O8j": "denied",  # "A web page": a command, with a reason
    "prt_2046b63f6001838R3Znns3Xkbj": "denied",  # rm, by rule
    "prt_2046bbe3b001BRR59u5CJwcyXR": "denied",  # an edit of pyproject.toml, by rule
    "prt_2046c2fdb001rguf4cPoL75WFF": "denied",  # a command, plainly
    "prt_2046e64350014031NGn1uUuyNv": "denied",  # "How does the walking time": an edit, agent plan
}
# An agent without the edit tool called it all the same: opencode stored a call of tool "invalid"
# and no path, so there is a call and no file event.
NOT_KNOWN = "prt_2046e9f5a001hOioxD9JN12D7V"
LEFT_REVERTED = "ses_dfbd43abcffeAAPGmPed1zVn2z"
# 0.1.174 was asked to update and move a file and did neither. The type is what was asked for; the
# truth calls it an update, of a file that stayed where it was.
FAILED_MOVE = ("msg_2041d4680001rQvmwAF9GxXWjU", "docs/notes.txt", "docs/hints.txt")
PATCH_TOOLS = ("apply_patch", "patch")
PATCHES = {"add": "write", "update": "edit", "delete": "delete", None: "move"}


class Event(NamedTuple):
    """A file event as truth and package both tell it."""

    message_id: str
    part_id: str
    call_id: str
    tool: str
    event_type: str
    path: str | None
    moved_to: str | None
    status: str
    is_fork_copy: bool
    is_undone: bool


@pytest.fixture(scope="module", params=[*TREES, *RECORDINGS])
def recording(
    request: pytest.FixtureRequest, recordings: dict[str, Recording], trees: dict[str, Recording]
) -> Recording:
    return (trees | recordings)[request.param]


@pytest.fixture(scope="module")
def records(recording: Recording) -> dict[str, SessionRecord]:
    return read(recording)


@pytest.fixture(scope="module")
def frames(recording: Recording) -> Any:
    return ocs.read_opencode(recording.database, shell=False)


def read(recording: Recording) -> dict[str, SessionRecord]:
    (source,) = ocs.sources.find(recording.database)
    count, *found = source.sessions(shell=False)
    assert all(isinstance(record, SessionRecord) for record in found), found
    assert count == len(found)
    return {record.id: record for record in found}


def true_events(session: dict[str, Any], path: str) -> list[Event]:
    """The truth's events of a session, with the paths under this key."""
    return [
        Event(
            event["message_id"],
            event["part_id"] or "",
            event["call_id"],
            event["tool"],
            true_type(event),
            event.get(path) or event.get("abs_path"),
            FAILED_MOVE[2] if is_failed_move(event) else event.get("moved_to"),
            REFINED.get(event["part_id"], event["status"]),
            bool(event.get("copied_by_fork")),
            session["session_id"] == LEFT_REVERTED,
        )
        for event in session["file_events"]
        if event["part_id"] != NOT_KNOWN
    ]


def true_type(event: dict[str, Any]) -> str:
    if event["tool"] not in PATCH_TOOLS:
        return str(event["event_type"])
    return "move" if is_failed_move(event) else PATCHES[event.get("patch_op")]


def is_failed_move(event: dict[str, Any]) -> bool:
    return (event["message_id"], event.get("path")) == FAILED_MOVE[:2]


def events_of(
    record: SessionRecord,
) -> list[tuple[MessageRecord, ToolCallRecord, FileEventRecord]]:
    return [(m, c, e) for m in record.messages for c in m.tool_calls for e in c.file_events]


def event_of(
    record: SessionRecord, m: MessageRecord, c: ToolCallRecord, e: FileEventRecord
) -> Event:
    path = e.event.file_path
    return Event(
        m.id,
        c.call.part_id or "",
        c.call.call_id or "",
        c.call.tool,
        e.event.event_type,
        posixpath.normpath(posixpath.join(record.directory or "", path)) if path else None,
        e.event.new_file_path,
        e.event.status,
        m.is_fork_copy,
        c.is_undone,
    )


def test_every_generation_is_there() -> None:
    versions = {name.rpartition("-")[2] for name in RECORDINGS}
    assert versions == {"1.2.1", "1.2.27", "1.3.2", "1.14.34", "1.15.4", "1.17.11", "1.18.33"}
    versions = {name.rpartition("-")[2] for name in TREES}
    assert versions == {"0.1.174", "0.5.29", "1.0.0", "1.0.185", "1.1.65"}


# Records


def test_file_events_are_what_happened(
    recording: Recording, records: dict[str, SessionRecord]
) -> None:
    assert set(records) == {session["session_id"] for session in recording.truth["sessions"]}
    for session in recording.truth["sessions"]:
        record, true = records[session["session_id"]], true_events(session, "abs_path")
        found = [event_of(record, *event) for event in events_of(record)]
        assert Counter(found) == Counter(true)
        assert found == true
        assert [event.seq for _, _, event in events_of(record)] == list(range(len(true)))


def test_tool_calls_are_what_happened(
    recording: Recording, records: dict[str, SessionRecord]
) -> None:
    for session in recording.truth["sessions"]:
        record = records[session["session_id"]]
        found = [(m.id, c) for m in record.messages for c in m.tool_calls]
        assert [(id, c.call.part_id, c.call.call_id, c.call.tool) for id, c in found] == [
            (call["message_id"], call["part_id"], call["call_id"], call["tool"])
            for call in session["tool_calls"]
        ]
        assert [call.call.status for _, call in found] == [
            REFINED.get(call["part_id"], call["status"]) for call in session["tool_calls"]
        ]
        assert [call.seq for _, call in found] == list(range(len(found)))


def test_sessions_and_messages_are_what_happened(
    recording: Recording, records: dict[str, SessionRecord]
) -> None:
    for session in recording.truth["sessions"]:
        record = records[session["session_id"]]
        assert (record.title, record.parent_id, record.project_id, record.directory) == (
            session["title"],
            session["parent_id"],
            session["project_id"],
            session["directory"],
        )
        assert [(m.id, m.role) for m in record.messages] == [
            (message["id"], message["role"]) for message in session["messages"]
        ]
        assert [m.seq for m in record.messages] == list(range(len(record.messages)))
        roles = [message.role for message in record.messages]
        turns = [roles[: number + 1].count("user") for number in range(len(roles))]
        assert [message.turn for message in record.messages] == turns


def test_what_is_named_here_is_what_the_truth_calls_differently(
    recordings: dict[str, Recording],
) -> None:
    truth = {
        event["part_id"]: event
        for recording in recordings.values()
        for session in recording.truth["sessions"]
        for event in session["file_events"]
    }
    coarse = {"denied": "error", "aborted": "completed"}
    assert {id: coarse[status] for id, status in REFINED.items()} == {
        id: truth[id]["status"] for id in REFINED
    }
    assert (truth[NOT_KNOWN]["tool"], truth[NOT_KNOWN]["event_type"]) == ("invalid", "edit")


def test_call_of_a_tool_the_agent_has_not_stays_a_call(trailmap: Recording) -> None:
    calls = {
        call.call.part_id: call
        for record in read(trailmap).values()
        for message in record.messages
        for call in message.tool_calls
    }
    assert calls[NOT_KNOWN].call.tool == "invalid"
    assert calls[NOT_KNOWN].file_events == ()


def test_session_left_reverted_is_undone(recordings: dict[str, Recording]) -> None:
    record = read(recordings[SHOP])[LEFT_REVERTED]
    assert [(m.role, m.is_undone) for m in record.messages] == [
        (m.role, True) for m in record.messages
    ]
    assert [e.event.event_type for _, _, e in events_of(record)] == ["edit", "bash"]


def test_what_the_user_ran_is_the_users(recordings: dict[str, Recording]) -> None:
    by_user = [
        (call.call.tool, call.call.input.get("command"))
        for record in read(recordings[SHOP]).values()
        for message in record.messages
        for call in message.tool_calls
        if call.actor == "user"
    ]
    assert by_user == [("bash", 'echo "# shell" >> docs/attached.md; wc -l docs/attached.md')]


def test_same_answer_counts_the_same_tokens_in_every_version(
    recordings: dict[str, Recording], trees: dict[str, Recording]
) -> None:
    # The script was the same for all. Its first answer had 44 tokens, 12 of them reasoning (0.1.174
    # and 0.5.29 held a turn in a message); its tenth had read 5,100, 4,000 of them from a cache.
    for name, recording in (trees | recordings).items():
        if name in (TRAILMAP, "opencode-0.1.174"):
            continue
        tokens = {m.tokens for record in read(recording).values() for m in record.messages}
        if name == "opencode-0.5.29":
            steps = [5027, 5254, 5313, 5319, 5336, 5337, 5362, 5363, 5364, 5100 - 4000]
            outputs = [51 - 12, 51, 82, 62, 31, 39, 25, 23, 51, 40]
            assert Tokens(sum(steps), sum(outputs), 12, 4000, 0) in tokens
            continue
        assert Tokens(1100, 40, 0, 4000, 0) in tokens
        assert not any(found.input == 5100 for found in tokens)
        before_1_1 = name in ("opencode-1.0.0", "opencode-1.0.185")  # a longer prompt and answer
        assert any(found[1:] == (39 if before_1_1 else 32, 12, 0, 0) for found in tokens)
        assert not any(found[1:3] in ((44, 12), (51, 12)) for found in tokens)


def test_lines_changed_are_what_git_counts(
    recording: Recording, records: dict[str, SessionRecord], tmp_path: Path
) -> None:
    contents = recording.truth["contents"] | {None: ""}
    found = {
        (
            m.id,
            c.call.call_id,
            posixpath.normpath(posixpath.join(r.directory or "", e.event.file_path)),
        ): e
        for r in records.values()
        for m, c, e in events_of(r)
        if e.event.file_path
    }
    changes = [
        (event, contents[event["before_sha256"]], contents[event["after_sha256"]])
        for session in recording.truth["sessions"]
        for event in session["file_events"]
        if event.get("change") in ("create", "modify", "delete", "move")
        # 0.1.174 called it an error when a formatter was missing, though the file was written
        and event["status"] == "completed"
        and (event["tool"], event["change"]) != ("write", "modify")  # known to nobody but the disk
        and {event["before_sha256"], event["after_sha256"]} <= contents.keys()
    ]
    counted = numstat(tmp_path, [(before, after) for _, before, after in changes])
    ours = [
        found[event["message_id"], event["call_id"], event["abs_path"]].event
        for event, _, _ in changes
    ]
    known = [e for e in found.values() if e.event.additions is not None]
    assert len(ours) == len(known) - (recording.name == SHOP)  # one was written outside the project
    assert [(e.file_path, e.additions, e.deletions) for e in ours] == [
        (e.file_path, *counts) for e, counts in zip(ours, counted, strict=True)
    ]
    assert [e.is_new_file for e in ours] == [event["change"] == "create" for event, _, _ in changes]


def test_only_an_overwriting_write_does_not_know_its_lines(
    records: dict[str, SessionRecord],
) -> None:
    changed = [e.event for r in records.values() for _, _, e in events_of(r)]
    completed = [
        e for e in changed if e.status == "completed" and e.event_type not in ("read", "bash")
    ]
    unknown = [e for e in completed if e.additions is None or e.deletions is None]
    assert {(e.event_type, e.is_new_file) for e in unknown} == {("write", False)}
    assert all(e.additions is None for e in changed if e.status != "completed")


def numstat(folder: Path, changes: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Lines added and removed by each change, as git counts them."""
    for number, change in enumerate(changes):
        for side, text in zip(("before", "after"), change, strict=True):
            (folder / side).mkdir(exist_ok=True)
            (folder / side / f"{number}").write_bytes(text.encode())
    ran = subprocess.run(
        ["git", "diff", "--no-index", "--no-renames", "--numstat", "before", "after"],
        cwd=folder,
        capture_output=True,
        check=False,  # 1 says that they differ
    )
    assert ran.returncode == 1, ran.stderr
    lines = [line.split("\t") for line in ran.stdout.decode().splitlines()]
    counts = {int(posixpath.basename(name)): (int(new), int(old)) for new, old, name in lines}
    return [counts.get(number, (0, 0)) for number in range(len(changes))]


# Frames


def frame_events(events: pd.DataFrame) -> dict[str, list[Event]]:
    """The frame's events by session, in its order."""
    assert list(events.groupby("opencode_session_id", observed=True)["seq"].cumcount()) == list(
        events["seq"]
    )
    found: dict[str, list[Event]] = {}
    columns = [
        *("message_id", "event_id", "call_id", "tool", "event_type", "file_path"),
        *("new_file_path", "status", "is_fork_copy", "is_undone"),
    ]
    rows = events[columns].astype(object).where(events[columns].notna(), None)
    for session, row in zip(
        events["opencode_session_id"], rows.itertuples(index=False), strict=True
    ):
        event = Event(*row)
        part_id = event.part_id.rpartition(".")[0]  # none in an id that is made of no part's
        found.setdefault(session, []).append(event._replace(part_id=part_id))
    return found


def expected_events(recording: Recording) -> dict[str, list[Event]]:
    expected = {s["session_id"]: true_events(s, "path") for s in recording.truth["sessions"]}
    return {session: events for session, events in expected.items() if events}


def test_frame_is_what_happened(recording: Recording, frames: Any) -> None:
    assert frame_events(frames.file_events) == expected_events(recording)


def test_frame_has_the_calls_that_happened(recording: Recording, frames: Any) -> None:
    calls = frames.tool_calls
    columns = ["opencode_session_id", "tool_call_id", "call_id", "tool", "status"]
    found = Counter(calls[columns].itertuples(index=False, name=None))
    assert found == Counter(
        (
            session["session_id"],
            call["part_id"] or row_id(f"{call['message_id']}/{call['call_id']}"),
            call["call_id"],
            call["tool"],
            REFINED.get(call["part_id"], call["status"]),
        )
        for session in recording.truth["sessions"]
        for call in session["tool_calls"]
    )


def assert_same_frames(found: Any, expected: Any) -> None:
    for name in ("sessions", "messages", "tool_calls", "file_events"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name))


async def test_a_store_gives_the_same_frames_and_a_second_import_changes_nothing(
    recording: Recording, frames: Any, store: Path | str
) -> None:
    async with await ocs.open(store, migrate=False) as svc:
        first = await svc.import_opencode(recording.database, shell=False, progress=False)
        stored = await svc.frames(diffs=True, parts=True)
        second = await svc.import_opencode(recording.database, shell=False, progress=False)
        again = await svc.frames(diffs=True, parts=True)
        assert_same_frames(await svc.frames(), frames)
        assert frame_events(stored.file_events) == expected_events(recording)
    for name in ("sessions", "messages", "tool_calls", "file_events"):
        rows = len(getattr(frames, name))
        new, same = getattr(first, name), getattr(second, name)
        assert (new.new, new.changed, new.unchanged, new.skipped) == (rows, 0, 0, 0)
        assert (same.new, same.changed, same.unchanged, same.skipped) == (0, 0, rows, 0)
    assert first.problems == second.problems == []
    assert_same_frames(again, stored)
    async with ocs.OpencodeSessionService() as memory:
        await memory.import_opencode(recording.database, shell=False, progress=False)
        assert_same_frames(await memory.frames(diffs=True, parts=True), stored)


async def test_reopened_database_gives_the_same_frames(
    trailmap: Recording, store: Path | str
) -> None:
    async with await ocs.open(store) as svc:
        await svc.import_opencode(trailmap.database, progress=False)
    async with await ocs.open(store) as svc:
        assert_same_frames(await svc.frames(), ocs.read_opencode(trailmap.database))
