"""Asynchronous work of a widget, whose callbacks are not: the newest request wins, errors are told.

A callback may come on the loop of the cell that made the widget, on another thread (JupyterLab's
subshells with ipykernel 7.0 to 7.3), or where no loop runs (terminal IPython between two cells).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

SLOW = 0.15  # seconds; a "Loading…" that only flashes up is worse than none

Work = Callable[[], Coroutine[Any, Any, None]]


class Loading:
    """Runs one piece of work at a time, on the loop of the cell that made it."""

    def __init__(self, on_slow: Callable[[], None], on_error: Callable[[Exception], None]) -> None:
        self._on_slow, self._on_error = on_slow, on_error
        self._loop = _running_loop()
        self._tasks: set[asyncio.Task[None]] = set()  # a loop itself forgets its tasks
        self._newest: asyncio.Task[None] | None = None
        self._waiting: Work | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether work was asked for that has not ended."""
        return self._waiting is not None or bool(self._tasks)

    def post(self, do: Callable[[], None]) -> None:
        """Does something on the widget's loop: at once if we are on it or it rests, else soon."""
        if self._loop is None or not self._loop.is_running() or self._loop is _running_loop():
            self._guarded(do)
        else:
            self._loop.call_soon_threadsafe(self._guarded, do)

    def start(self, work: Work) -> None:
        """Starts work and cancels what ran before; where no loop runs it waits for `settled`."""
        self.cancel()
        self._waiting = work
        if (loop := _running_loop()) is not None:
            self._launch(loop)

    async def settled(self) -> None:
        """Returns when no work is left."""
        here = asyncio.get_running_loop()
        if self._loop is not here and self._loop is not None and self._loop.is_running():
            there = asyncio.run_coroutine_threadsafe(self.settled(), self._loop)
            await asyncio.wrap_future(there)
            return
        if self._loop is not here:
            self._tasks.clear()  # of a loop that is gone
        if self._waiting is not None:
            self._launch(here)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Gives up what runs or waits."""
        self._waiting = None
        for task in self._tasks:
            task.cancel()

    def _launch(self, loop: asyncio.AbstractEventLoop) -> None:
        work, self._waiting = self._waiting, None
        if work is not None:
            self._loop = loop
            task = loop.create_task(self._run(work))
            self._tasks.add(task)
            self._newest = task
            task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Work) -> None:
        slow = asyncio.get_running_loop().call_later(SLOW, self._on_slow)
        try:
            await work()
        except Exception as error:
            if asyncio.current_task() is self._newest:  # else nobody asks for it any more
                self._on_error(error)
        finally:
            slow.cancel()

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            self._on_error(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
