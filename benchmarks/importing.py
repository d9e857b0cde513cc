"""Importing opencode's database, beside the limit: the same rows, ready made, by stdlib sqlite3.

python -m benchmarks.importing [--megabytes 100] [--rounds 3]

The limit is one transaction of `executemany` into the same empty tables, one after the other; what
it takes to have the rows is not counted. Files are made in a temporary folder and removed.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import opencode_sessions as ocs
from opencode_sessions import import_report, sources, sync

from . import stores
from .measuring import Took, in_child, middle, show, taking

TABLES = ("opencode_sessions", "opencode_messages", "opencode_tool_calls", "opencode_file_events")
CHUNK = 5000  # rows


def imported(database: Path, store: Path) -> tuple[Took, import_report.ImportReport]:
    """Imports a database into a store."""

    async def run() -> tuple[Took, import_report.ImportReport]:
        async with await ocs.open(store) as service, taking() as took:
            report = await service.import_opencode(database, progress=False)
        return took, report

    assert sync and sources  # imported before memory is looked at
    return asyncio.run(run())


def framed(database: Path, store: Path) -> Took:
    """From nothing to a frame: a new store, the import, the file events."""

    async def run() -> Took:
        async with taking() as took, await ocs.open(store) as service:
            await service.import_opencode(database, progress=False)
            await service.frames()
        return took

    return asyncio.run(run())


def limit(store: Path, empty: Path) -> Took:
    """What stdlib sqlite3 takes to write a store's rows into an empty one."""
    took = Took()

    @contextmanager
    def counted() -> Iterator[None]:
        started, used = time.perf_counter(), time.process_time()
        yield
        took.seconds += time.perf_counter() - started
        took.cpu_s += time.process_time() - used

    with closing(sqlite3.connect(store)) as full, closing(sqlite3.connect(empty)) as target:
        target.execute("PRAGMA synchronous=FULL")
        for table in TABLES:
            rows = full.execute(f"SELECT * FROM {table}")
            values = ", ".join("?" * len(rows.description))
            while chunk := rows.fetchmany(CHUNK):
                with counted():
                    target.executemany(f"INSERT INTO {table} VALUES ({values})", chunk)
        with counted():
            target.commit()
    return took


def empty_store(file: Path) -> Path:
    """A store without rows."""

    async def make() -> None:
        await (await ocs.open(file)).close()

    file.unlink(missing_ok=True)
    asyncio.run(make())
    return file


def compare(folder: Path, megabytes: float, rounds: int) -> None:
    """Measures and prints."""
    made = stores.make(folder / "opencode.db", megabytes=megabytes)
    print(f"opencode.db: {made}", flush=True)
    store, other = folder / "sessions.db", folder / "limit.db"
    first: list[Took] = []
    again: list[Took] = []
    limits: list[Took] = []
    for _ in range(rounds):
        took, report = in_child(imported, made.file, empty_store(store))
        assert not report.problems, report
        first.append(took)
        limits.append(in_child(limit, store, empty_store(other)))
        took, second = in_child(imported, made.file, store)
        assert second.sessions.unchanged == made.sessions, second
        again.append(took)
        print(
            f"{first[-1].seconds:.1f} s, limit {limits[-1].seconds:.1f} s, again {took}", flush=True
        )
    counts = (report.sessions, report.messages, report.tool_calls, report.file_events)
    rows = sum(count.new for count in counts)
    sizes = f"{store.stat().st_size / 1e6:,.0f} MB, {report.file_events.new:,} file events"
    print(f"Store: {sizes}, {rows:,} rows", flush=True)
    more = max(made.rounds // 100, 1)
    stores.add(made, rounds=more)
    grown, _report = in_child(imported, made.file, store)
    whole = in_child(framed, made.file, empty_store(store))

    floor, least = (
        middle(values) for values in zip(*((t.seconds, t.cpu_s) for t in limits), strict=True)
    )
    title = f"Medians of {rounds} rounds" if rounds > 1 else "One round"
    head = (
        "",
        "seconds",
        "x limit",
        "CPU s",
        "x limit",
        "rows/s",
        "memory MB",
        "reader MB",
        "longest pause ms",
    )
    lines: list[tuple[str, ...]] = []
    for name, each, written in (
        ("limit", limits, rows),
        ("import", first, rows),
        ("again, nothing new", again, 0),
        (f"again, {more / made.rounds:.1%} new", [grown], rows * more // made.rounds),
        ("from nothing to frames", [whole], rows),
    ):
        seconds, cpu = middle(took.seconds for took in each), middle(took.cpu_s for took in each)
        memory = middle(took.peak_mb for took in each)
        pause = middle(took.longest_pause_ms for took in each)
        rate = f"{written / seconds:,.0f}" if written else ""
        times = (f"{seconds:.1f}", f"{seconds / floor:.2f}", f"{cpu:.1f}", f"{cpu / least:.2f}")
        child = middle(took.children_mb for took in each)
        rest = (f"{memory:,.0f}", f"{child:,.0f}" if child else "", f"{pause:.0f}")
        rest = ("", "", "") if each is limits else rest
        lines.append((name, *times, rate, *rest))
    show(title, head, lines)
    per_thousand = middle(took.seconds for took in again) / made.sessions * 1000
    print(f"Nothing new: {per_thousand:.2f} s per 1000 sessions")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="opencode-sessions-") as folder:
        compare(Path(folder), given.megabytes, given.rounds)


if __name__ == "__main__":
    main()
