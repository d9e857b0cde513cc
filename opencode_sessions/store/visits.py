"""A thread to do things on, one after another, for whoever awaits them.

Two threads have to be woken for each, and that is nearly all that it costs: what an executor does
besides takes as long again.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any
from weakref import finalize

from . import Done


class Visit(asyncio.Future[Done]):
    """Something done on the thread: a cancellation has to wait for its end."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Not before."""
        return False

    def end(self, done: Any, error: BaseException | None) -> None:
        """Says what became of it."""
        if error is None:
            self.set_result(done)
        else:
            self.set_exception(error)


Asked = SimpleQueue[tuple[Visit[Any], Callable[..., Any], tuple[Any, ...]] | None]


class VisitedThread:
    """A thread that begins with the first visit, and ends when nobody has it any more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: Asked | None = None

    def visit(self, work: Callable[..., Done], *args: Any) -> Visit[Done]:
        """Has work done after what was asked for before."""
        if self._asked is None:
            self._asked = SimpleQueue()
            # No thread that Python waits for at its end, which would be for ever: it is ended then.
            thread = Thread(target=_serve, args=(self._asked,), name=self._name, daemon=True)
            thread.start()
            finalize(self, _end, self._asked, thread)
        visit: Visit[Done] = Visit()
        self._asked.put((visit, work, args))
        return visit


def _serve(asked: Asked) -> None:
    while (task := asked.get()) is not None:
        visit, work, args = task
        done = failed = None
        try:
            done = work(*args)
        except BaseException as error:
            failed = error
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            visit.get_loop().call_soon_threadsafe(visit.end, done, failed)
        del task, visit, work, args, done, failed  # or they would live until the next one


def _end(asked: Asked, thread: Thread) -> None:
    asked.put(None)
    if thread is not current_thread():
        thread.join()  # it may be in the middle of something
