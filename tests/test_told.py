"""What opencode stores of sessions, messages and calls, held against the rows it stored.

Read with SQL alone from the recordings: archived sessions, compactions, what a user attached or
ran, subagents, and each call's input, status, times, title and output, as the frames tell them.
"""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pandas as pd
import pytest
from conftest import RECORDINGS, Recording
from test_parts import events, tool

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.records import session_record

SHOP = "opencode-1.18.33"


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request: pytest.FixtureRequest, recordings: dict[str, Recording]) -> Recording:
    return recordings[request.param]


@pytest.fixture(scope="module")
def frames(recording: Recording) -> Frames:
    return ocs.read_opencode(recording.database, shell=False, parts=True)


def stored(recording: Recording, query: str) -> list[Any]:
    uri = f"{recording.database.as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(query).fetchall()


def moment(milliseconds: Any) -> Any:
    return pd.to_datetime(milliseconds, unit="ms", utc=True)


def test_archived_sessions(recording: Recording, frames: Frames) -> None:
    archived = dict(stored(recording, "SELECT id, time_archived FROM session"))
    found = frames.sessions.set_index("opencode_session_id")["archived_at"]
    assert {id for id, time in archived.items() if time} == {*found.dropna().index}
    assert all(found[id] == moment(time) for id, time in archived.items() if time)
    assert found.notna().any() or recording.name != SHOP


def test_compactions(recording: Recording, frames: Frames) -> None:
    said = stored(
        recording, "SELECT id FROM message WHERE json_extract(data, '$.summary') IN (1, 'true')"
    )
    found = frames.messages[frames.messages["is_compaction"]]
    assert {*found["opencode_message_id"]} == {id for (id,) in said}
    assert found["role"].eq("assistant").all() and found["content"].notna().all()
    assert len(found) or recording.name != SHOP


def test_what_a_user_attached_is_no_call_of_the_agent(recording: Recording, frames: Frames) -> None:
    query = "SELECT DISTINCT message_id FROM part WHERE json_extract(data, '$.type') = 'file'"
    attached = [id for (id,) in stored(recording, query)]
    own = frames.messages[frames.messages["message_id"].isin(attached)]
    assert len(own) == len(attached)
    assert own["role"].eq("user").all()
    assert not frames.tool_calls["message_id"].isin(attached).any()
    assert not frames.file_events["message_id"].isin(attached).any()
    assert attached or recording.name != SHOP


def test_subagents_belong_to_their_call(recording: Recording, frames: Frames) -> None:
    said = stored(
        recording,
        "SELECT id, json_extract(data, '$.state.metadata.sessionId') FROM part "
        "WHERE json_extract(data, '$.tool') = 'task'",
    )
    calls = frames.tool_calls.set_index("tool_call_id")
    sessions = frames.sessions.set_index("opencode_session_id")
    for part_id, child in said:
        if child is None:  # it never came to that
            assert calls.loc[part_id, "status"] in ("error", "denied")
            assert pd.isna(calls.loc[part_id, "child_session_id"])
            continue
        assert calls.loc[part_id, "child_session_id"] == child
        copied = calls.loc[part_id, "is_fork_copy"]  # the fork's copy names the original's child
        assert (
            copied or sessions.loc[child, "parent_session_id"] == calls.loc[part_id, "session_id"]
        )
    assert said


def test_calls_say_what_their_parts_say(recording: Recording, frames: Frames) -> None:
    query = "SELECT id, data FROM part WHERE json_extract(data, '$.type') = 'tool'"
    parts = {id: json.loads(data) for id, data in stored(recording, query)}
    calls = frames.tool_calls.set_index("tool_call_id")
    assert {*calls.index} == {*parts}
    for id, part in parts.items():
        call, state = calls.loc[id], part["state"]
        time, output = state.get("time", {}), state.get("output")
        assert (call["tool"], call["call_id"]) == (part["tool"], part["callID"])
        assert call["input"] == state["input"]
        for column, value in (
            ("title", state.get("title") or None),
            ("error", state.get("error")),
            ("output_bytes", len(output.encode()) if output else None),
            ("exit_code", state.get("metadata", {}).get("exit")),
        ):
            assert (pd.isna(call[column]) and value is None) or call[column] == value, column
        if "start" in time:
            assert call["time"] == moment(time["start"])
        if "end" in time:
            assert call["duration_s"] == (time["end"] - time["start"]) / 1000


def test_messages_say_what_their_rows_say(recording: Recording, frames: Frames) -> None:
    rows = {id: json.loads(data) for id, data in stored(recording, "SELECT id, data FROM message")}
    messages = frames.messages.set_index("message_id")
    agents = frames.sessions.set_index("session_id")["agent_name"]
    assert {*messages.index} == {*rows}
    for id, said in rows.items():
        message, model, time = messages.loc[id], said.get("model") or {}, said["time"]
        error = said.get("error") or {}
        text = (error.get("data") or {}).get("message")
        for column, value in (
            ("role", said["role"]),
            ("parent_message_id", said.get("parentID")),
            ("agent_name", said.get("agent") or said.get("mode") or agents[message["session_id"]]),
            ("provider", said.get("providerID") or model.get("providerID")),
            ("model", said.get("modelID") or model.get("modelID")),
            ("finish", said.get("finish")),
            ("cost_usd", said.get("cost")),
            ("error", ": ".join(filter(None, (error.get("name"), text))) or None),
        ):
            assert (pd.isna(message[column]) and value is None) or message[column] == value, column
        assert message["time"] == moment(time["created"])
        if "completed" in time:
            assert message["duration_s"] == (time["completed"] - time["created"]) / 1000


def test_sessions_say_what_their_rows_say(recording: Recording, frames: Frames) -> None:
    columns = {
        **{"opencode_session_id": "id", "parent_session_id": "parent_id", "title": "title"},
        **{"project_id": "project_id", "workdir": "directory", "opencode_version": "version"},
        **{"created_at": "time_created", "updated_at": "time_updated"},
    }
    found = frames.sessions.set_index("opencode_session_id", drop=False)
    rows = stored(recording, f"SELECT {', '.join(columns.values())} FROM session")
    assert len(rows) == len(found)
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            wanted = moment(value) if column.endswith("_at") else value
            shown = found.loc[row[0], column]
            assert (pd.isna(shown) and value is None) or shown == wanted, column
    # what opencode says of the costs is what its messages say, without what a fork copied
    own = frames.messages[~frames.messages["is_fork_copy"]]
    own = own.groupby("session_id", observed=True)["cost_usd"].sum()
    has_copies = frames.messages.loc[frames.messages["is_fork_copy"], "session_id"]
    told = frames.sessions.set_index("session_id")["reported_cost_usd"].dropna()
    for id, cost in told[~told.index.isin(has_copies)].items():
        assert own.get(id, 0.0) == pytest.approx(cost, abs=1e-9)


def test_outputs_are_there_only_when_asked_for(recording: Recording, frames: Frames) -> None:
    query = "SELECT id, json_extract(data, '$.state.output') FROM part"
    outputs = {id: text for id, text in stored(recording, query) if text and len(text) > 200}
    assert outputs
    in_parts = {
        part["id"]: part["state"]["output"]
        for parts in frames.messages["parts"]
        for part in parts
        if part["id"] in outputs
    }
    assert in_parts == outputs
    lean = ocs.read_opencode(recording.database)
    for name in ("tool_calls", "file_events"):
        texts = getattr(lean, name).select_dtypes(["str", "category", "object"])
        texts = texts.drop(columns="title", errors="ignore")  # of a patch it is the output
        said = {value for column in texts for value in texts[column].dropna().unique()}
        assert said.isdisjoint(outputs.values())


@pytest.mark.parametrize("name", ["github_create_issue", "deploy", "mcp.read", "écrire"])
def test_tools_of_others_keep_their_names_and_give_no_event(name: str) -> None:
    part = tool(name, {"filePath": "/p/a.py", "path": "/p/a.py", "command": "rm /p/a.py"})
    assert events(part) == []
    record = session_record({"id": "ses_1"}, [({"id": "msg_1", "role": "assistant"}, [part])])
    assert [call.call.tool for call in record.messages[0].tool_calls] == [name]
