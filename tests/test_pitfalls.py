"""What loses rows in a naive store, one test each: many at once, cancelled, raced, locked, full."""

import asyncio
import gc
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import OPENED, STORED, Serve
from sqlalchemy import Engine, Pool, event

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionService
from opencode_sessions.models import TABLES, OpencodeSession
from opencode_sessions.store import engine

THREE = [{"type": "tool_use", "name": "read", "input": {"path": f"{n}.py"}} for n in range(3)]


async def contents(service: OpencodeSessionService) -> list[str]:
    rows = await service.store.select("messages", ["content"])
    return sorted(content for (content,) in rows)


async def counts(service: OpencodeSessionService) -> list[int]:
    return [len(await service.store.select(name, ["id"])) for name in TABLES]  # type: ignore[arg-type]


async def say(service: OpencodeSessionService, session: OpencodeSession, text: str) -> None:
    message = await service.persist_message(session, "user", [{"text": text}])
    await service.persist_file_events(message, THREE)


# -- many at once ----------------------------------------------------------------------------------


async def test_gather_of_60_messages_with_180_events(service: OpencodeSessionService) -> None:
    session = await service.get_or_create_session("ses_1")
    await asyncio.gather(*(say(service, session, str(number)) for number in range(60)))
    assert await counts(service) == [1, 60, 180, 180]
    assert (service.pending, service.last_error) == ([], None)
    for table in ("messages", "file_events", "tool_calls"):
        seq = sorted(n for (n,) in await service.store.select(table, ["seq"]))  # type: ignore[arg-type]
        assert seq == list(range(len(seq)))


async def test_gather_of_1000_messages(service: OpencodeSessionService) -> None:
    sessions = [await service.get_or_create_session(f"ses_{number}") for number in range(10)]
    texts = [str(number) for number in range(1000)]
    await asyncio.gather(
        *(
            service.persist_message(sessions[number % 10], "user", [{"text": text}])
            for number, text in enumerate(texts)
        )
    )
    assert await contents(service) == sorted(texts)
    assert await counts(service) == [10, 1000, 0, 0]
    assert not service.pending


@pytest.mark.parametrize("at_once", [10, 100])
async def test_raced_get_or_create_gives_one_row(
    service: OpencodeSessionService, at_once: int
) -> None:
    sessions = await asyncio.gather(
        *(service.get_or_create_session("ses_1", "build", "/p") for _ in range(at_once))
    )
    assert len({session.id for session in sessions}) == 1
    assert await counts(service) == [1, 0, 0, 0]


@pytest.mark.parametrize("serve", STORED, indirect=True)
async def test_raced_get_or_create_of_two_services_gives_one_row(serve: Serve) -> None:
    services = [await serve(), await serve()]
    sessions = await asyncio.gather(
        *(services[number % 2].get_or_create_session("ses_1") for number in range(20))
    )
    assert len({session.id for session in sessions}) == 1
    assert await counts(services[0]) == [1, 0, 0, 0]


# -- one that fails --------------------------------------------------------------------------------


@pytest.mark.parametrize("serve", OPENED, indirect=True)
async def test_an_integrity_error_amid_writes_spoils_none(serve: Serve) -> None:
    serve.outside.run("CREATE UNIQUE INDEX only_once ON opencode_messages (content)")
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    texts = [str(number % 25) for number in range(50)]
    await asyncio.gather(
        *(service.persist_message(session, "user", [{"text": text}]) for text in texts)
    )
    assert await contents(service) == sorted(set(texts))
    assert [write.is_parked for write in service.pending] == [True] * 25


# -- cancelled -------------------------------------------------------------------------------------


async def is_whole(service: OpencodeSessionService, text: str) -> bool:
    """Whether a message is stored or pending, once, and all its events are or none."""
    stored = await service.store.select("messages", ["id", "content"])
    places = [id for id, content in stored if content == text]
    pending = [row for write in service.pending for row in write.rows]
    places += [row["id"] for row in pending if row.get("content") == text]
    events = Counter(id for (id,) in await service.store.select("file_events", ["message_id"]))
    return len(places) <= 1 and events[places[0] if places else ""] in (0, 3)


async def cancel_after(turns: int, work: Awaitable[Any]) -> bool:
    """Cancels work after so many turns of the event loop; says whether it was still at it."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return isinstance(outcome, asyncio.CancelledError)


def depths() -> Iterator[int]:
    """How deep into a write to cancel: every turn of the loop at first, then ever more."""
    yield from range(16)
    yield from (2**power for power in count(4))


async def test_cancelled_writes_are_whole_and_spoil_none(service: OpencodeSessionService) -> None:
    session = await service.get_or_create_session("ses_1")
    finished = 0
    texts = []
    for turns in depths():
        texts.append(f"cancelled after {turns}, {len(texts)}")
        finished += not await cancel_after(turns, say(service, session, texts[-1]))
        assert await is_whole(service, texts[-1])
        await say(service, session, f"after {len(texts)}")
        if finished == 2:
            break
    assert not service.pending
    assert service.last_error is None
    # Only one that was cancelled before it began may be missing: its caller never got to ask.
    assert set(texts) - set(await contents(service)) <= {texts[0]}
    others = [text for text in await contents(service) if text.startswith("after ")]
    assert len(others) == len(texts)


@pytest.mark.parametrize("serve", STORED, indirect=True)
async def test_cancelled_at_each_statement(serve: Serve) -> None:
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    for stop in range(12):
        task = asyncio.ensure_future(say(service, session, f"at {stop}"))
        with listening(Engine, "before_cursor_execute", cancels(task, stop)):
            await asyncio.gather(task, return_exceptions=True)
        assert await is_whole(service, f"at {stop}")
    assert await contents(service) == sorted(f"at {stop}" for stop in range(12))
    assert (service.pending, service.last_error) == ([], None)


def cancels(task: asyncio.Future[Any], stop: int) -> Callable[..., None]:
    statements = count()

    def hook(*_args: Any) -> None:
        if next(statements) == stop:
            task.cancel()

    return hook


@contextmanager
def listening(target: Any, name: str, hook: Callable[..., None]) -> Iterator[None]:
    event.listen(target, name, hook)
    yield
    event.remove(target, name, hook)


async def test_cancelled_again_and_again(
    service: OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.get_or_create_session("ses_1")
    begun, go_on = asyncio.Event(), asyncio.Event()
    real = service.store.apply

    async def slow(steps: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await real(steps)

    monkeypatch.setattr(service.store, "apply", slow)
    task = asyncio.create_task(service.persist_message(session, "user", [{"text": "a"}]))
    await begun.wait()
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done(), "it goes on until the write has ended"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await contents(service) == ["a"]


async def test_timeouts(service: OpencodeSessionService) -> None:
    session = await service.get_or_create_session("ses_1")
    for number in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await say(service, session, str(number))
    await say(service, session, "last")
    assert (service.pending, service.last_error) == ([], None)
    assert "last" in await contents(service)


async def test_a_failed_task_group_spoils_none(service: OpencodeSessionService) -> None:
    session = await service.get_or_create_session("ses_1")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(say(service, session, str(number)))
            group.create_task(fails())
    await say(service, session, "last")
    assert (service.pending, service.last_error) == ([], None)
    for text in await contents(service):
        assert await is_whole(service, text)


async def test_cancelled_reads_and_flushes_spoil_none(service: OpencodeSessionService) -> None:
    session = await service.get_or_create_session("ses_1")
    await say(service, session, "first")
    works: list[Callable[[], Awaitable[Any]]] = [
        lambda: service.list_messages("ses_1"),
        service.store.summary,
        service.flush,
    ]
    for work in works:
        finished = 0
        for turns in depths():
            finished += not await cancel_after(turns, work())
            await service.persist_message(session, "user", [{"text": str(turns)}])
            assert (service.pending, service.last_error) == ([], None)
            if finished == 2:
                break
    assert len(await service.list_messages("ses_1")) > len(works) * 2


# -- locked and full -------------------------------------------------------------------------------


@pytest.mark.parametrize("serve", OPENED, indirect=True)
async def test_locked_for_longer_than_we_wait(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 10)
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    async with serve.outside.locked():
        await asyncio.gather(*(say(service, session, str(number)) for number in range(20)))
        (locked, waits) = sorted({write.reason for write in service.pending})
        assert locked in ("database is locked", "canceling statement due to lock timeout")
        assert waits == "waits for an earlier write of its session"
        assert not any(write.is_parked for write in service.pending)
        assert len(await service.list_messages("ses_1")) == 0, "reading goes on"
    await say(service, session, "20")
    assert not service.pending
    assert await counts(service) == [1, 21, 63, 63]


@pytest.mark.parametrize("serve", ["session", "file"], indirect=True)
async def test_disk_full_and_then_room_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 10**9

    def limit(connection: Any, *_args: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={largest}")
        cursor.close()

    def set_up(connection: Any) -> None:
        real(connection)
        connections.append(connection)

    connections: list[Any] = []
    real = engine.set_up_sqlite
    monkeypatch.setattr(engine, "set_up_sqlite", set_up)
    service = await serve()
    session = await service.get_or_create_session("ses_1")
    (writing,) = [each for each in connections if isinstance(each, sqlite3.Connection)] or [None]
    with listening(Pool, "checkout", limit):
        largest = 1  # the file may not grow
        if writing:
            limit(writing)
        big = "x" * 100_000
        for number in range(3):
            await say(service, session, f"{number} {big}")
        assert {write.reason for write in service.pending} == {
            "database or disk is full",
            "waits for an earlier write of its session",
        }
        assert not any(write.is_parked for write in service.pending)
        assert await counts(service) == [1, 0, 0, 0]
        largest = 10**9
        if writing:
            limit(writing)
        await say(service, session, "3")
    assert not service.pending
    stored = await service.list_messages("ses_1")
    assert [str(message.content)[:1] for message in stored] == ["0", "1", "2", "3"]
    assert await counts(service) == [1, 4, 12, 12]


# -- processes -------------------------------------------------------------------------------------

IMPORTS = """
import asyncio, sys
import opencode_sessions as ocs
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
PARTS = [{"type": "tool_use", "name": "read", "input": {"path": "a.py"}}]
path, name = sys.argv[1:]
drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
kind, _, place = path.partition(":")
with_driver = f"{drivers[kind]}:{place}"
"""
WRITER = (
    IMPORTS
    + """
async def work(service):
    print("ready", flush=True)
    sys.stdin.readline()
    session = await service.get_or_create_session("ses_shared")
    for number in range(15):
        message = await service.persist_message(session, "user", [{"text": f"{name} {number}"}])
        await service.persist_file_events(message, PARTS)
    while service.pending:
        await service.flush()

async def main():
    if name.startswith("own"):
        async with ocs.open(path) as service:
            await work(service)
    else:
        engine = create_async_engine(with_driver)
        async with AsyncSession(engine) as db:
            await work(ocs.OpencodeSessionService(db))
        await engine.dispose()

asyncio.run(main())
"""
)
LEAVES_IT_OPEN = (
    IMPORTS
    + """
async def main():
    if name == "own":
        service = await ocs.open(path)
    else:
        db = AsyncSession(create_async_engine(with_driver))
        service = ocs.OpencodeSessionService(db)
    session = await service.get_or_create_session(name)
    await service.persist_message(session, "user", PARTS)
    globals().update(service=service)
    if name == "own":
        raise SystemExit(7)

asyncio.run(main())
"""
)


def started(program: str, *args: str | Path) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", program, *map(str, args)], text=True, **pipes)


def ended(process: subprocess.Popen[str]) -> int:
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode


@pytest.mark.parametrize("serve", OPENED, indirect=True)
async def test_four_processes_writing_one_database(serve: Serve) -> None:
    service = await serve()
    names = ["own 1", "own 2", "theirs 1", "theirs 2"]
    processes = [started(WRITER, serve.outside.url, name) for name in names]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [ended(process) for process in processes] == [0] * 4
    assert await contents(service) == sorted(f"{name} {n}" for name in names for n in range(15))
    assert await counts(service) == [1, 60, 60, 60]
    seqs = [message.seq for message in await service.list_messages("ses_shared")]
    assert seqs == list(range(60))


@pytest.mark.parametrize("serve", OPENED, indirect=True)
async def test_what_is_left_open_keeps_no_process_from_ending(serve: Serve) -> None:
    url = serve.outside.url
    processes = [started(LEAVES_IT_OPEN, url, name) for name in ("own", "theirs")]
    assert [ended(process) for process in processes] == [7, 0]
    service = await serve()
    assert await counts(service) == [2, 2, 0, 0]


async def test_a_payload_that_no_database_takes_as_it_is(service: OpencodeSessionService) -> None:
    session = await service.get_or_create_session("ses_1")
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))  # in no index, and hard to compress
    values: list[Any] = ["\0", "\ud800", float("nan"), float("inf"), 2**70, {1: {2}}, b"\xff", long]
    parts = [{"type": "tool_use", "name": "read", "input": {"path": v, "x": v}} for v in values]
    for role in ("user", "user\0", "\ud800"):
        message = await service.persist_message(session, role, [{"text": str(role)}, *parts])
        await service.persist_file_events(message, parts)
    assert (service.pending, service.last_error) == ([], None)
    assert service.scrubbed > 0
    assert await counts(service) == [1, 3, 3 * len(values), 3 * len(values)]
    assert len(await service.file_events(file_path=long)) == 3


# Whoever ends a loop with connections open hears of it from asyncio.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("serve", OPENED, indirect=True)
def test_one_engine_in_several_loops(serve: Serve) -> None:
    """A pooled connection belongs to the loop it was made in: another one makes its own."""
    _written_in_several_loops(serve)
    gc.collect()  # here, where what asyncio says is expected


def _written_in_several_loops(serve: Serve) -> None:
    service = asyncio.run(serve())

    async def once(text: str) -> None:
        session = await service.get_or_create_session("ses_1")
        for _ in range(3):
            await say(service, session, text)

    for text in "abc":
        asyncio.run(once(text))
    assert (service.pending, service.last_error) == ([], None)

    async def last() -> list[str]:
        found = await contents(service)
        await service.close()
        return found

    assert asyncio.run(last()) == sorted("abc" * 3)


def test_one_service_in_memory_in_several_loops() -> None:
    service = ocs.OpencodeSessionService()

    async def once(text: str) -> None:
        session = await service.get_or_create_session("ses_1")
        await asyncio.gather(*(say(service, session, text) for _ in range(3)))

    for text in "ab":
        asyncio.run(once(text))
    assert asyncio.run(contents(service)) == ["a"] * 3 + ["b"] * 3
