"""What could not be written: logged, kept, tried again in order, parked, bounded; in all modes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import Serve
from sqlalchemy.exc import OperationalError

from opencode_sessions import OpencodeSessionService, PersistenceError, outbox
from opencode_sessions.models import TABLES, OpencodeSession
from opencode_sessions.store import Append, PutMessage, PutSession, Step, StoreFailed

FLAT = [{"type": "tool_use", "name": "read", "input": {"path": "a.py"}}]
LOCKED = StoreFailed("database is locked", is_passing=True)
REFUSED = StoreFailed("NOT NULL constraint failed", is_passing=False)
Fails = Callable[[Step], StoreFailed | None]


class Faults:
    """Stands before a service's store and fails the writes it is told to."""

    def __init__(self, service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Fails = lambda step: None
        self.tried: list[str] = []
        self._apply = service.store.apply
        monkeypatch.setattr(service.store, "apply", self.apply)

    async def apply(self, steps: list[Step]) -> Any:
        self.tried += [said(step) for step in steps]
        for step in steps:
            if error := self.fails(step):
                raise error
        return await self._apply(steps)


def said(step: Step) -> str:
    """A name of what a step writes."""
    match step:
        case PutSession(row):
            return str(row["opencode_id"])
        case PutMessage(row):
            return str(row["content"])
        case Append(table, rows):
            return f"{table} {len(rows)}"
    return type(step).__name__


@pytest.fixture
def faults(service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(service, monkeypatch)


def always(error: StoreFailed) -> Fails:
    return lambda _step: error


async def say(service: OpencodeSessionService, session: OpencodeSession, text: str) -> None:
    await service.persist_message(session, "user", [{"text": text}])


async def counts(service: OpencodeSessionService) -> list[int]:
    return [len(await service.store.select(name, ["id"])) for name in TABLES]  # type: ignore[arg-type]


async def texts(service: OpencodeSessionService, session_id: str) -> list[str | None]:
    return [message.content for message in await service.list_messages(session_id)]


async def test_failed_write_is_logged_and_pending(
    service: OpencodeSessionService, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    assert (service.pending, service.last_error) == ([], None)
    faults.fails = always(LOCKED)
    with caplog.at_level(logging.ERROR, "opencode_sessions"):
        session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
    assert "database is locked" in caplog.text
    assert service.last_error is LOCKED
    (write,) = service.pending
    assert (write.reason, write.is_parked) == ("database is locked", False)
    assert [row["opencode_id"] for row in write.rows] == ["ses_1"]
    # what came back is plain to read and good to go on with
    assert (session.opencode_id, session.title, session.workdir) == ("ses_1", "Title", "/p")
    message = await service.persist_message(session, "user", FLAT)
    await service.persist_file_events(message, FLAT)
    assert [len(write.rows) for write in service.pending] == [1, 1, 2]
    faults.fails = lambda _step: None
    await service.flush()
    assert not service.pending
    (event,) = await service.list_file_events("ses_1")
    assert (event.message_id, event.session_id) == (message.id, session.id)
    assert (event.seq, event.turn) == (0, 1)


async def test_what_waits_goes_first_with_the_next_write_in_order_per_session(
    service: OpencodeSessionService, faults: Faults
) -> None:
    one = await service.get_or_create_session("ses_1")
    two = await service.get_or_create_session("ses_2")
    faults.fails = lambda step: LOCKED if said(step) == "1a" else None
    for text in ("1a", "1b", "1c"):
        await say(service, one, text)
    await say(service, two, "2a")
    # the other session goes on; one's later messages wait for the first
    assert [said(step) for write in service.pending for step in write.steps] == ["1a", "1b", "1c"]
    assert await texts(service, "ses_2") == ["2a"]
    faults.fails = lambda _step: None
    faults.tried.clear()
    await say(service, two, "2b")
    assert faults.tried == ["1a", "1b", "1c", "2b"]
    assert await texts(service, "ses_1") == ["1a", "1b", "1c"]
    assert not service.pending


async def test_while_it_fails_a_write_tries_what_waits_but_once(
    service: OpencodeSessionService, faults: Faults
) -> None:
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in range(4)]
    faults.fails = always(LOCKED)
    for number, session in enumerate(sessions[:3]):
        await say(service, session, str(number))
    faults.tried.clear()
    await say(service, sessions[3], "3")
    assert faults.tried == ["0", "3"]


async def test_what_was_stored_though_it_seemed_to_fail_is_stored_once(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the connection breaks in the commit: nobody knows what became of it."""
    real = service.store.apply

    async def stores_and_fails(steps: Any) -> Any:
        await real(steps)
        raise StoreFailed("connection lost", is_passing=True)

    async def doubtful(work: Awaitable[Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(service.store, "apply", stores_and_fails)
            written = await work
        assert len(service.pending) == 1
        await service.flush()
        assert not service.pending
        return written

    for id in ("ses_1", None):
        session = await doubtful(service.get_or_create_session(id))
        for message_id in ("msg_1", None):
            work = service.persist_message(session, "user", FLAT, message_id=message_id)
            await doubtful(service.persist_file_events(await doubtful(work), FLAT))
    assert await counts(service) == [2, 4, 4, 4]


async def test_what_can_never_succeed_is_parked_with_its_reason(
    service: OpencodeSessionService, faults: Faults
) -> None:
    session = await service.get_or_create_session("ses_1")
    faults.fails = lambda step: REFUSED if said(step) == "bad" else None
    for text in ("a", "bad", "b"):
        await say(service, session, text)
    (write,) = service.pending
    assert (write.is_parked, write.reason) == (True, "NOT NULL constraint failed")
    assert await texts(service, "ses_1") == ["a", "b"]
    faults.fails = lambda _step: None
    await say(service, session, "c")
    assert len(service.pending) == 1, "only flush() tries it again"
    await service.flush()
    assert await texts(service, "ses_1") == ["a", "b", "c", "bad"]
    assert not service.pending


async def test_flush_leaves_what_fails_again_and_goes_on(
    service: OpencodeSessionService, faults: Faults
) -> None:
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in (1, 2)]
    faults.fails = always(LOCKED)
    for number in range(4):
        await say(service, sessions[number % 2], str(number))
    faults.fails = lambda step: LOCKED if said(step) == "0" else None
    await service.flush()
    assert [said(write.steps[0]) for write in service.pending] == ["0", "2"]
    assert await texts(service, "ses_2") == ["1", "3"]
    faults.fails = lambda _step: None
    await service.flush()
    assert await texts(service, "ses_1") == ["0", "2"]


@pytest.mark.parametrize("serve", ["session", "file"], indirect=True)
async def test_session_pending_that_turns_out_to_be_there(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `service` could not store it; meanwhile another one did, under another id
    service, other = await serve(), await serve()
    faults = Faults(service, monkeypatch)
    faults.fails = always(LOCKED)
    mine = await service.get_or_create_session("ses_1", None, None, None, "Mine")
    message = await service.persist_message(mine, "user", FLAT, message_id="msg_1")
    faults.fails = lambda step: None if isinstance(step, PutSession) else LOCKED
    theirs = await other.get_or_create_session("ses_1", None, None, None, "Theirs")
    assert theirs.id != mine.id
    await service.flush()
    assert [said(write.steps[0]) for write in service.pending] == ["None"]
    # the session is known under its other id now; what waits in it still comes first
    await say(service, mine, "second")
    assert [said(write.steps[0]) for write in service.pending] == ["None", "second"]
    faults.fails = lambda _step: None
    await service.persist_file_events(message, FLAT)
    assert not service.pending
    assert (await service.get_session(mine)).title == "Theirs"
    assert [m.opencode_id for m in await service.list_messages(mine)] == ["msg_1", None]
    (event,) = await service.list_file_events(mine)
    assert event.session_id == theirs.id


async def test_raising_instead(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = await serve(on_error="raise")
    faults = Faults(service, monkeypatch)
    session = await service.get_or_create_session("ses_1")
    driver = OperationalError("INSERT", {}, Exception("database is locked"))
    for error in (LOCKED, REFUSED):
        error.__cause__ = driver
        faults.fails = always(error)
        with pytest.raises(PersistenceError, match=str(error)) as caught:
            await say(service, session, "a")
        causes = [caught.value.__cause__, caught.value.__cause__.__cause__]  # type: ignore[union-attr]
        assert driver in causes
        assert service.last_error is error
    assert not service.pending
    assert not caplog.records
    faults.fails = lambda _step: None
    await say(service, session, "b")
    await service.flush()
    assert await texts(service, "ses_1") == ["b"]


async def test_a_caller_that_is_cancelled_hears_of_no_error_but_the_log_does(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = await serve(on_error="raise")
    session = await service.get_or_create_session("ses_1")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fails_late(_steps: Any) -> Any:
        begun.set()
        await go_on.wait()
        raise LOCKED

    monkeypatch.setattr(service.store, "apply", fails_late)
    task = asyncio.create_task(say(service, session, "a"))
    await begun.wait()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "a cancelled caller" in caplog.text
    assert "database is locked" in caplog.text


# -- the bound -------------------------------------------------------------------------------------


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_PENDING_ROWS", 3)
    monkeypatch.setattr(outbox, "ROOM_WAIT_S", 0.1)
    monkeypatch.setattr(outbox, "RETRY_S", 0.001)


async def test_past_the_bound_a_write_waits_then_raises(
    service: OpencodeSessionService, faults: Faults, bound: None
) -> None:
    session = await service.get_or_create_session("ses_1")
    faults.fails = always(LOCKED)
    for number in range(3):
        await say(service, session, str(number))
    faults.tried.clear()
    with pytest.raises(PersistenceError, match="3 writes are pending since 'database is locked'"):
        await say(service, session, "too many")
    assert faults.tried.count("0") > 2, "it tried again while it waited"
    assert sum(len(write.rows) for write in service.pending) == 3
    faults.fails = lambda _step: None
    await say(service, session, "3")
    assert await texts(service, "ses_1") == ["0", "1", "2", "3"]


async def test_past_the_bound_a_write_goes_on_when_there_is_room(
    service: OpencodeSessionService, faults: Faults, monkeypatch: pytest.MonkeyPatch, bound: None
) -> None:
    monkeypatch.setattr(outbox, "ROOM_WAIT_S", 60)
    session = await service.get_or_create_session("ses_1")
    tries = 0

    def passes(step: Step) -> StoreFailed | None:
        nonlocal tries
        tries += 1
        return LOCKED if tries < 20 else None

    faults.fails = passes
    for number in range(3):
        await say(service, session, str(number))
    await say(service, session, "3")  # returns once the database is there again
    assert await texts(service, "ses_1") == ["0", "1", "2", "3"]
    assert not service.pending


async def test_flush_is_not_kept_waiting_by_those_who_wait_for_room(
    service: OpencodeSessionService, faults: Faults, monkeypatch: pytest.MonkeyPatch, bound: None
) -> None:
    monkeypatch.setattr(outbox, "ROOM_WAIT_S", 3600)
    session = await service.get_or_create_session("ses_1")
    faults.fails = always(REFUSED)
    for number in range(3):
        await say(service, session, str(number))
    waits = asyncio.Event()

    def late_fails(step: Step) -> StoreFailed | None:
        if said(step) == "late":
            waits.set()
            return REFUSED
        return None

    faults.fails = late_fails
    late = asyncio.create_task(say(service, session, "late"))
    await waits.wait()
    assert all(write.is_parked for write in service.pending)
    await service.flush()
    assert await texts(service, "ses_1") == ["0", "1", "2"]
    await late  # there is room for it now
    assert [said(write.steps[0]) for write in service.pending] == ["late"]


async def test_one_write_larger_than_the_bound_is_kept(
    service: OpencodeSessionService, faults: Faults, bound: None
) -> None:
    session = await service.get_or_create_session("ses_1")
    message = await service.persist_message(session, "user", FLAT)
    faults.fails = always(LOCKED)
    await service.persist_file_events(message, FLAT * 5)
    assert [len(write.rows) for write in service.pending] == [10]
    faults.fails = lambda _step: None
    await service.flush()
    assert len(await service.list_file_events("ses_1")) == 5


async def test_many_that_wait_for_room_wait_at_the_same_time(
    service: OpencodeSessionService, faults: Faults, monkeypatch: pytest.MonkeyPatch, bound: None
) -> None:
    monkeypatch.setattr(outbox, "ROOM_WAIT_S", 3600)
    one, two = [await service.get_or_create_session(f"ses_{n}") for n in (1, 2)]
    names = {f"late {number}" for number in range(40)}
    all_wait = asyncio.Event()

    def fails(step: Step) -> StoreFailed:
        if names <= {*faults.tried, said(step)}:
            all_wait.set()
        return LOCKED

    faults.fails = fails
    for number in range(3):
        await say(service, one, str(number))
    late = [asyncio.create_task(say(service, two, name)) for name in names]
    await all_wait.wait()
    assert not any(task.done() for task in late)
    assert len(service.pending) == 3
    faults.fails = lambda _step: None
    await asyncio.gather(*late)
    assert len(await service.list_messages("ses_2")) == 40
    assert not service.pending


# -- the loop ends ---------------------------------------------------------------------------------


def test_a_loop_that_ends_in_the_middle_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    service = OpencodeSessionService()
    real = service.store.apply
    asked: list[Any] = []

    async def main() -> None:
        session = await service.get_or_create_session("ses_1")
        begun = asyncio.Event()

        async def never_ends(steps: Any) -> Any:
            asked.append(steps)
            if len(asked) == 1:
                await real(steps)  # it is stored, only nobody hears of it
            begun.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(service.store, "apply", never_ends)
        tasks = [asyncio.create_task(say(service, session, text)) for text in "abc"]
        await begun.wait()
        assert not any(task.done() for task in tasks)

    asyncio.run(main())  # cancels what is left, as every asyncio.run does
    monkeypatch.undo()
    assert sorted(said(write.steps[0]) for write in service.pending) == ["a", "b", "c"]

    async def afterwards() -> list[str | None]:
        await service.flush()
        assert not service.pending
        return await texts(service, "ses_1")

    assert sorted(asyncio.run(afterwards())) == ["a", "b", "c"]  # type: ignore[type-var]


def test_a_loop_that_is_gone_without_a_word() -> None:
    """As when a notebook's kernel is interrupted: its tasks are not even cancelled."""
    service = OpencodeSessionService()
    real = service.store.apply
    begun = asyncio.Event()

    async def never_ends(_steps: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    service.store.apply = never_ends  # type: ignore[method-assign]

    async def main() -> list[asyncio.Task[Any]]:
        said = [service.get_or_create_session(f"ses_{n}") for n in range(3)]
        tasks = [asyncio.create_task(each) for each in said]
        await begun.wait()
        return tasks

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(main())
    abandoned = asyncio.all_tasks(loop)
    loop.close()
    service.store.apply = real  # type: ignore[method-assign]

    async def afterwards() -> list[int]:
        await service.get_or_create_session("ses_3")
        assert not service.pending
        return await counts(service)

    assert asyncio.run(afterwards()) == [4, 0, 0, 0]
    for task in [*tasks, *abandoned]:  # so that asyncio does not complain of them
        task._log_destroy_pending = False  # type: ignore[attr-defined]
