"""Databases damaged, strange or newer than we know: a clear error, or counted and the rest read."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Recording

import opencode_sessions as ocs
from opencode_sessions.errors import SourceError
from opencode_sessions.records import SessionRecord
from opencode_sessions.sources import Database, Problem
from opencode_sessions.sources.database import is_opencode_database

SESSION = "ses_dfbfb5a7bffehr1f5iJf9skrRO"
CHILD = "ses_dfbfb3c9affe6hoCeqil4DaxLu"
PAGE = 4096

Execute = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path, recordings: dict[str, Recording]) -> Path:
    return shutil.copy(recordings["opencode-1.2.1"].database, tmp_path / "opencode.db")


@pytest.fixture
def execute(path: Path) -> Execute:
    def execute(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement, values)

    return execute


def read(path: Path) -> tuple[dict[str, SessionRecord], list[Problem]]:
    _, *items = Database(path).sessions()
    records = {item.id: item for item in items if isinstance(item, SessionRecord)}
    return records, [item for item in items if isinstance(item, Problem)]


def calls(record: SessionRecord) -> list[str | None]:
    return [call.call.part_id for message in record.messages for call in message.tool_calls]


def first(path: Path, table: str, session_id: str = SESSION) -> str:
    """The id of the session's first tool part, or of the message it is in."""
    record = read(path)[0][session_id]
    message = next(message for message in record.messages if message.tool_calls)
    return message.id if table == "message" else str(message.tool_calls[0].call.part_id)


# No opencode database


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"some notes, long enough for a header of a hundred bytes" * 9, "is no SQLite database"),
        (b"\0" * 8192, "is no SQLite database"),
        (b"SQLite format 3\0" + b"\xff" * 8000, "is no SQLite database|is damaged"),
        (b"SQLite format 3\0", "is no SQLite database"),
        (b"", "is no opencode database: it has no table session and message and part"),
    ],
    ids=["text", "zeros", "header", "beginning", "empty"],
)  # fmt: skip
def test_no_sqlite_database(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "opencode.db"
    path.write_bytes(content)
    for reading in (lambda: list(Database(path).sessions()), Database(path).notes):
        with pytest.raises(SourceError, match=message) as info:
            reading()
        assert str(path) in str(info.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("place", ["missing.db", "folder"])
def test_no_file(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match="could not be read: "):
        read(tmp_path / place)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("CREATE TABLE bookmarks (url TEXT)", r"no table session and .* \(tables: bookmarks\)"),
        (
            "CREATE TABLE session (a); CREATE TABLE message (b); CREATE TABLE part (c)",
            "no such column",
        ),
    ],
)
def test_database_of_another_program(schema: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema)
    with pytest.raises(SourceError, match=message):
        read(path)


def test_which_files_are_opencodes(path: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("notes")
    (tmp_path / "empty.db").touch()
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    names = ["opencode.db", "notes.db", "empty.db", "other.db", "missing.db", "sqlite:///x.db"]
    assert [name for name in names if is_opencode_database(tmp_path / name)] == ["opencode.db"]
    assert not is_opencode_database(f"sqlite://{path}")


# Damage


@pytest.mark.parametrize("size", [100, 4096, 4097, 100_000, 155_648, 307_200])
def test_file_cut_short_is_a_clear_error(size: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceError, match="is damaged or only a part of the file"):
        read(path)


def test_error_names_the_users_file_and_not_the_copy(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: PAGE * 38])
    path.with_name("opencode.db-wal").write_bytes(b"no log")
    with pytest.raises(SourceError, match="is damaged") as info:
        read(path)
    assert str(info.value).startswith(str(path))


@pytest.mark.parametrize("spoiled", [b"\0" * PAGE, b"\xff" * PAGE, bytes(range(256)) * 16])
def test_spoiled_page_costs_no_more_than_what_was_on_it(spoiled: bytes, path: Path) -> None:
    whole, content = read(path)[0], path.read_bytes()
    outcomes = {"error": 0, "problem": 0, "same": 0}
    for page in range(1, len(content) // PAGE):
        path.write_bytes(content[: page * PAGE] + spoiled + content[(page + 1) * PAGE :])
        try:
            records, problems = read(path)
        except SourceError as error:
            outcomes["error"] += 1
            assert "damaged" in str(error)
            continue
        outcomes["problem" if problems else "same"] += 1
        if not problems:
            assert records == whole
        assert all(records[id] == whole[id] for id in records if not is_named(id, problems))
        # What an import asks besides is no reason to lose what can be read.
        states = Database(path).states()
        assert {*states} >= {*records}
        assert isinstance(Database(path).notes(), list)
    assert min(outcomes.values()) > 0, outcomes


def is_named(id: str, problems: list[Problem]) -> bool:
    return any(id in problem.place for problem in problems)


# Rows


BROKEN = [b'{"type":"tool"', b"[1, 2]", b"", b'"text"', b'{"a":"\xff"}', b"\0", b"[" * 100_000]


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:12]))
def test_part_whose_json_is_broken_is_skipped_and_counted(
    data: bytes, path: Path, execute: Execute
) -> None:
    whole, part_id = read(path)[0], first(path, "part")
    execute("UPDATE part SET data = CAST(? AS TEXT) WHERE id = ?", data, part_id)
    records, problems = read(path)
    assert problems == [Problem(f"part {part_id} of {SESSION}", "its JSON is broken")]
    assert calls(records[SESSION]) == [id for id in calls(whole[SESSION]) if id != part_id]
    assert {id for id in whole if records[id] != whole[id]} == {SESSION}


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:12]))
def test_message_whose_json_is_broken_keeps_its_calls(
    data: bytes, path: Path, execute: Execute
) -> None:
    whole, message_id = read(path)[0], first(path, "message")
    execute("UPDATE message SET data = CAST(? AS TEXT) WHERE id = ?", data, message_id)
    records, problems = read(path)
    assert problems == [Problem(f"message {message_id} of {SESSION}", "its JSON is broken")]
    assert calls(records[SESSION]) == calls(whole[SESSION])
    (message,) = [message for message in records[SESSION].messages if message.id == message_id]
    assert (message.role, message.created_at is not None) == ("unknown", True)


def test_parts_of_a_message_that_is_gone_are_counted(path: Path, execute: Execute) -> None:
    message_id = first(path, "message")
    execute("DELETE FROM message WHERE id = ?", message_id)
    records, (problem,) = read(path)
    assert problem.place == f"message {message_id} of {SESSION}"
    assert problem.reason.startswith("has no row, only ")
    assert message_id not in {message.id for message in records[SESSION].messages}


def test_rows_of_a_session_that_is_gone_are_counted(path: Path, execute: Execute) -> None:
    whole = read(path)[0]
    execute("DELETE FROM session WHERE id = ?", CHILD)
    records, problems = read(path)
    child = whole[CHILD]
    assert {problem.reason for problem in problems} == {"its session has no row"}
    assert {problem.place for problem in problems} == {
        *(f"message {message.id} of {CHILD}" for message in child.messages),
        *(f"part {part['id']} of {CHILD}" for message in child.messages for part in message.parts),
    }
    assert records == {id: record for id, record in whole.items() if id != CHILD}


@pytest.mark.parametrize("column", ["title", "directory", "version", "revert", "summary_diffs"])
@pytest.mark.parametrize("value", [b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"{", b"[[]]", b"5", b""])
def test_anything_may_stand_in_a_session_row(
    column: str, value: bytes, path: Path, execute: Execute
) -> None:
    whole = read(path)[0]
    execute(f"UPDATE session SET {column} = CAST(? AS TEXT) WHERE id = ?", value, SESSION)
    records, problems = read(path)
    assert problems == []
    assert calls(records[SESSION]) == calls(whole[SESSION])


@pytest.mark.parametrize("time", [-1, 0, 2**62, 1e300, float("inf"), "soon", b"\xff"])
def test_any_time_may_stand_in_a_session_row(time: object, path: Path, execute: Execute) -> None:
    execute("UPDATE session SET time_created = ?, time_updated = ?", time, time)
    records, problems = read(path)
    assert (len(records), problems) == (4, [])
    _, *filtered = Database(path).sessions(since=records[SESSION].messages[0].created_at)
    assert len(filtered) in (0, 4)


# Newer than we know


def test_newer_schema_is_read_as_far_as_we_know_it(path: Path, execute: Execute) -> None:
    whole, message_id = read(path)[0], first(path, "message")
    execute("CREATE TABLE hologram (id TEXT, data TEXT)")
    execute("INSERT INTO hologram VALUES ('hol_1', 'x'), ('hol_2', 'y')")
    execute('CREATE TABLE "a ""quoted"" name" (id TEXT)')
    for column in ("mood", "time", "summary", "tokens"):
        execute(f"ALTER TABLE session ADD COLUMN {column} TEXT DEFAULT 'fine'")
    execute("ALTER TABLE part ADD COLUMN mood TEXT DEFAULT 'fine'")
    new = {"type": "hologram", "tool": {"edit": 1}, "state": "beamed", "text": 5}
    execute(
        "INSERT INTO part SELECT 'prt_zzz', id, session_id, 0, 0, ?, '' FROM message WHERE id = ?",
        json.dumps(new),
        message_id,
    )
    records, problems = read(path)
    assert problems == []
    assert {id: calls(record) for id, record in records.items()} == {
        id: calls(record) for id, record in whole.items()
    }
    assert records[SESSION].created_at == whole[SESSION].created_at
    assert records[SESSION].info["mood"] == "fine"
    (message,) = [message for message in records[SESSION].messages if message.id == message_id]
    assert message.parts[-1] == {
        "id": "prt_zzz",
        "sessionID": SESSION,
        "messageID": message_id,
        **new,
    }
    assert Database(path).notes() == [
        'tables newer than this version, not read: a "quoted" name (0 rows), hologram (2 rows)'
    ]


def test_no_recording_is_newer_than_we_know(recordings: dict[str, Recording]) -> None:
    for recording in recordings.values():
        assert Database(recording.database).notes() == []


# Text no database can hold


@pytest.fixture
def with_strange_text(path: Path, execute: Execute) -> str:
    """The part whose command has a lone surrogate and a NUL, and an exit code that is no number."""
    record = read(path)[0][SESSION]
    call = next(c for m in record.messages for c in m.tool_calls if c.call.tool == "bash")
    part_id = str(call.call.part_id)
    state = {
        "status": "completed",
        "input": {"command": "echo \ud800\0", "workdir": "\udfff"},
        "output": "\ud800",
        "metadata": {"exit": float("nan"), "big": 10**400},
        "time": {"start": float("inf"), "end": 10**400},
    }
    data = json.dumps({"type": "tool", "callID": "call_1", "tool": "bash", "state": state})
    execute("UPDATE part SET data = ? WHERE id = ?", data, part_id)
    return part_id


def test_surrogates_and_numbers_that_are_none_come_through(
    path: Path, with_strange_text: str
) -> None:
    records, problems = read(path)
    found = [call for message in records[SESSION].messages for call in message.tool_calls]
    (call,) = [call for call in found if call.call.part_id == with_strange_text]
    assert problems == []
    assert call.call.input["command"] == "echo \ud800\0"
    assert (call.started_at, call.duration_s, call.call.started_ms) == (None, None, None)


async def test_strange_text_is_stored_scrubbed_and_counted(
    service: ocs.OpencodeSessionService, path: Path, with_strange_text: str
) -> None:
    async with service as svc:
        report = await svc.import_opencode(path, progress=False)
        assert report.scrubbed > 0
        assert report.problems == []
        assert report.sessions.new == 4
        again = await svc.import_opencode(path, progress=False)
        assert (again.tool_calls.new, again.tool_calls.changed) == (0, 0)
        events = await svc.file_events(SESSION)
        (command,) = events.loc[events["event_id"].str.startswith(with_strange_text), "command"]
        assert command.startswith("echo ")
        assert command.encode()


async def test_damaged_rows_are_in_the_report(
    service: ocs.OpencodeSessionService, path: Path, execute: Execute
) -> None:
    part_id, message_id = first(path, "part"), first(path, "message", CHILD)
    execute("UPDATE part SET data = '{' WHERE id = ?", part_id)
    execute("UPDATE message SET data = '{' WHERE id = ?", message_id)
    async with service as svc:
        report = await svc.import_opencode(path, progress=False)
    assert [problem.place for problem in report.problems] == [
        f"part {part_id} of {SESSION}",
        f"message {message_id} of {CHILD}",
    ]
    assert report.sessions.new == 4
    assert part_id in repr(report)
