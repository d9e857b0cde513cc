"""Asynchronous work of a widget, whose callbacks are not: the newest request wins, errors are told.

A callback may come on the loop of the cell that made the widget, on another thread (JupyterLab's
subshells with ipykernel 7.0 to 7.3), or where no loop runs (terminal IPython between two cells).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

SLOW = 0.15  # seconds; a "Loading…" that only flashes up is worse than none

Work = Callable[[], Coroutine[Any, Any, None]]
Given = ParamSpec("Given")
Made = TypeVar("Made")


class Loading:
    """Runs one piece of work a purpose at a time, on the loop of the cell that made it.

    `is_at_once` is for work that waits for nothing: it is done when `start` returns, loop or not.
    """

    def __init__(
        self,
        on_slow: Callable[[], None],
        on_error: Callable[[Exception], None],
        *,
        is_at_once: bool = False,
    ) -> None:
        self._on_slow, self._on_error, self._is_at_once = on_slow, on_error, is_at_once
        self._loop = _running_loop()
        self._tasks: set[asyncio.Task[None]] = set()  # a loop itself forgets its tasks
        self._newest: dict[str, asyncio.Task[None]] = {}  # by purpose
        self._waiting: dict[str, Work] = {}
        self._is_closed = False

    @property
    def is_waiting(self) -> bool:
        """Whether work was asked for that has not ended."""
        return bool(self._waiting) or bool(self._tasks)

    def post(self, do: Callable[[], None]) -> None:
        """Does something on the widget's loop: at once if we are on it or it rests, else soon."""
        if self._loop is None or not self._loop.is_running() or self._loop is _running_loop():
            self._guarded(do)
        else:
            self._loop.call_soon_threadsafe(self._guarded, do)

    def start(self, purpose: str, work: Work) -> None:
        """Starts work and cancels what ran for the same purpose.

        Where no loop runs it waits for `settled`.
        """
        if self._is_closed:
            return
        self.cancel(purpose)
        if self._is_at_once:
            _finish(work())
            return
        self._waiting[purpose] = work
        if (loop := _running_loop()) is not None:
            self._launch(loop)

    async def aside(
        self, make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs
    ) -> Made:
        """What `make` returns, worked out in a thread: the page goes on meanwhile."""
        if self._is_at_once:
            return make(*args, **kwargs)
        return await asyncio.to_thread(make, *args, **kwargs)

    async def settled(self) -> None:
        """Returns when no work is left."""
        here = asyncio.get_running_loop()
        if self._loop is not here and self._loop is not None and self._loop.is_running():
            there = asyncio.run_coroutine_threadsafe(self.settled(), self._loop)
            await asyncio.wrap_future(there)
            return
        if self._loop is not here:
            self._tasks.clear()  # of a loop that is gone
        self._launch(here)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self, *purposes: str) -> None:
        """Gives up what runs or waits for these purposes, or for any."""
        for purpose in purposes or (*self._waiting, *self._newest):
            self._waiting.pop(purpose, None)
            if (task := self._newest.pop(purpose, None)) is not None:
                task.cancel()

    def close(self) -> None:
        """Gives up all work, and what is asked for from now on."""
        self.cancel()
        self._is_closed = True

    def _launch(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, {}
        self._loop = loop
        for purpose, work in waiting.items():
            task = loop.create_task(self._run(purpose, work))
            self._tasks.add(task)
            self._newest[purpose] = task
            task.add_done_callback(self._tasks.discard)

    async def _run(self, purpose: str, work: Work) -> None:
        slow = asyncio.get_running_loop().call_later(SLOW, self._on_slow)
        try:
            await work()
        except Exception as error:
            if asyncio.current_task() is self._newest.get(purpose):  # else nobody asks any more
                self._on_error(error)
        finally:
            slow.cancel()

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            self._on_error(error)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine that waits for nothing, with or without a loop."""
    try:
        work.send(None)
    except StopIteration:
        return


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
