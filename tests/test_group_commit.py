"""Writes that wait together share a transaction; each is durable on return, or fails alone."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import OPENED, Serve
from outside import Outside
from sqlalchemy import URL, make_url

from opencode_sessions import OpencodeSessionService, PersistenceError, outbox
from opencode_sessions.models import TABLES, OpencodeMessage, OpencodeSession
from opencode_sessions.store import PutMessage, Step, StoreFailed

LOCKED = StoreFailed("database is locked", is_passing=True)
CALLS = [{"type": "tool_use", "name": "read", "input": {"path": f"{n}.py"}} for n in range(3)]

pytestmark = pytest.mark.parametrize("serve", OPENED, indirect=True)


class Gate:
    """Holds the first transaction of a service until it is told to go on; notes them all."""

    def __init__(self, service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transactions: list[list[str]] = []
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        self._apply = service.store.apply
        monkeypatch.setattr(service.store, "apply", self.apply)

    async def apply(self, steps: list[Step]) -> Any:
        said = [str(step.row["content"]) for step in steps if isinstance(step, PutMessage)]
        self.transactions.append(said)
        self.begun.set()
        await self.may_go_on.wait()
        return await self._apply(steps)


@pytest.fixture
async def service(serve: Serve) -> OpencodeSessionService:
    return await serve()


@pytest.fixture
async def session(service: OpencodeSessionService) -> OpencodeSession:
    return await service.get_or_create_session("ses_1")


@pytest.fixture
def gate(
    service: OpencodeSessionService, session: OpencodeSession, monkeypatch: pytest.MonkeyPatch
) -> Gate:
    return Gate(service, monkeypatch)


@pytest.fixture
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Outside:
    """What another connection sees: what is durable."""
    if request.node.callspec.params["serve"] == "file":
        return Outside(URL.create("sqlite", database=str(tmp_path / "sessions.db")), None)
    server = request.getfixturevalue("postgres")
    return Outside(make_url(request.getfixturevalue("postgres_store")), server)


@pytest.fixture
async def only_once(service: OpencodeSessionService, outside: Outside) -> None:
    """A text may be said once: what the database refuses, and always will."""
    outside.run("CREATE UNIQUE INDEX only_once ON opencode_messages (content)")


async def say(service: OpencodeSessionService, session: Any, text: str) -> OpencodeMessage:
    return await service.persist_message(session, "user", [{"text": text}, *CALLS], events=True)


async def begun(
    gate: Gate, service: OpencodeSessionService, session: OpencodeSession, texts: Iterable[str]
) -> list[asyncio.Task[OpencodeMessage]]:
    """The first is being written; the others have come meanwhile, and wait."""
    first, *others = texts
    tasks = [asyncio.create_task(say(service, session, first))]
    await gate.begun.wait()
    tasks += [asyncio.create_task(say(service, session, text)) for text in others]
    await asyncio.sleep(0)
    return tasks


TEXTS = "SELECT content FROM opencode_messages ORDER BY seq"


async def counts(service: OpencodeSessionService) -> list[int]:
    return [len(await service.store.select(name, ["id"])) for name in TABLES]  # type: ignore[arg-type]


async def test_those_who_wait_share_a_transaction(
    service: OpencodeSessionService, session: OpencodeSession, gate: Gate
) -> None:
    tasks = await begun(gate, service, session, map(str, range(20)))
    gate.may_go_on.set()
    messages = await asyncio.gather(*tasks)
    assert gate.transactions == [["0"], [str(n) for n in range(1, 20)]]
    assert [message.seq for message in messages] == list(range(20))
    assert [message.content for message in messages] == [str(n) for n in range(20)]
    assert await counts(service) == [1, 20, 60, 60]
    stats = service.stats()
    assert (stats.writes, stats.groups, stats.largest_group, stats.waits) == (21, 3, 19, 19)
    assert stats.rows == 1 + 20 * 7
    assert repr(stats).startswith("<Stats 21 writes, 141 rows in 3 transactions; largest group 19;")


async def test_those_who_come_together_share_the_first_transaction(
    service: OpencodeSessionService, session: OpencodeSession, gate: Gate
) -> None:
    gate.may_go_on.set()
    await asyncio.gather(*(say(service, session, str(n)) for n in range(20)))
    assert gate.transactions == [[str(n) for n in range(20)]]


async def test_each_returns_when_its_own_rows_are_durable(
    service: OpencodeSessionService, outside: Outside
) -> None:
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in range(4)]

    async def write(number: int) -> None:
        for turn in range(8):
            message = await say(service, sessions[number % 4], f"{number} {turn}")
            events = f"FROM opencode_file_events WHERE message_id = '{message.id}'"
            assert outside.rows(f"SELECT count(*) {events}") == [3]

    await asyncio.gather(*(write(number) for number in range(12)))
    assert service.stats().groups < 12 * 8 / 2
    for session in sessions:
        said = [str(m.content).split() for m in await service.list_messages(session)]
        for number in {number for number, _turn in said}:
            assert [turn for n, turn in said if n == number] == [*"01234567"], "in order"


async def test_what_comes_again_is_updated_and_leaves_no_gap(
    service: OpencodeSessionService, session: OpencodeSession, gate: Gate
) -> None:
    """A message that grows while it is stored: its calls come again with each of its versions."""

    def parts(count: int) -> list[dict[str, Any]]:
        last: dict[str, Any] = {"status": "completed", "title": f"last of {count}"}
        return [
            {
                "type": "tool",
                "tool": "read",
                "id": f"prt_{n}",
                "messageID": "msg_1",
                "state": {"status": "running", "input": {"filePath": f"{n}.py"}}
                | (last if n == count - 1 else {}),
            }
            for n in range(count)
        ]

    async def stored() -> list[tuple[Any, ...]]:
        found = await service.store.select("tool_calls", ["id", "seq", "status", "title"])
        return sorted(row for row in found if row[0].startswith("prt_"))

    tasks = await begun(gate, service, session, ["before"])
    tasks += [
        asyncio.create_task(service.persist_message(session, "assistant", parts(n), events=True))
        for n in (1, 2, 3)
    ]
    await asyncio.sleep(0)
    gate.may_go_on.set()
    ids = {message.id for message in (await asyncio.gather(*tasks))[1:]}
    assert len(ids) == 1
    assert len(gate.transactions) == 2
    assert await stored() == [
        ("prt_0", 3, "pending", None),
        ("prt_1", 4, "pending", None),
        ("prt_2", 5, "completed", "last of 3"),
    ]
    again = await service.persist_message(session, "assistant", parts(5), events=True)
    assert {again.id} == ids
    assert await stored() == [
        *((f"prt_{n}", 3 + n, "pending", None) for n in range(4)),
        ("prt_4", 7, "completed", "last of 5"),
    ]
    events = await service.store.select("file_events", ["seq"])
    assert sorted(seq for (seq,) in events) == list(range(8))


async def test_a_group_has_a_bound(
    service: OpencodeSessionService,
    session: OpencodeSession,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "GROUP_ROWS", 7 * 4)
    tasks = await begun(gate, service, session, map(str, range(10)))
    gate.may_go_on.set()
    await asyncio.gather(*tasks)
    assert [len(said) for said in gate.transactions] == [1, 4, 4, 1]


# -- one that fails --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [1, 6, 11])
async def test_a_bad_row_fails_alone(
    only_once: None, service: OpencodeSessionService, session: OpencodeSession, gate: Gate, bad: int
) -> None:
    texts = [str(n) for n in range(12)]
    texts[bad] = "0"
    tasks = await begun(gate, service, session, texts)
    gate.may_go_on.set()
    await asyncio.gather(*tasks)
    (write,) = service.pending
    assert write.is_parked
    assert "unique constraint" in write.reason.lower()
    assert [row.get("content") for row in write.rows if "content" in row] == ["0"]
    assert len(gate.transactions) <= 2 + 2 * 4, "halved, not one by one"
    said = [message.content for message in await service.list_messages(session)]
    assert said == [str(n) for n in range(12) if n != bad]
    assert await counts(service) == [1, 11, 33, 33]


async def test_a_bad_row_is_raised_to_its_own_caller(
    only_once: None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve(on_error="raise")
    session = await service.get_or_create_session("ses_1")
    gate = Gate(service, monkeypatch)
    texts = ["a", "b", "a", "c", "b", "d"]
    tasks = await begun(gate, service, session, texts)
    gate.may_go_on.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        *(OpencodeMessage, OpencodeMessage, PersistenceError),
        *(OpencodeMessage, PersistenceError, OpencodeMessage),
    ]
    assert not service.pending
    assert await counts(service) == [1, 4, 12, 12]


async def test_what_passes_is_kept_in_order_and_written_together(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in range(3)]
    gate = Gate(service, monkeypatch)
    gate.may_go_on.set()

    async def locked(_steps: Any) -> Any:
        await asyncio.sleep(0)  # as all real stores, it lets the others come
        await asyncio.sleep(0)
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "apply", locked)
        await asyncio.gather(*(say(service, sessions[n % 3], str(n)) for n in range(30)))
        assert {write.reason for write in service.pending} == {
            "database is locked",
            "waits for an earlier write of its session",
        }
        assert service.stats().failures < 5
    await say(service, sessions[0], "30")
    # one to see whether it has passed, then the rest; and only then what comes after
    assert [len(said) for said in gate.transactions] == [1, 29, 1]
    assert not service.pending
    for number, session in enumerate(sessions):
        said = [int(str(m.content)) for m in await service.list_messages(session)]
        assert said == [n for n in range(31) if n % 3 == number]
    assert service.stats().retried == 30


# -- cancelled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [0, 1, 5])
async def test_a_cancelled_caller_cancels_no_other_and_loses_nothing(
    service: OpencodeSessionService, session: OpencodeSession, gate: Gate, cancelled: int
) -> None:
    """The first leads, the second leads the next group, the others wait for it."""
    tasks = await begun(gate, service, session, map(str, range(8)))
    tasks[cancelled].cancel()
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks), "it goes on until its write has ended"
    gate.may_go_on.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.pop(cancelled) is asyncio.CancelledError
    assert set(kinds) == {OpencodeMessage}
    assert [m.content for m in await service.list_messages(session)] == [*map(str, range(8))]
    assert (service.pending, service.last_error) == ([], None)
    await say(service, session, "8")


async def test_all_cancelled_in_the_middle(
    service: OpencodeSessionService, session: OpencodeSession, gate: Gate
) -> None:
    tasks = await begun(gate, service, session, map(str, range(8)))
    for task in tasks:
        task.cancel()
    gate.may_go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert [m.content for m in await service.list_messages(session)] == [*map(str, range(8))]


# -- a batch ---------------------------------------------------------------------------------------


async def test_a_batch_is_few_transactions_and_durable_at_its_end(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch, outside: Outside
) -> None:
    monkeypatch.setattr(outbox, "BATCH_ROWS", 7 * 40)
    before = service.stats().groups
    async with service.batch():
        session = await service.get_or_create_session("ses_1")
        for number in range(100):
            await say(service, session, str(number))
            waiting = (number + 1) % 40
            assert len(service.pending) == waiting
            assert len(outside.rows(TEXTS)) == number + 1 - waiting
        assert {write.reason for write in service.pending} == {"waits for the end of its batch"}
    assert outside.rows(TEXTS) == [str(number) for number in range(100)]
    assert await counts(service) == [1, 100, 300, 300]
    assert (service.pending, service.stats().groups - before) == ([], 4)


async def test_two_calls_in_a_batch(service: OpencodeSessionService) -> None:
    async with service.batch():
        session = await service.get_or_create_session("ses_1")
        for text in ("half", "whole"):
            message = await service.persist_message(
                session, "user", [{"text": text}], message_id="msg_1"
            )
            await service.persist_file_events(message, [{**CALLS[0], "id": "prt_1"}])
    (stored_message,) = await service.list_messages(session)
    assert (stored_message.content, stored_message.seq) == ("whole", 0)
    (event,) = await service.list_file_events(session)
    assert (event.message_id, event.turn) == (stored_message.id, 1)


async def test_others_do_not_wait_for_a_batch(
    service: OpencodeSessionService, session: OpencodeSession, outside: Outside
) -> None:
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def imports() -> None:
        async with service.batch():
            await say(service, session, "a")
            begun.set()
            await may_go_on.wait()
            await say(service, session, "c")

    task = asyncio.create_task(imports())
    await begun.wait()
    await say(service, session, "b")
    assert outside.rows(TEXTS) == ["a", "b"], "what was said before it goes first"
    may_go_on.set()
    await task
    assert outside.rows(TEXTS) == ["a", "b", "c"]


async def test_a_batch_that_is_left_by_an_error_is_written(
    service: OpencodeSessionService, session: OpencodeSession, outside: Outside
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with service.batch():
            await say(service, session, "a")
            raise ZeroDivisionError
    assert outside.rows(TEXTS) == ["a"]


async def test_a_batch_that_cannot_be_written_is_pending_and_raised_when_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, outside: Outside
) -> None:
    service = await serve(on_error="raise")
    session = await service.get_or_create_session("ses_1")

    async def locked(_steps: Any) -> Any:
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "apply", locked)
        with pytest.raises(PersistenceError, match="2 writes are still pending: database is lock"):
            async with service.batch():
                for text in "ab":
                    await say(service, session, text)
    assert len(service.pending) == 2
    await service.flush()
    assert outside.rows(TEXTS) == ["a", "b"]


async def test_closing_in_a_batch_writes_it(serve: Serve, outside: Outside) -> None:
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    async with service.batch():
        await say(service, session, "a")
        await service.close()
        assert outside.rows(TEXTS) == ["a"]


async def test_many_rows_known_by_other_ids_in_one_transaction(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept while the database was locked; meanwhile another process stored the same."""
    service, other = await serve(), await serve()

    async def locked(_steps: Any) -> Any:
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "apply", locked)
        for number in range(3):
            session = await service.get_or_create_session(f"ses_{number}")
            for name in ("msg_1", "msg_2"):
                parts = [{"text": name}, {**CALLS[0], "callID": "call_1"}, CALLS[1]]
                await service.persist_message(
                    session, "user", parts, message_id=name, events=number != 1
                )
    for number in range(3):
        session = await other.get_or_create_session(f"ses_{number}")
        await other.persist_message(session, "user", parts, message_id="msg_2", events=True)
    await service.flush()
    assert not service.pending
    assert service.stats().largest_group > 5
    for number in range(3):
        messages = await service.list_messages(f"ses_{number}")
        assert [m.opencode_id for m in messages] == ["msg_2", "msg_1"]
        events = await service.list_file_events(f"ses_{number}")
        assert {event.message_id for event in events} <= {message.id for message in messages}


async def test_a_service_of_many_writers_for_a_while(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers that fail, are cancelled, and go on, in every order that chance gives."""
    import random

    chance = random.Random(6)
    real = service.store.apply
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in range(5)]

    async def moody(steps: Any) -> Any:
        if chance.random() < 0.2:
            raise StoreFailed("database is locked", is_passing=True)
        if chance.random() < 0.1:
            await real(steps)
            raise StoreFailed("connection lost", is_passing=True)
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", moody)

    async def write(number: int) -> None:
        for turn in range(10):
            await say(service, sessions[number % 5], f"{number} {turn}")

    tasks = [asyncio.create_task(write(number)) for number in range(20)]
    await asyncio.gather(*tasks)
    monkeypatch.undo()
    await service.flush()
    assert await counts(service) == [5, 200, 600, 600]
    for session in sessions:
        said = [str(m.content).split() for m in await service.list_messages(session)]
        for number in {number for number, _turn in said}:
            assert [turn for n, turn in said if n == number] == [*"0123456789"], "in order"
