"""Appending a message with its file events, as it happens: ours beside what others do.

python -m benchmarks.append [--writers 1 10 100 1000] [--messages 300] [--only sqlite]

Contenders take turns in one run, some messages at a time, each in a store of its own; what counts
are the ratios. On SQLite all of them write to a file in WAL mode, at `synchronous` FULL (a commit
is on the disk when it returns, their default) and at NORMAL; once more with nothing set, where
SQLAlchemy's stores keep SQLite's rollback journal. PostgreSQL commits to the disk. Peers are
installed by `pip install '.[bench]'`; those that are missing are named.
"""

import argparse
import asyncio
import gc
import itertools
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opencode_sessions.store import engine

from .appenders import (
    Appender,
    GoogleAdk,
    LangGraph,
    Naive,
    OpenAISQLAlchemy,
    OpenAISQLite,
    Ours,
)
from .floors import AsyncpgFloor, OurFloor, SQLiteFloor
from .measuring import middle, show

TURN = 25  # messages before the next contender has its turn
FIRST = 10  # messages that only warm up


@dataclass
class Result:
    """What one contender took."""

    appender: Appender
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    failures: int = 0
    why: str = ""

    def quantile(self, share: float) -> float:
        """The latency that this share of the appends kept below, in ms."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000

    @property
    def rate(self) -> float:
        """Messages a second, the median of its turns."""
        return middle(self.rates) if self.rates else 0.0


async def measured(
    contenders: Sequence[Appender], places: Iterator[str], writers: int, messages: int
) -> tuple[list[Result], list[str]]:
    """Lets them append in turns; gives what they took, and who is missing."""
    results, missing = [], []
    for appender in contenders:
        try:
            await appender.open(next(places), writers)
        except ImportError as error:
            missing.append(f"{appender.name} ({error.name})")
            continue
        results.append(Result(appender))
    turn = max(TURN // writers, 1)
    for result in results:
        await _turn(Result(result.appender), writers, max(FIRST // writers, 1))
    gc.collect()
    gc.freeze()  # what the peers import is a million objects: nobody's turn pays for them
    for _ in range(max(messages // (turn * writers), 3)):
        for result in results:
            await _turn(result, writers, turn)
    for result in results:
        await result.appender.close()
    return results, missing


async def _turn(result: Result, writers: int, each: int) -> None:
    async def write(writer: int) -> int:
        done = 0
        for _ in range(each):
            started = time.perf_counter()
            try:
                await result.appender.append(writer)
            except Exception as error:
                result.failures += 1
                result.why = f"{type(error).__name__}: {error}".partition("\n")[0]
                continue
            result.latencies.append(time.perf_counter() - started)
            done += 1
        return done

    started = time.perf_counter()
    done = sum(await asyncio.gather(*(write(writer) for writer in range(writers))))
    result.rates.append(done / (time.perf_counter() - started))


def told(title: str, results: Sequence[Result], missing: Sequence[str]) -> None:
    """Prints a table; the second contender is the one to compare with."""
    head = ("", "stores", "x naive", "messages/s", "p50 ms", "p99 ms", "p99/p50", "failed")
    lines = []
    for result in results:
        if not result.latencies:
            lines.append((result.appender.name, "", "", "", "", "", "", result.failures))
            continue
        p50, p99 = result.quantile(0.5), result.quantile(0.99)
        ratio = f"{result.rate / results[1].rate:.2f}"
        numbers = (f"{result.rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}", f"{p99 / p50:.1f}")
        lines.append(
            (result.appender.name, result.appender.stores, ratio, *numbers, result.failures or "")
        )
    show(title, head, lines)
    for result in results:
        if result.failures:
            print(f"  {result.appender.name}: {result.failures} failed, {result.why[:90]}")
    if missing:
        print(f"  not installed: {', '.join(missing)}")
    print()


@contextmanager
def synchronous(mode: str) -> Iterator[None]:
    """Opens every SQLite connection of this process at this mode, whoever opens it."""
    real, ours = sqlite3.connect, engine.SYNCHRONOUS

    def connect(*args: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **named)
        connection.execute(f"PRAGMA synchronous={mode}").close()
        return connection

    sqlite3.connect, engine.SYNCHRONOUS = connect, mode  # type: ignore[assignment]
    try:
        yield
    finally:
        sqlite3.connect, engine.SYNCHRONOUS = real, ours


def files(folder: str, *, wal: bool) -> Iterator[str]:
    """Files to write to, in WAL mode or as SQLite makes them."""
    for number in itertools.count():
        file = Path(tempfile.mkdtemp(dir=folder)) / f"{number}.db"
        with closing(sqlite3.connect(file)) as connection:
            if wal:
                connection.execute("PRAGMA journal_mode=WAL").close()
        yield str(file)


def to_files(writers: int) -> Sequence[Appender]:
    """Who appends to a file; the design to compare with is the second."""
    ours: list[Appender] = [Ours(), Naive(session_per_call=writers > 1)]
    if writers == 1:
        ours += [Ours("two calls"), OurFloor(), SQLiteFloor()]
    return [*ours, OpenAISQLite(), LangGraph(), OpenAISQLAlchemy(), GoogleAdk()]


def to_server(writers: int) -> Sequence[Appender]:
    """Who appends to a server; the design to compare with is the second."""
    ours: list[Appender] = [Ours(), Naive(session_per_call=writers > 1)]
    if writers == 1:
        ours.append(Ours("two calls"))
    return [*ours, AsyncpgFloor(), OpenAISQLAlchemy(), GoogleAdk()]


def on_sqlite(folder: str, writers: int, messages: int) -> None:
    """Compares on files."""
    some = f"{writers} writer{'s' * (writers > 1)}"
    for mode in ("FULL", "NORMAL") if writers in (1, 100) else ("FULL",):
        with synchronous(mode):
            contenders = to_files(writers)
            run = measured(contenders, files(folder, wal=True), writers, messages)
            told(f"SQLite, WAL, synchronous={mode}: {some}", *asyncio.run(run))
    if writers == 1:
        run = measured(to_files(1), files(folder, wal=False), 1, messages)
        told(f"SQLite, each as it is by default: {some}", *asyncio.run(run))


def on_postgresql(database: Callable[[], str], writers: int, messages: int) -> None:
    """Compares on a server."""
    places = iter(database, None)
    run = measured(to_server(writers), places, writers, messages)
    told(f"PostgreSQL: {writers} writer{'s' * (writers > 1)}", *asyncio.run(run))


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="opencode-sessions-") as folder:
        if given.only != "postgresql":
            for writers in given.writers:
                on_sqlite(folder, writers, max(given.messages, writers * 3))
    if given.only != "sqlite":
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        try:
            from postgres import Server, binaries
        except ImportError as error:
            print(f"PostgreSQL is left out: {error}")
            return
        found = binaries()
        if found is None:
            print("PostgreSQL is left out: no server here")
            return
        with Server(found, durable=True) as server:
            for writers in given.writers:
                on_postgresql(server.database, writers, max(given.messages, writers * 3))


if __name__ == "__main__":
    main()
