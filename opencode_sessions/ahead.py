"""Reading ahead: one thread reads and prepares what comes next while the loop writes."""

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from .store import finish

# Sessions are hundreds of thousands of small dicts that never form a circle: looking for circles
# every 700 of them, as Python does, takes an eighth of an import.
OBJECTS = 50_000
_lock = threading.Lock()
_readers = 0
_before = gc.get_threshold()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Lets Python look for circles less often inside; the last one to leave puts it back."""
    global _readers, _before
    with _lock:
        _readers += 1
        if _readers == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < OBJECTS:
                gc.set_threshold(OBJECTS, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0 and gc.get_threshold()[0] == OBJECTS:
                gc.set_threshold(*_before)


async def in_thread(items: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """A blocking iterator's items, each taken in a thread while the one before it is used.

    It is closed when no thread is in it.
    """
    end = object()
    ahead = asyncio.create_task(asyncio.to_thread(next, items, end))
    try:
        while (item := await asyncio.shield(ahead)) is not end:
            ahead = asyncio.create_task(asyncio.to_thread(next, items, end))
            yield item
    finally:
        try:
            await finish(asyncio.wait([ahead]))
        finally:
            # Temporary files and processes go with it, which may take a while.
            await finish(asyncio.to_thread(items.close))  # type: ignore[attr-defined]
