"""The service's contract, each sentence in all three modes: memory, AsyncSession, file."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import Serve
from sqlalchemy.ext.asyncio import AsyncSession

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionService, SessionNotFound
from opencode_sessions.models import (
    TABLES,
    OpencodeFileEvent,
    OpencodeMessage,
    OpencodeSession,
)
from opencode_sessions.store import StoreFailed

FLAT = [
    {"type": "text", "text": "first"},
    {"type": "tool_use", "name": "read", "input": {"path": "a.py"}},
    {"type": "tool_use", "name": "edit", "input": {"path": "a.py", "new_string": "x = 1"}},
    {"type": "tool_use", "name": "bash", "input": {"command": "pytest"}},
    {"type": "tool_use", "name": "webfetch", "input": {"url": "http://127.0.0.1"}},
]


def tool(id: str = "prt_1", *, name: str = "read", status: str = "completed") -> dict[str, Any]:
    """A tool call as opencode itself writes it."""
    return {
        "id": id,
        "messageID": "msg_1",
        "type": "tool",
        "tool": name,
        "callID": f"call_{id}",
        "state": {
            "status": status,
            "input": {"filePath": f"/p/{id}.py"},
            "time": {"start": 1_700_000_000_000, "end": 1_700_000_001_500},
        },
    }


async def rows(service: OpencodeSessionService, table: str) -> list[dict[str, Any]]:
    names = [column.name for column in TABLES[table].columns]
    found = await service.store.select(table, names)  # type: ignore[arg-type]
    listed = [dict(zip(names, row, strict=True)) for row in found]
    return sorted(listed, key=lambda row: (str(row["created_at"]), row.get("seq") or 0))


async def a_message(
    service: OpencodeSessionService, parts: list[Any], **options: Any
) -> OpencodeMessage:
    session = await service.get_or_create_session("ses_1", "build", "/p", None, None)
    return await service.persist_message(session, "assistant", parts, **options)


# -- sessions ------------------------------------------------------------------------------------


async def test_session_by_position_and_by_keyword(service: OpencodeSessionService) -> None:
    positional = await service.get_or_create_session("ses_1", "build", "/p", "thread", "Title")
    named = await service.get_or_create_session(
        opencode_id="ses_2", agent_name="plan", workdir="/q", abi_thread_id=None, title=None
    )
    assert isinstance(positional, OpencodeSession)
    said = [
        (each.opencode_id, each.agent_name, each.workdir, each.abi_thread_id, each.title)
        for each in (positional, named)
    ]
    assert said == [
        ("ses_1", "build", "/p", "thread", "Title"),
        ("ses_2", "plan", "/q", None, None),
    ]


async def test_new_session_has_times_in_utc_and_an_id_of_36(
    service: OpencodeSessionService,
) -> None:
    before = datetime.now(UTC)
    session = await service.get_or_create_session("ses_1", "build", "/p", None, None)
    assert len(session.id) == 36
    assert session.created_at is not None
    assert session.created_at == session.updated_at
    assert before <= session.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert session.created_at.utcoffset() == timedelta(0)


async def test_found_session_is_touched_and_gets_only_what_it_lacks(
    service: OpencodeSessionService,
) -> None:
    first = await service.get_or_create_session("ses_1", "build", "/p", None, None)
    again = await service.get_or_create_session("ses_1", "plan", "/q", "thread", "Title")
    assert again.id == first.id
    assert (again.agent_name, again.workdir) == ("build", "/p")
    assert (again.abi_thread_id, again.title) == ("thread", "Title")
    assert again.updated_at > first.updated_at  # type: ignore[operator]
    assert again.created_at == first.created_at
    third = await service.get_or_create_session("ses_1", None, None, "other", "Other")
    assert (third.abi_thread_id, third.title) == ("other", "Title")
    fourth = await service.get_or_create_session("ses_1", None, None, None, None)
    assert (fourth.abi_thread_id, fourth.title) == ("other", "Title")
    assert len(await rows(service, "sessions")) == 1


async def test_title_that_is_empty_counts_as_none(service: OpencodeSessionService) -> None:
    await service.get_or_create_session("ses_1", "build", "/p", None, "")
    again = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
    assert again.title == "Title"


@pytest.mark.parametrize("opencode_id", [None, ""])
async def test_sessions_without_an_opencode_id_are_each_their_own(
    service: OpencodeSessionService, opencode_id: str | None
) -> None:
    sessions = [await service.get_or_create_session(opencode_id) for _ in range(3)]
    assert len({session.id for session in sessions}) == 3
    assert {session.opencode_id for session in sessions} == {None}


async def test_what_is_text_in_the_table_may_come_as_anything(
    service: OpencodeSessionService,
) -> None:
    thread = uuid4()
    session = await service.get_or_create_session(
        "ses_1",
        "build",
        Path("/p/q"),
        thread,  # type: ignore[arg-type]
        7,  # type: ignore[arg-type]
    )
    assert (session.workdir, session.abi_thread_id, session.title) == ("/p/q", str(thread), "7")
    assert not service.pending


# -- messages ------------------------------------------------------------------------------------


async def test_message_has_its_text_and_its_parts_as_they_are(
    service: OpencodeSessionService,
) -> None:
    parts = [*FLAT, {"type": "odd", "deep": {"er": [1, 2.5, None, True, "é"]}}, "a string", 7, None]
    message = await a_message(service, parts)
    assert isinstance(message, OpencodeMessage)
    assert (message.role, message.content, message.parts) == ("assistant", "first", parts)
    (stored,) = await service.list_messages("ses_1")
    assert (stored.id, stored.parts, stored.content) == (message.id, parts, "first")
    assert stored.session_id == (await service.get_session("ses_1")).id


async def test_stored_parts_are_a_snapshot(service: OpencodeSessionService) -> None:
    parts: list[Any] = [{"type": "text", "text": "said"}]
    message = await a_message(service, parts)
    parts[0]["text"] = "changed"
    message.parts.append("more")  # type: ignore[union-attr]
    (stored,) = await service.list_messages("ses_1")
    stored.parts.clear()  # type: ignore[union-attr]
    assert (await service.list_messages("ses_1"))[0].parts == [{"type": "text", "text": "said"}]


@pytest.mark.parametrize("make", [tuple, iter, deque])
async def test_parts_may_come_as_any_iterable(
    service: OpencodeSessionService, make: Callable[[Any], Any]
) -> None:
    message = await a_message(service, make(FLAT))
    await service.persist_file_events(message, make(FLAT))
    (stored,) = await service.list_messages("ses_1")
    assert (stored.parts, stored.content) == (FLAT, "first")
    assert len(await service.list_file_events("ses_1")) == 3


@pytest.mark.parametrize("given", [{"type": "text", "text": "first"}, "text", None, 5, []])
async def test_parts_that_are_no_list_are_stored_as_they_are(
    service: OpencodeSessionService, given: Any
) -> None:
    message = await a_message(service, given)
    await service.persist_file_events(message, given)
    assert not service.pending
    assert (await service.list_messages("ses_1"))[0].parts == given


async def test_message_known_by_its_id_is_updated(service: OpencodeSessionService) -> None:
    first = await a_message(service, [{"text": "half"}], message_id="msg_1")
    again = await a_message(service, [{"text": "half and half"}], message_id="msg_1")
    other = await a_message(service, [{"text": "another"}], message_id="msg_2")
    assert first.id == again.id != other.id
    stored = await service.list_messages("ses_1")
    said = [(m.opencode_id, m.content) for m in stored]
    assert said == [("msg_1", "half and half"), ("msg_2", "another")]
    assert stored[0].created_at == first.created_at


async def test_message_id_is_found_in_the_parts(service: OpencodeSessionService) -> None:
    first = await a_message(service, [{"type": "text", "text": "a"}, tool()])
    assert first.opencode_id == "msg_1"
    again = await a_message(service, [tool(), {"type": "text", "text": "b"}])
    assert again.id == first.id
    named = await a_message(service, [tool()], message_id="msg_9")
    assert (named.opencode_id, named.id == first.id) == ("msg_9", False)


async def test_messages_without_an_id_are_each_their_own(service: OpencodeSessionService) -> None:
    for _ in range(3):
        await a_message(service, [{"text": "ok"}])
    assert [m.content for m in await service.list_messages("ses_1")] == ["ok"] * 3


async def test_same_message_id_in_two_sessions_is_two_messages(
    service: OpencodeSessionService,
) -> None:
    for id in ("ses_1", "ses_2"):
        session = await service.get_or_create_session(id)
        await service.persist_message(session, "user", [{"text": id}], message_id="msg_1")
    for id in ("ses_1", "ses_2"):
        assert [m.content for m in await service.list_messages(id)] == [id]


async def test_messages_and_events_are_in_order_and_turns_begin_at_1(
    service: OpencodeSessionService,
) -> None:
    session = await service.get_or_create_session("ses_1")
    for number, role in enumerate(["assistant", "user", "assistant", "user"]):
        message = await service.persist_message(session, role, [{"text": str(number)}])
        await service.persist_file_events(message, FLAT)
    stored = await service.list_messages("ses_1")
    places = [(m.content, m.seq, m.turn) for m in stored]
    assert places == [("0", 0, 1), ("1", 1, 2), ("2", 2, 2), ("3", 3, 3)]
    events = await service.list_file_events("ses_1")
    assert [event.seq for event in events] == list(range(12))
    assert [event.turn for event in events] == [1] * 3 + [2] * 6 + [3] * 3


# -- file events ---------------------------------------------------------------------------------


async def test_one_row_for_each_event_and_each_call(service: OpencodeSessionService) -> None:
    message = await a_message(service, FLAT)
    await service.persist_file_events(message, FLAT)
    events = await service.list_file_events("ses_1")
    assert [(e.event_type, e.file_path, e.diff, e.command) for e in events] == [
        ("read", "a.py", None, None),
        ("edit", "a.py", "x = 1", None),
        ("bash", None, None, "pytest"),
    ]
    assert {(e.session_id, e.message_id) for e in events} == {(message.session_id, message.id)}
    calls = await rows(service, "tool_calls")
    assert [(call["tool"], call["input"]) for call in calls] == [
        (part["name"], part["input"]) for part in FLAT[1:]
    ]
    assert {event.tool_call_id for event in events} < {call["id"] for call in calls}


async def test_events_are_those_of_extract_file_events(service: OpencodeSessionService) -> None:
    parts = [*FLAT, tool("prt_1"), tool("prt_2", name="edit", status="error"), {"type": "?"}, 3]
    message = await a_message(service, parts)
    await service.persist_file_events(message, parts)
    stored = [
        {key: getattr(event, key) for key in expected}
        for event, expected in zip(
            await service.list_file_events("ses_1"),
            OpencodeSessionService.extract_file_events(parts),
            strict=True,
        )
    ]
    assert stored == OpencodeSessionService.extract_file_events(parts)


async def test_part_with_an_id_is_stored_once(service: OpencodeSessionService) -> None:
    message = await a_message(service, [tool("prt_1", status="running")])
    await service.persist_file_events(message, [tool("prt_1", status="running")])
    first = (await service.list_file_events("ses_1"))[0]
    assert first.status == "pending"
    await service.persist_file_events(message, [tool("prt_1"), tool("prt_2")])
    stored = await service.list_file_events("ses_1")
    assert [(e.file_path, e.seq) for e in stored] == [("/p/prt_1.py", 0), ("/p/prt_2.py", 1)]
    assert [e.status for e in stored] == ["completed", "completed"]
    assert (stored[0].id, stored[0].created_at) == (first.id, first.created_at)
    assert stored[1].duration_s == 1.5
    assert len(await rows(service, "tool_calls")) == 2


async def test_one_id_twice_in_a_message_is_two_rows_however_often_it_is_stored(
    service: OpencodeSessionService,
) -> None:
    twice = [tool("prt_1", status="running"), tool("prt_1")]
    message = await a_message(service, twice)
    for _ in range(3):
        await service.persist_file_events(message, twice)
    assert [e.status for e in await service.list_file_events("ses_1")] == ["pending", "completed"]


async def test_parts_without_tool_calls_store_nothing(service: OpencodeSessionService) -> None:
    message = await a_message(service, [{"text": "a"}])
    await service.persist_file_events(message, [{"text": "a"}, None, 5])
    assert await service.list_file_events("ses_1") == []


async def test_a_failure_in_the_middle_leaves_none(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await a_message(service, FLAT)
    real = service.store.apply

    async def third_fails(steps: Any) -> Any:
        # The third event hangs on no message: what the database refuses when the calls are in.
        last = steps[-1].rows[-1]
        steps[-1].rows[-1] = last | {"event_type": None, "message_id": "gone", "session_id": None}
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", third_fails)
    await service.persist_file_events(message, FLAT)
    assert len(service.pending) == 1
    assert await rows(service, "file_events") == await rows(service, "tool_calls") == []


async def test_extracting_needs_no_service() -> None:
    assert OpencodeSessionService.extract_text(FLAT) == "first"
    assert OpencodeSessionService.extract_text([{"type": "tool"}]) is None
    (read, *_) = OpencodeSessionService.extract_file_events(FLAT)
    assert read == {"event_type": "read", "file_path": "a.py"}


# -- what comes back -----------------------------------------------------------------------------


async def test_objects_are_plain_for_ever(serve: Serve) -> None:
    service, other = await serve(), await serve()
    session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
    message = await service.persist_message(session, "user", FLAT)
    await service.persist_file_events(message, FLAT)
    (event, *_) = await service.list_file_events(session)
    found = await service.get_session("ses_1")
    await other.get_or_create_session("ses_2")  # commits
    with pytest.raises(SessionNotFound):
        await other.get_session("ses_3")
    await service.close()

    def read() -> list[Any]:
        objects = [session, message, event, found]
        return [getattr(each, c.key) for each in objects for c in each.__table__.columns]

    async def read_in_a_task() -> list[Any]:
        return read()

    values = await asyncio.create_task(read_in_a_task())
    assert values == await asyncio.to_thread(read)
    assert "Title" in values
    reprs = [repr(each).split()[0] for each in (session, message, event)]
    assert reprs == ["<OpencodeSession", "<OpencodeMessage", "<OpencodeFileEvent"]


async def test_lists_are_of_one_session_by_either_id_or_by_the_object(
    service: OpencodeSessionService,
) -> None:
    for id in ("ses_1", "ses_2"):
        session = await service.get_or_create_session(id)
        message = await service.persist_message(session, "user", [{"text": id}])
        await service.persist_file_events(message, FLAT)
    for key in ("ses_2", session.id, session):
        assert (await service.get_session(key)).opencode_id == "ses_2"
        assert [m.content for m in await service.list_messages(key)] == ["ses_2"]
        events = await service.list_file_events(key)
        assert [type(event) for event in events] == [OpencodeFileEvent] * 3
        assert {event.session_id for event in events} == {session.id}


async def test_unknown_session_names_the_newest(service: OpencodeSessionService) -> None:
    with pytest.raises(SessionNotFound, match=r"No session 'ses_9' .*It holds none yet"):
        await service.get_session("ses_9")
    for number in range(5):
        await service.get_or_create_session(f"ses_{number}", title=f"\x1b[31mNumber {number}")
    with pytest.raises(SessionNotFound) as caught:
        await service.list_messages("ses_9")
    text = str(caught.value)
    assert all(f"ses_{number}" in text for number in (2, 3, 4))
    assert "ses_1" not in text
    assert "\x1b" not in text
    for method in (service.list_file_events, service.delete_session, service.messages):
        with pytest.raises(SessionNotFound):
            await method("ses_9")


@pytest.mark.parametrize("id", ["ses_\ud800", "ses_\0", ""])
async def test_looking_for_what_no_database_can_hold(
    service: OpencodeSessionService, id: str
) -> None:
    with pytest.raises(SessionNotFound):
        await service.get_session(id)


# -- taking away ---------------------------------------------------------------------------------


async def test_delete_session_takes_all_that_is_in_it(service: OpencodeSessionService) -> None:
    for id in ("ses_1", "ses_2"):
        session = await service.get_or_create_session(id)
        message = await service.persist_message(session, "user", FLAT, message_id="msg_1")
        await service.persist_file_events(message, FLAT)
    await service.delete_session("ses_1")
    for table in TABLES:
        left = {row.get("session_id", row["id"]) for row in await rows(service, table)}
        assert left == {session.id}
    with pytest.raises(SessionNotFound):
        await service.get_session("ses_1")
    again = await service.get_or_create_session("ses_1")
    message = await service.persist_message(again, "user", FLAT, message_id="msg_1")
    assert (message.seq, message.turn) == (0, 1)


async def test_prune_leaves_what_was_touched_since(service: OpencodeSessionService) -> None:
    idle = await service.get_or_create_session("ses_idle")
    await service.persist_message(idle, "user", FLAT)
    busy = await service.get_or_create_session("ses_busy")
    await service.get_or_create_session("ses_touched")
    moment = datetime.now(UTC)
    await service.get_or_create_session("ses_touched")
    await service.get_or_create_session("ses_new")
    await service.persist_message(busy, "user", [{"text": "still going"}])
    assert await service.prune(before=datetime(1999, 1, 1)) == 0
    pruned = await service.prune(before=moment)
    assert pruned == 1
    assert repr(pruned).startswith("<Pruned 1 sessions. ")
    left = {row["opencode_id"] for row in await rows(service, "sessions")}
    assert left == {"ses_busy", "ses_touched", "ses_new"}
    assert [row["session_id"] for row in await rows(service, "messages")] == [busy.id]
    assert await service.prune(before=datetime.now(UTC) + timedelta(days=1)) == 3


@pytest.mark.parametrize("before", ["2001-01-01", "2001-01-01T10:00", datetime(2001, 1, 1).date()])
async def test_prune_takes_moments_as_people_write_them(
    service: OpencodeSessionService, before: Any
) -> None:
    await service.get_or_create_session("ses_1")
    assert await service.prune(before=before) == 0


async def test_prune_refuses_what_is_no_moment(service: OpencodeSessionService) -> None:
    with pytest.raises(ocs.OpencodeSessionsError, match="'yesterday' is no time"):
        await service.prune(before="yesterday")


# -- repr and close ------------------------------------------------------------------------------


async def test_repr_says_where_and_how_much(serve: Serve) -> None:
    service = await serve()
    place = service.store.place
    assert repr(service).startswith(f"<OpencodeSessionService {Path(place).name}")
    assert re.search(r"^memory$|^an AsyncSession$|/sessions\.db$|/test_\d+$", place)
    message = await a_message(service, FLAT)
    await service.persist_file_events(message, FLAT)
    if place == "memory":
        assert ": 1 sessions, 3 file events, newest " in repr(service)
    await service.store.summary()
    assert ": 1 sessions, 3 file events, newest " in repr(service)
    assert "writes since" not in repr(service)
    if place != "memory":
        await a_message(service, FLAT)
        assert repr(service).endswith(", 2 writes since>")


async def test_repr_says_what_is_pending(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_steps: Any) -> Any:
        raise StoreFailed("database is locked", is_passing=True)

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "apply", fails)
        await service.get_or_create_session("ses_1")
    assert repr(service).endswith("1 writes pending>")


async def test_async_with_closes_and_close_writes_what_is_pending(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_steps: Any) -> Any:
        raise StoreFailed("database is locked", is_passing=True)

    async with await serve() as service:
        with monkeypatch.context() as patch:
            patch.setattr(service.store, "apply", fails)
            await service.get_or_create_session("ses_1")
        assert len(service.pending) == 1
    assert not service.pending
    if service.store.place != "memory":
        service = await serve()
    assert len(await rows(service, "sessions")) == 1
    await service.close()


async def test_close_waits_for_writes_under_way(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.get_or_create_session("ses_1")
    under_way, go_on = asyncio.Event(), asyncio.Event()
    real = service.store.apply

    async def slow(steps: Any) -> Any:
        under_way.set()
        await go_on.wait()
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", slow)
    writes = [asyncio.create_task(service.persist_message(session, "user", FLAT)) for _ in range(5)]
    await under_way.wait()
    closing = asyncio.create_task(service.close())
    done, _ = await asyncio.wait([closing, *writes], timeout=0)
    assert not done
    go_on.set()
    await closing
    assert all(write.done() for write in writes)
    await service.close()  # a second time does nothing


async def test_close_logs_what_could_not_be_written(
    service: OpencodeSessionService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(_steps: Any) -> Any:
        raise StoreFailed("database is locked", is_passing=True)

    monkeypatch.setattr(service.store, "apply", fails)
    await service.get_or_create_session("ses_1")
    await service.close()
    assert "closed with 1 writes pending: database is locked" in caplog.text
    monkeypatch.undo()
    await service.flush()


async def test_frames_of_every_mode_are_the_same(serve: Serve) -> None:
    service = await serve()
    message = await a_message(service, FLAT)
    await service.persist_file_events(message, FLAT)
    frames = await service.frames(diffs=True, parts=True)
    assert [len(frame) for frame in (frames.sessions, frames.messages)] == [1, 1]
    assert [*frames.file_events["file_path"].dropna()] == ["a.py", "a.py"]
    assert len(await service.sessions()) == len(await service.messages("ses_1")) == 1
    tools = (await service.tool_calls(message.session_id))["tool"]
    assert [*tools] == ["read", "edit", "bash", "webfetch"]
    only = await service.file_events("ses_1", file_path="a.py", diffs=True)
    assert list(only["event_type"]) == ["read", "edit"]
    assert list(only["diff"].dropna()) == ["x = 1"]


async def test_merging_an_object_is_how_to_change_it(db: AsyncSession) -> None:
    service = OpencodeSessionService(db)
    session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
    merged = await db.merge(session)
    merged.title = "Better"
    await db.commit()
    assert (await service.get_session("ses_1")).title == "Better"
    # `merged` is expired now, as every object of the application's own is; ours go on with it
    message = await service.persist_message(merged, "user", FLAT)
    own = await db.merge(message)
    await db.commit()
    await service.persist_file_events(own, FLAT)
    assert len(await service.list_file_events(merged)) == 3
    assert session.title == "Title"


# -- a message with what is in it ----------------------------------------------------------------


async def test_one_call_stores_what_two_store(service: OpencodeSessionService) -> None:
    parts = [*FLAT, tool("prt_1"), {**FLAT[1], "id": "call_9"}]
    one = await service.get_or_create_session("ses_1")
    await service.persist_message(one, "assistant", parts, events=True)
    two = await service.get_or_create_session("ses_2")
    message = await service.persist_message(two, "assistant", parts)
    assert not await service.list_file_events(two), "only if it is asked for"
    other_ids = [part if "id" not in part else tool("prt_2") for part in parts]
    await service.persist_file_events(message, other_ids)
    kept = ("event_type", "diff", "command", "status", "seq", "turn", "tool")
    told = [
        [
            tuple(getattr(event, name) for name in kept)
            for event in await service.list_file_events(s)
        ]
        for s in (one, two)
    ]
    assert told[0] == told[1] != []


@pytest.mark.parametrize("parts", [FLAT, [*FLAT, *FLAT], [tool("prt_1"), FLAT[2]]])
async def test_both_forms_of_one_message_double_nothing(
    service: OpencodeSessionService, parts: list[Any]
) -> None:
    session = await service.get_or_create_session("ses_1")
    message = await service.persist_message(session, "assistant", parts, events=True)
    before = [await rows(service, table) for table in ("file_events", "tool_calls")]
    for _ in range(2):
        await service.persist_file_events(message, parts)
    assert [await rows(service, table) for table in ("file_events", "tool_calls")] == before
    await service.persist_file_events(message, [*parts, FLAT[3]])
    assert len(await rows(service, "file_events")) == len(before[0]) + 1


async def test_one_call_of_a_message_that_is_known(service: OpencodeSessionService) -> None:
    call = {**FLAT[1], "id": "call_1"}
    first = await a_message(service, [call], message_id="msg_1", events=True)
    for _ in range(2):
        again = await a_message(service, [call, FLAT[2]], message_id="msg_1", events=True)
        assert again.id == first.id
    events = await service.list_file_events("ses_1")
    assert [(e.event_type, e.message_id) for e in events] == [
        ("read", first.id),
        ("edit", first.id),
    ]


async def test_one_call_is_all_or_nothing(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.get_or_create_session("ses_1")
    real = service.store.apply

    async def last_fails(steps: Any) -> Any:
        real_within = steps[-1].within

        def within(id: str) -> Any:
            calls, events = real_within(id)
            bad = events.rows[-1] | {"event_type": None, "message_id": "gone"}
            return calls, type(events)(events.table, [*events.rows[:-1], bad])

        return await real([*steps[:-1], type(steps[-1])(steps[-1].message_id, within)])

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "apply", last_fails)
        await service.persist_message(session, "assistant", FLAT, events=True)
    if service.store.place == "memory":
        return
    assert len(service.pending) == 1
    assert [len(await rows(service, table)) for table in TABLES] == [1, 0, 0, 0]
    await service.flush()
    assert [len(await rows(service, table)) for table in TABLES] == [1, 1, 4, 3]


async def test_prune_says_what_could_be_given_back(serve: Serve) -> None:
    service = await serve()
    for number in range(3):
        session = await service.get_or_create_session(f"ses_{number}")
        await service.persist_message(session, "user", [{"text": "x" * 300_000}])
    pruned = await service.prune(before=datetime.now(UTC) + timedelta(days=1))
    assert pruned == 3
    assert [len(await rows(service, table)) for table in TABLES] == [0, 0, 0, 0]
    if service.store.place == "memory":
        assert (pruned.free_bytes, pruned.advice) == (
            0,
            "In memory what is deleted is free at once.",
        )
        return
    assert "VACUUM" in pruned.advice
    if "VACUUM (FULL" not in pruned.advice:  # PostgreSQL counts later
        assert 900_000 < pruned.free_bytes < 3_000_000
        assert f"{pruned.free_bytes / 1e6:.1f} MB" in pruned.advice


async def test_prune_takes_all_that_is_idle_at_once(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await service.get_or_create_session(f"ses_{number}")
    applied = []
    real = service.store.apply

    async def counted(steps: Any) -> Any:
        applied.append(steps)
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", counted)
    assert await service.prune(before=datetime.now(UTC) + timedelta(days=1)) == 20
    assert len(applied) == 1
