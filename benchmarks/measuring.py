"""What every benchmark measures with: a process of its own, its memory, its event loop's pauses."""

import asyncio
import multiprocessing
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.table import Table

TICK_S = 0.001
Result = TypeVar("Result")
Given = ParamSpec("Given")


@dataclass(slots=True)
class Took:
    """What a piece of work took."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    """Of all threads, and of processes it started: on a busy machine more than the clock says."""
    peak_mb: float = 0.0
    """Resident memory at its peak, above what was there when it began."""
    children_mb: float = 0.0
    """The most that a process it started had resident, all that is in it counted."""
    longest_pause_ms: float = 0.0
    """The longest time in which the event loop did not turn."""


def in_child(work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs) -> Result:
    """Runs a function of a module in a process of its own, so that memory is its alone."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(work, *args, **named).result()


@asynccontextmanager
async def taking() -> AsyncIterator[Took]:
    """Measures what is done inside; the peak of memory is that of the process until then."""
    took, before, pauses = Took(), peak_mb(), [0.0]
    ticking = asyncio.create_task(_tick(pauses))
    started, used = time.perf_counter(), _cpu_s()
    yield took
    took.seconds, took.cpu_s = time.perf_counter() - started, _cpu_s() - used
    ticking.cancel()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    took.children_mb = _megabytes(children.ru_maxrss) if children.ru_utime else 0.0
    took.peak_mb = peak_mb() - before
    took.longest_pause_ms = max(pauses) * 1000


async def _tick(pauses: list[float]) -> None:
    before = time.perf_counter()
    while True:
        await asyncio.sleep(TICK_S)
        now = time.perf_counter()
        pauses[0] = max(pauses[0], now - before - TICK_S)
        before = now


def peak_mb() -> float:
    """The most memory this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux counts the process that started this one
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000
    return _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _megabytes(rss: int) -> float:
    return rss / (1e6 if sys.platform == "darwin" else 1e3)


def middle(values: Iterable[float]) -> float:
    """The median of some rounds."""
    return median(values)


def show(title: str, head: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Prints a table; its first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=120, soft_wrap=True).print(table)
