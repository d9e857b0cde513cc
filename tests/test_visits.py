"""The thread that a store writes on: one thing after another, and none given up in the middle."""

import asyncio
import threading

import pytest

from opencode_sessions.store.visits import VisitedThread

WAIT = 60  # seconds until a test is given up


async def test_it_ends_with_whoever_has_it() -> None:
    visited = VisitedThread("ours")
    first = await visited.visit(threading.current_thread)
    assert first is await visited.visit(threading.current_thread)
    assert (first.name, first.is_alive()) == ("ours", True)
    del visited
    first.join(WAIT)
    assert not first.is_alive()


async def test_what_fails_fails_for_whoever_asked_and_no_other() -> None:
    visited = VisitedThread("ours")
    failing, fine = visited.visit(int, "none"), visited.visit(int, "7")
    with pytest.raises(ValueError, match="none"):
        await failing
    assert await fine == 7


async def test_a_cancellation_waits_for_its_end() -> None:
    visited, has_begun, may_end = VisitedThread("ours"), threading.Event(), threading.Event()
    done: list[bool] = []

    def work() -> None:
        has_begun.set()
        done.append(may_end.wait(WAIT))

    async def ask() -> None:
        await visited.visit(work)

    task = asyncio.create_task(ask())
    await asyncio.to_thread(has_begun.wait, WAIT)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
