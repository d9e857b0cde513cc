"""An import is an upsert: twice changes nothing, and what an application stored is not doubled."""

import asyncio
import gc
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import TRAILMAP, Recording, Serve
from pandas.testing import assert_frame_equal
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from opencode_sessions import OpencodeSessionService, SourceError, SourceNotFound, sync
from opencode_sessions.import_report import Count, ImportReport
from opencode_sessions.models import TABLES, OpencodeSession
from opencode_sessions.records import MessageRecord, SessionRecord, session_record
from opencode_sessions.rows import session_rows
from opencode_sessions.sources import Database, Problem, SourceChanged
from opencode_sessions.sources.database import _todays_messages as todays_messages
from opencode_sessions.store import Put, StoreFailed

# Two sessions of the rich recording: edits, writes and shell; and patches.
EDITS = "ses_dfba38626ffeepGGjxIvigN4cw"
PATCHES = "ses_dfb9c9ba1ffeHD7Z55c2m5BKLM"
# One of the small ones, with everything in it.
SMALL = "opencode-1.18.33"
KINDS = ("sessions", "messages", "tool_calls", "file_events")


@pytest.fixture
def small(recordings: dict[str, Recording], tmp_path: Path) -> Path:
    """A small opencode database of one's own."""
    return Path(shutil.copy(recordings[SMALL].database, tmp_path / "opencode.db"))


@pytest.fixture(scope="session")
def two(recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two sessions of the rich recording, in this order: EDITS and PATCHES."""
    file = tmp_path_factory.mktemp("two") / "opencode.db"
    shutil.copy(recordings[TRAILMAP].database, file)
    ids = f"('{EDITS}', '{PATCHES}')"
    changed(
        file,
        f"DELETE FROM part WHERE session_id NOT IN {ids}",
        f"DELETE FROM message WHERE session_id NOT IN {ids}",
        f"DELETE FROM session WHERE id NOT IN {ids}",
    )
    return file


def changed(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def records(file: Path) -> dict[str, SessionRecord]:
    found = Database(file).sessions()
    return {record.id: record for record in found if isinstance(record, SessionRecord)}


async def everything(service: OpencodeSessionService) -> dict[str, list[Any]]:
    """All rows of all tables."""
    return {
        name: sorted(await service.store.select(name, [c.name for c in table.columns]))  # type: ignore[arg-type]
        for name, table in TABLES.items()
    }


async def imported(
    service: OpencodeSessionService, path: Path | list[Path], **options: Any
) -> ImportReport:
    # What commands changed has tests of its own: these count what the tools did.
    return await service.import_opencode(path, progress=False, **{"shell": False} | options)


def numbers(report: ImportReport) -> dict[str, tuple[int, int, int, int]]:
    counts: dict[str, Count] = {name: getattr(report, name) for name in KINDS}
    return {name: (c.new, c.changed, c.unchanged, c.skipped) for name, c in counts.items()}


# -- once and twice --------------------------------------------------------------------------------


async def test_twice_changes_nothing(
    service: OpencodeSessionService, recordings: dict[str, Recording]
) -> None:
    database = recordings[SMALL].database
    truth = recordings[SMALL].truth
    first = await imported(service, database)
    assert first.sessions.new == len(truth["sessions"])
    assert first.file_events.new == sum(len(s["file_events"]) for s in truth["sessions"])
    assert not first.problems
    rows = await everything(service)
    assert [len(rows[name]) for name in KINDS] == [getattr(first, name).new for name in KINDS]
    second = await imported(service, database)
    assert numbers(second) == {name: (0, 0, len(rows[name]), 0) for name in KINDS}
    assert await everything(service) == rows


async def test_rows_have_opencodes_ids_and_say_where_they_are_from(
    service: OpencodeSessionService, small: Path
) -> None:
    await imported(service, small, origin="ana@laptop")
    for name, prefix in {"sessions": "ses_", "messages": "msg_", "tool_calls": "prt_"}.items():
        rows = await service.store.select(name, ["id", "source", "origin"])  # type: ignore[arg-type]
        assert all(id.startswith(prefix) and len(id) <= 36 for id, _, _ in rows)
        assert {row[1:] for row in rows} == {("database", "ana@laptop")}
    events = await service.store.select("file_events", ["id", "tool_call_id"])
    assert all(id.rpartition(".")[0] == call for id, call in events)


async def test_what_opencode_changed_is_changed(
    service: OpencodeSessionService, small: Path
) -> None:
    first = await imported(service, small)
    (session_id, record), *_ = records(small).items()
    message, call = next(
        (m, m.tool_calls[0]) for m in record.messages if m.tool_calls and m.role == "assistant"
    )
    changed(
        small,
        f"UPDATE session SET title = 'Another' WHERE id = '{session_id}'",
        "UPDATE part SET data = json_set(data, '$.state.title', 'Another') "
        f"WHERE id = '{call.call.part_id}'",
        f"""INSERT INTO part SELECT 'prt_zzzzzzzzzzzzzzzzzzzzzzzzzz', message_id, session_id,
            time_created, time_updated, '{{"type": "tool", "tool": "read", "callID": "new",
            "state": {{"status": "completed", "input": {{"filePath": "/new.py"}}}}}}'
            FROM part WHERE id = '{call.call.part_id}'""",
    )
    report = await imported(service, small)
    events = report.file_events
    assert report.sessions.changed == report.messages.changed == 1
    assert report.tool_calls.new == events.new == 1
    assert report.tool_calls.changed >= 1
    assert events.unchanged + events.changed == first.file_events.new
    assert (await service.get_session(session_id)).title == "Another"
    (kept,) = [m for m in await service.list_messages(session_id) if m.id == message.id]
    assert kept.parts is not None
    assert kept.parts[-1]["callID"] == "new"
    assert "/new.py" in [e.file_path for e in await service.list_file_events(session_id)]
    again = await imported(service, small)
    assert all(new == changed == 0 for new, changed, _, _ in numbers(again).values())


async def test_what_opencode_forgot_is_kept(service: OpencodeSessionService, small: Path) -> None:
    await imported(service, small)
    before = await everything(service)
    (id, *_) = records(small)
    changed(small, f"DELETE FROM session WHERE id = '{id}'")
    await imported(service, small)
    after = await everything(service)
    columns = [column.name for column in TABLES["sessions"].columns]
    changes = [
        (row[columns.index("opencode_id")], columns[place])
        for row, old in zip(after.pop("sessions"), before.pop("sessions"), strict=True)
        for place, value in enumerate(row)
        if value != old[place]
    ]
    assert changes == [(id, "deleted_at")]
    assert after == before


@pytest.mark.parametrize("together", [1, 50])
async def test_together_or_one_by_one_is_the_same(
    service: OpencodeSessionService, small: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = service.store.apply

    async def counted(steps: Any) -> Any:
        sizes.append(
            sum(len(s.rows) for s in steps if isinstance(s, Put) and s.table == "sessions")
        )
        return await real(steps)

    with monkeypatch.context() as patch:
        patch.setattr(sync, "ROWS_TOGETHER", together)
        patch.setattr(service.store, "apply", counted)
        report = await imported(service, small)
    assert sum(sizes) == len(records(small))
    assert (max(sizes) == 1) == (together == 1) and len(sizes) > 1
    alone = OpencodeSessionService()
    assert numbers(await imported(alone, small)) == numbers(report)
    assert await everything(service) == await everything(alone)


async def test_deleted_sessions_come_back_whole(
    service: OpencodeSessionService, small: Path
) -> None:
    await imported(service, small)
    before = await everything(service)
    for id in records(small):
        await service.delete_session(id)
    assert not any((await everything(service)).values())
    await imported(service, small)
    assert await everything(service) == before


async def test_only_some(service: OpencodeSessionService, trailmap: Recording) -> None:
    found = records(trailmap.database)
    updated = sorted(record.updated_at for record in found.values() if record.updated_at)
    assert (await imported(service, trailmap.database, project="no such")).sessions.total == 0
    late = await imported(service, trailmap.database, since=updated[-3])
    assert late.sessions.new == 3
    assert (await imported(service, trailmap.database, since=datetime(2999, 1, 1))).sources
    (worktree,) = {record.worktree for record in found.values()}
    assert worktree is not None
    rest = await imported(service, trailmap.database, project=Path(worktree).name)
    assert (rest.sessions.new, rest.sessions.unchanged) == (len(found) - 3, 3)


async def test_this_machines_data_or_a_word_where_we_looked(
    service: OpencodeSessionService, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceNotFound, match=r"opencode\*\.db.*OPENCODE_DB"):
        await service.import_opencode()
    with pytest.raises(SourceNotFound, match="There is no"):
        await service.import_opencode("/no/such/place")
    monkeypatch.setenv("OPENCODE_DB", str(small))
    report = await service.import_opencode(progress=False)
    assert report.sources == [f"{small} (database)"]


# -- what an application stored --------------------------------------------------------------------


def as_flat(message: MessageRecord) -> list[dict[str, Any]]:
    """A message's parts as an application may flatten them: no ids, no status."""
    flat: list[dict[str, Any]] = []
    for part in message.parts:
        if part["type"] == "tool":
            name, given = part["tool"], part["state"]["input"]
            flat.append({"type": "tool_use", "name": name, "input": given})
        elif part.get("text"):
            flat.append({"type": "text", "text": part["text"]})
    return flat


def with_call_ids(message: MessageRecord) -> list[dict[str, Any]]:
    """The same with the ids of the calls, as models' providers give them."""
    ids = iter([call.call.call_id for call in message.tool_calls])
    return [
        part | {"id": next(ids)} if part["type"] == "tool_use" else part
        for part in as_flat(message)
    ]


async def stored_by_an_application(
    service: OpencodeSessionService,
    record: SessionRecord,
    parts_of: Callable[[MessageRecord], list[Any]],
    *,
    knows_ids: bool,
) -> OpencodeSession:
    session = await service.get_or_create_session(
        record.id, "ours", record.directory, "thread", "As the application has it"
    )
    for message in record.messages:
        parts = parts_of(message)
        id = message.id if knows_ids else None
        stored = await service.persist_message(session, message.role, parts, message_id=id)
        await service.persist_file_events(stored, parts)
    return session


WHO = ["session_id", "root_session_id", "message_id", "event_id", "tool_call_id", "source"]


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame without what differs when an application stored the rows first."""
    left = frame.drop(columns=WHO, errors="ignore")
    for column in left.select_dtypes("category"):
        left[column] = left[column].astype("str")
    return left


FORMS: dict[str, tuple[Callable[[MessageRecord], list[Any]], bool]] = {
    "opencode's parts and ids": (lambda message: message.parts, True),
    "opencode's parts": (lambda message: message.parts, False),
    "call ids and messages' ids": (with_call_ids, True),
    "call ids": (with_call_ids, False),
    "messages' ids": (as_flat, True),
    "no ids": (as_flat, False),
}
CASES = [
    *(("memory", form, id) for form in FORMS for id in (EDITS, PATCHES)),
    *((mode, "no ids", EDITS) for mode in ("session", "file")),
]


@pytest.mark.parametrize(("serve", "form", "id"), CASES, indirect=["serve"])
async def test_a_session_stored_first_by_an_application_is_not_doubled(
    serve: Serve, two: Path, form: str, id: str
) -> None:
    service, alone = await serve(), OpencodeSessionService()
    parts_of, knows_ids = FORMS[form]
    record = records(two)[id]
    session = await stored_by_an_application(service, record, parts_of, knows_ids=knows_ids)
    stored = await service.list_messages(session)
    events = len(await service.list_file_events(session))
    report = await imported(service, two)
    whole = await imported(alone, two)
    assert not report.notes
    assert (report.sessions.new, report.sessions.changed) == (1, 1)
    assert report.messages.new == whole.messages.new - len(stored)
    assert report.file_events.new == whole.file_events.new - events
    # the application's rows keep their ids and what it said, and gain what they lacked
    found = await service.get_session(id)
    assert (found.id, found.source, found.title) == (session.id, "service", session.title)
    assert (found.agent_name, found.abi_thread_id) == ("ours", "thread")
    assert (found.worktree, found.opencode_version) == (record.worktree, record.version)
    now = await service.list_messages(id)
    assert [m.id for m in now] == [m.id for m in stored]
    assert [m.parts for m in now] == [m.parts for m in stored]
    assert [m.opencode_id for m in now] == [m.id for m in record.messages]
    assert {m.source for m in now} == {"service"}
    # and the frames are those of a store that never heard of the application
    ours, theirs = [await each.frames(diffs=True) for each in (service, alone)]
    for name in ("messages", "tool_calls", "file_events"):
        assert_frame_equal(*(comparable(getattr(each, name)) for each in (ours, theirs)))
    # once more changes nothing
    rows = await everything(service)
    again = await imported(service, two)
    assert all(new == changed == 0 for new, changed, _, _ in numbers(again).values())
    assert await everything(service) == rows


async def test_what_matches_nothing_is_kept_and_counted(
    service: OpencodeSessionService, two: Path
) -> None:
    session = await service.get_or_create_session(EDITS)
    parts = [
        {"type": "text", "text": "never said to opencode"},
        {"type": "tool_use", "name": "read", "input": {"path": "/nowhere/else.py"}},
    ]
    message = await service.persist_message(session, "user", parts)
    await service.persist_file_events(message, parts)
    for _ in range(2):
        report = await imported(service, two)
        assert report.notes == [
            "1 messages, 1 tool calls, 1 file events that an application stored match none of "
            "opencode's: they are kept beside"
        ]
    assert "never said to opencode" in [m.content for m in await service.list_messages(EDITS)]
    assert "/nowhere/else.py" in [e.file_path for e in await service.list_file_events(EDITS)]


async def test_messages_that_are_alike_are_told_by_their_times(
    service: OpencodeSessionService, small: Path
) -> None:
    (id, record), *_ = records(small).items()
    began = datetime.now(UTC) - timedelta(hours=1)

    def said(number: int, minute: int) -> Iterator[str]:
        at = int((began + timedelta(minutes=minute)).timestamp() * 1000)
        info = {"role": "user", "time": {"created": at}}
        yield (
            f"INSERT INTO message (id, session_id, time_created, time_updated, data) VALUES "
            f"('msg_ok{number}', '{id}', {at}, {at}, '{json.dumps(info)}')"
        )
        yield (
            "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) "
            f"""VALUES ('prt_ok{number}', 'msg_ok{number}', '{id}', {at}, {at}, """
            """'{"type": "text", "text": "ok"}')"""
        )

    changed(small, *(line for number in range(6) for line in said(number, number * 15)))
    session = await service.get_or_create_session(id)
    stored = [await service.persist_message(session, "user", [{"text": "ok"}]) for _ in range(2)]
    await imported(service, small)
    # "now" is the fifth, an hour after the first; the one after it comes after it
    found = {m.id: m.opencode_id for m in await service.list_messages(id)}
    assert [found[m.id] for m in stored] == ["msg_ok4", "msg_ok5"]
    assert len(found) == len(record.messages) + 6


async def test_rows_of_the_three_tables_of_old_are_not_doubled(two: Path, db: AsyncSession) -> None:
    """They had no ids of opencode's but the session's, and no tool calls."""
    service, alone = OpencodeSessionService(db), OpencodeSessionService()
    record = records(two)[EDITS]
    await stored_by_an_application(service, record, as_flat, knows_ids=False)
    events = len(await service.list_file_events(EDITS))
    await db.execute(text("DELETE FROM opencode_tool_calls"))
    for table in ("sessions", "messages", "file_events"):
        await db.execute(text(f"UPDATE opencode_{table} SET source = NULL"))
    await db.execute(text("UPDATE opencode_file_events SET tool_call_id = NULL, tool = NULL"))
    await db.commit()
    report = await imported(service, two)
    assert not report.notes
    assert report.file_events.new == (await imported(alone, two)).file_events.new - events
    assert len(await service.list_file_events(EDITS)) == events
    again = await imported(service, two)
    assert all(new == changed == 0 for new, changed, _, _ in numbers(again).values())


async def test_an_application_that_goes_on_after_an_import(
    service: OpencodeSessionService, two: Path
) -> None:
    await imported(service, two)
    before = await service.list_messages(EDITS)
    session = await service.get_or_create_session(EDITS, "ours", "/elsewhere", "thread", "Other")
    assert (session.id, session.source, session.workdir) == (
        EDITS,
        "database",
        before and None,
    ) or (session.id == EDITS)
    last = before[-1]
    same = await service.persist_message(session, last.role or "", last.parts or [])
    assert (same.id, same.seq, same.source) == (last.id, last.seq, "database")
    await service.persist_file_events(same, last.parts or [])
    new = await service.persist_message(session, "user", [{"text": "and on"}])
    assert (new.seq, new.turn) == (len(before), (last.turn or 0) + 1)
    report = await imported(service, two)
    assert report.messages.new == report.tool_calls.new == report.file_events.new == 0
    assert [m.id for m in await service.list_messages(EDITS)] == [*(m.id for m in before), new.id]


# -- what goes wrong -------------------------------------------------------------------------------


async def test_one_session_that_cannot_be_stored_does_not_stop_the_others(
    service: OpencodeSessionService, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, (bad, *others) = service.store.apply, list(records(small))
    tries = 0

    async def fails(steps: Any) -> Any:
        nonlocal tries
        if any(isinstance(s, Put) and any(row.get("id") == bad for row in s.rows) for s in steps):
            tries += 1
            raise StoreFailed("constraint failed", is_passing=False)
        return await real(steps)

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "apply", fails)
        report = await imported(service, small)
    assert tries == 1 + 3  # together with the others, then alone
    assert report.problems == [
        Problem(f"session {bad}", "could not be stored: constraint failed"),
    ]
    assert (report.sessions.new, report.sessions.skipped) == (len(others), 1)
    assert f"skipped session {bad}: could not be stored" in repr(report)
    report = await imported(service, small)
    assert (report.sessions.new, report.sessions.unchanged) == (1, len(others))


@pytest.mark.parametrize("kind", ["database", "storage", "export"])
async def test_one_session_that_nobody_understands_does_not_stop_the_others(
    kind: str,
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
    given_out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = {
        "database": recordings[SMALL].database,
        "storage": trees["opencode-1.1.65"].database,
        "export": given_out / "http",
    }
    source = sources[kind]
    whole = OpencodeSessionService()
    await imported(whole, source)
    bad, *others = (await whole.sessions())["opencode_session_id"]

    def not_understood(info: Any, *args: Any, **options: Any) -> SessionRecord:
        if info["id"] == bad:
            raise TypeError("what is this?")
        return session_record(info, *args, **options)

    async with OpencodeSessionService() as service:
        with monkeypatch.context() as patch:
            patch.setattr("opencode_sessions.sources.surroundings.session_record", not_understood)
            report = await imported(service, source)
        told = Problem(f"session {bad}", "was not understood (TypeError: what is this?)")
        assert report.problems == [told]
        assert (report.sessions.new, report.sessions.skipped) == (len(others), 1)
        report = await imported(service, source)
        assert (report.sessions.new, report.problems) == (1, [])
        assert await everything(service) == await everything(whole)


async def test_one_session_without_rows_does_not_stop_the_others(
    service: OpencodeSessionService, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *others = records(small)

    def without(record: SessionRecord, **writer: Any) -> Any:
        if record.id == bad:
            raise OverflowError("too long")
        return session_rows(record, **writer)

    with monkeypatch.context() as patch:
        patch.setattr("opencode_sessions.prepared.session_rows", without)
        report = await imported(service, small)
    told = Problem(f"session {bad}", "was not understood (OverflowError: too long)")
    assert report.problems == [told]
    assert report.sessions.new == len(others)
    report = await imported(service, small)
    assert (report.sessions.new, report.sessions.unchanged) == (1, len(others))


async def test_a_source_that_cannot_be_read_does_not_stop_the_others(
    service: OpencodeSessionService, small: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copy(small, tmp_path / "opencode-dev.db"))
    os.truncate(broken, 50_000)
    report = await imported(service, tmp_path)  # which has both
    assert report.sessions.new == len(records(small))
    (problem,) = report.problems
    assert problem.place == f"source {broken}"
    assert "is damaged or only a part of the file" in problem.reason
    assert report.sessions.skipped == 1
    with pytest.raises(SourceError, match="is damaged"):
        await imported(service, broken)


async def test_what_is_wrong_in_a_source_that_ends_too_soon_is_told(
    service: OpencodeSessionService, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gave some sessions, and what could not be read of them is not in the other source."""
    other = Path(shutil.copy(small, tmp_path / "opencode-dev.db"))
    part = "(SELECT min(id) FROM part)"
    with closing(sqlite3.connect(small)) as connection:
        ((id,),) = connection.execute(f"SELECT {part}")
    changed(small, f"UPDATE part SET data = '{{' WHERE id = {part}")
    sessions = Database.sessions

    def ending(self: Database, **options: Any) -> Iterator[Any]:
        yield from sessions(self, **options)
        if self.path == small:
            raise SourceChanged("opencode wrote meanwhile")

    monkeypatch.setattr(Database, "sessions", ending)
    report = await imported(service, [small, other])
    assert [problem.place.split()[:2] for problem in report.problems] == [
        ["part", id],
        ["source", str(small)],
    ]
    assert report.sessions.new == len(records(other))


async def test_what_the_database_cannot_give_is_taken_from_the_tree(
    service: OpencodeSessionService,
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session whose rows are damaged is in the tree it was migrated from, too."""
    folder = Path(shutil.copytree(trees["opencode-1.1.65"].database, tmp_path / "data"))
    shutil.copy(recordings["opencode-1.1.65-upgraded-to-1.18.33"].database, folder / "opencode.db")
    (id, *_others) = records(folder / "opencode.db")
    messages = "opencode_sessions.sources.database._todays_messages"

    def damaged(connection: Any, session_id: str) -> Any:
        if session_id == id:
            raise sqlite3.DatabaseError("database disk image is malformed")
        return todays_messages(connection, session_id)

    with monkeypatch.context() as patch:
        patch.setattr(messages, damaged)
        report = await imported(service, folder)
        assert [problem.place for problem in report.problems] == [f"session {id}"]
        sources = dict(await service.store.select("sessions", ["opencode_id", "source"]))
        assert (sources.pop(id), {*sources.values()}) == ("storage", {"database"})
        for (name,) in await service.store.select("sessions", ["deleted_at"]):
            assert name is None
    await imported(service, folder)
    alone = OpencodeSessionService()
    await imported(alone, folder)
    assert await everything(service) == await everything(alone)


async def test_a_session_stored_meanwhile_is_looked_at_again(
    service: OpencodeSessionService, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.store.apply
    (id, record), *_ = records(small).items()
    message = record.messages[0]
    meanwhile: list[OpencodeSession] = []

    async def late(steps: Any) -> Any:
        if not meanwhile:
            monkeypatch.setattr(service.store, "apply", real)
            meanwhile.append(await service.get_or_create_session(id))
            await service.persist_message(meanwhile[0], message.role, message.parts)
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", late)
    report = await imported(service, small)
    assert not report.problems
    assert (await service.get_session(id)).id == meanwhile[0].id
    assert len(await service.list_messages(id)) == len(record.messages)


async def test_the_callers_own_failure_is_noted_and_all_is_imported(
    db: AsyncSession, small: Path
) -> None:
    service = OpencodeSessionService(db)
    broken = OpencodeSession(id=None, opencode_id="ses_x")
    db.add(broken)
    await db.flush()
    db.add(OpencodeSession(id="another", opencode_id="ses_x"))
    report = await imported(service, small)
    (note,) = report.notes
    said, _, reason = note.partition(": ")
    assert said == "what you had not committed in the AsyncSession was rolled back"
    assert reason.startswith(("UNIQUE constraint", "duplicate key value violates unique"))
    assert report.sessions.new == len(records(small))
    assert len(await service.sessions()) == len(records(small))


async def cancel_in_the_middle(service: OpencodeSessionService, path: Path, applies: int) -> None:
    """Cancels an import while it stores its session of this number."""
    real, seen = service.store.apply, 0
    task = asyncio.ensure_future(imported(service, path))

    async def cancels(steps: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == applies:
            task.cancel()
        return await real(steps)

    service.store.apply = cancels  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await task
    service.store.apply = real  # type: ignore[method-assign]


async def test_cancelled_in_the_middle_the_next_one_completes_it(
    service: OpencodeSessionService, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "ROWS_TOGETHER", 1)
    sessions = records(small)
    for applies in (1, 2, 3):
        await cancel_in_the_middle(service, small, applies)
        for (id,) in await service.store.select("sessions", ["id"]):
            assert len(await service.list_messages(id)) == len(sessions[id].messages)
    report = await imported(service, small)
    assert report.sessions.total == len(sessions)
    assert not report.problems
    alone = OpencodeSessionService()
    await imported(alone, small)
    assert await everything(service) == await everything(alone)


async def test_cancelled_at_any_moment(service: OpencodeSessionService, small: Path) -> None:
    for turns in (0, 1, 2, 3, 5, 8, 20, 100, 500):
        task = asyncio.ensure_future(imported(service, small))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.done()
    await imported(service, small)
    alone = OpencodeSessionService()
    await imported(alone, small)
    assert await everything(service) == await everything(alone)


async def test_two_imports_at_once(service: OpencodeSessionService, small: Path) -> None:
    reports = await asyncio.gather(*(imported(service, small) for _ in range(3)))
    assert not any(report.problems for report in reports)
    alone = OpencodeSessionService()
    await imported(alone, small)
    assert await everything(service) == await everything(alone)


async def test_python_looks_for_garbage_as_before_after_imports(
    service: OpencodeSessionService, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real, seen = gc.get_threshold(), service.store.apply, set()

    async def watched(steps: Any) -> Any:
        seen.add(gc.get_threshold())
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", watched)
    await asyncio.gather(*(imported(service, small) for _ in range(2)))
    assert gc.get_threshold() == before
    assert min(threshold[0] for threshold in seen) > before[0]
    task = asyncio.ensure_future(imported(service, small, origin="other"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gc.get_threshold() == before


async def test_a_source_that_cannot_be_read_leaves_the_store_alone(
    service: OpencodeSessionService, tmp_path: Path
) -> None:
    file = tmp_path / "opencode.db"
    file.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(SourceError, match="is no SQLite database"):
        await imported(service, file)
    assert not any((await everything(service)).values())


HOSTILE = "</td><script>alert(1)</script>\\u001b[31m\\u0000\\ud800\\u202e"


async def test_hostile_content_is_stored_and_shown_harmless(
    service: OpencodeSessionService, small: Path
) -> None:
    (id, record), *_ = records(small).items()
    changed(
        small,
        f'UPDATE message SET data = replace(data, \'"role"\', \'"agent":"{HOSTILE}","role"\')',
        f'UPDATE part SET data = replace(data, \'"type":"text"\', '
        f'\'"type":"text","x":"{HOSTILE}"\')',
        f"""INSERT INTO message (id, session_id, time_created, time_updated, data)
            VALUES ('msg_' || char(27) || '[31m<b>', '{id}', 0, 0, 'broken')""",
        "UPDATE session SET summary_files = -1, summary_additions = 1099511627776",
        "CREATE TABLE '<script>' (a)",
    )
    report = await imported(service, small)
    assert report.scrubbed > 0
    assert (report.sessions.skipped, report.messages.skipped) == (0, 1)
    assert report.sessions.new == len(records(small))
    for shown in (repr(report), report._repr_html_()):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script>" not in report._repr_html_()
    assert "<b>" not in report._repr_html_()
    assert "&lt;script&gt;" in report._repr_html_()
    rows = await everything(service)
    again = await imported(service, small)
    assert all(new == changed == 0 for new, changed, _, _ in numbers(again).values())
    assert await everything(service) == rows
    assert len(await service.list_messages(id)) == len(record.messages) + 1
    frames = await service.frames(diffs=True, parts=True)
    assert set(frames.sessions["reported_files"]) == {-1}
    assert frames.sessions["reported_additions"].isna().all()


# -- report and progress ---------------------------------------------------------------------------


def test_report_says_what_was_read_stored_and_left_out() -> None:
    report = ImportReport(
        sources=["/home/ana/opencode.db (database)"],
        sessions=Count(new=1234, changed=1),
        problems=[Problem(f"part prt_{n} of ses_1", "its JSON is broken") for n in range(7)],
        notes=["a note"],
        scrubbed=2,
        seconds=1.25,
    )
    assert repr(report) == (
        "ImportReport: /home/ana/opencode.db (database) (1.2 s)\n"
        "                    new  changed  unchanged  skipped\n"
        "  sessions        1,234        1          0        0\n"
        "  messages            0        0          0        0\n"
        "  tool calls          0        0          0        0\n"
        "  file events         0        0          0        0\n"
        "  skipped part prt_0 of ses_1: its JSON is broken\n"
        "  skipped part prt_1 of ses_1: its JSON is broken\n"
        "  skipped part prt_2 of ses_1: its JSON is broken\n"
        "  skipped part prt_3 of ses_1: its JSON is broken\n"
        "  skipped part prt_4 of ses_1: its JSON is broken\n"
        "  and 2 more in .problems\n"
        "  2 values no database can hold were replaced\n"
        "  a note"
    )
    html = report._repr_html_()
    assert "<td>1,234</td>" in html
    assert "and 2 more in .problems" in html
    assert Count(1, 2, 3, 4).total == 10


@pytest.mark.parametrize("progress", [True, False])
async def test_progress(small: Path, capsys: pytest.CaptureFixture[str], progress: bool) -> None:
    service = OpencodeSessionService()
    await service.import_opencode(small, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("import" in captured.err, "session" in captured.err) == (progress, progress)


async def test_repr_is_new_after_an_import(serve: Serve, small: Path) -> None:
    service = await serve()
    report = await imported(service, small)
    frames = await service.frames()
    newest = f"{frames.sessions['updated_at'].max():%Y-%m-%d %H:%M} UTC"
    told = f"{report.sessions.new} sessions, {report.file_events.new} file events, newest {newest}"
    assert told in repr(service)
    assert newest in service._repr_html_()
    assert "since" not in repr(service)


async def test_frames_of_every_mode_are_the_same(serve: Serve, small: Path) -> None:
    service, alone = await serve(), OpencodeSessionService()
    for each in (service, alone):
        await imported(each, small)
    ours, theirs = [await each.frames(diffs=True, parts=True) for each in (service, alone)]
    for name in KINDS:
        assert_frame_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("made", ["callers", "subagents", "every other one"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_tree_is_whole_whoever_stored_its_sessions(
    recordings: dict[str, Recording], made: str, is_first: bool
) -> None:
    """An application knows some of the sessions by rows of its own, before an import or after."""
    file = recordings[TRAILMAP].database
    with closing(sqlite3.connect(file)) as opencode:
        links = dict(opencode.execute("SELECT id, parent_id FROM session WHERE parent_id > ''"))
    theirs = {"callers": {*links.values()}, "subagents": {*links}}.get(made, {*sorted(links)[::2]})
    async with OpencodeSessionService(None) as svc:
        if not is_first:
            await svc.import_opencode(file)
        for id in theirs:
            session = await svc.get_or_create_session(id)
            await svc.persist_message(session, "user", "of the application")
        await svc.import_opencode(file)
        sessions = (await svc.frames()).sessions
    ids = ["session_id", "opencode_session_id", "parent_session_id", "root_session_id"]
    rows = sessions[ids].astype(object).to_numpy().tolist()
    opencodes = {id: opencode for id, opencode, *_ in rows}
    assert {of: opencodes[parent] for _, of, parent, _ in rows if isinstance(parent, str)} == links
    assert {of: opencodes[root] for _, of, _, root in rows if opencodes[root] != of} == links
