"""Many rows into empty tables: ours beside what each database does at its best.

python -m benchmarks.bulk [--messages 20000] [--rounds 5]

On PostgreSQL the limit is COPY by asyncpg, rows ready made, into the same tables with the same
indexes and lz4; on SQLite `executemany` by stdlib sqlite3; each in one transaction, made durable.
Contenders take turns. The server is the machine's own, in a temporary folder.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson

import opencode_sessions as ocs
from opencode_sessions.models import TABLES, now
from opencode_sessions.store import Put, TableName
from opencode_sessions.store.values import packed

from .measuring import middle, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres import Server, binaries

ORDER: tuple[TableName, ...] = ("sessions", "messages", "tool_calls", "file_events")
PER_SESSION = 100  # messages
WORDS = [
    "the",
    "a",
    "file",
    "test",
    "line",
    "def",
    "return",
    "import",
    "value",
    "self",
    "in",
    "of",
    "error",
    "path",
    "name",
]
Rows = dict[TableName, list[dict[str, Any]]]


def made(messages: int) -> Rows:
    """Sessions of 100 messages of some KB, each with 3 calls and events, diffs of 1 to 20 KB."""
    chance, at = Random(6), now()
    rows: Rows = {name: [] for name in ORDER}

    def text(size: int) -> str:
        return " ".join(f"{chance.choice(WORDS)}{chance.randrange(99)}" for _ in range(size // 7))

    for number in range(messages):
        session, message = f"ses_{number // PER_SESSION:06}", f"msg_{number:08}"
        if number % PER_SESSION == 0:
            one = {"id": session, "opencode_id": session, "created_at": at, "updated_at": at}
            rows["sessions"].append(one | {"info": {"slug": text(100)}})
        said = text(int(chance.lognormvariate(7.3, 1)))
        of = {"session_id": session, "created_at": at}
        place = {"seq": number % PER_SESSION, "turn": 1, "source": "database"}
        rows["messages"].append(
            {"id": message, "opencode_id": message, "role": "assistant", "content": said}
            | {"parts": [{"type": "text", "text": said}], "info": {"cost": 1.5}, **of, **place}
        )
        for call in range(3):
            id = f"prt_{number:08}_{call}"
            within = {"message_id": message, "tool": "edit", "status": "completed", **of, **place}
            path = f"src/{chance.choice(WORDS)}/{chance.randrange(500)}.py"
            rows["tool_calls"].append({"id": id, "input": {"filePath": path}, **within})
            event = {"id": f"{id}-0", "event_type": "edit", "file_path": path}
            rows["file_events"].append(
                event | {"diff": text(chance.randrange(1000, 20000))} | within
            )
    return {name: [packed(row)[0] for row in each] for name, each in rows.items()}


async def ours(target: str | Path, rows: Rows) -> float:
    """The seconds a store of ours takes for them, one transaction."""
    async with ocs.open(target, migrate=False) as service:
        started = time.perf_counter()
        await service.store.apply([Put(name, rows[name]) for name in ORDER])
        return time.perf_counter() - started


async def copy(url: str, rows: Rows) -> float:
    """The seconds COPY takes for them."""
    ready = {name: tuples(rows[name]) for name in ORDER}
    connection = await asyncpg.connect(url)
    try:
        started = time.perf_counter()
        async with connection.transaction():
            for name, (columns, records) in ready.items():
                table = TABLES[name].name
                await connection.copy_records_to_table(table, columns=columns, records=records)
        return time.perf_counter() - started
    finally:
        await connection.close()


def executemany(file: Path, rows: Rows) -> float:
    """The seconds stdlib sqlite3 takes for them."""
    ready = {name: tuples(rows[name]) for name in ORDER}
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        started = time.perf_counter()
        for name, (columns, records) in ready.items():
            marks = ", ".join("?" * len(columns))
            into = f"INSERT INTO {TABLES[name].name} ({', '.join(columns)}) VALUES ({marks})"
            times = [
                [v.isoformat(" ") if hasattr(v, "isoformat") else v for v in r] for r in records
            ]
            connection.executemany(into, times)
        connection.commit()
        return time.perf_counter() - started


def tuples(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Rows as a driver takes them."""
    columns = sorted(rows[0])
    return columns, [
        [getattr(row[column], "text", row[column]) for column in columns] for row in rows
    ]


def compare(messages: int, rounds: int) -> None:
    """Measures and prints."""
    rows = made(messages)
    count = sum(map(len, rows.values()))
    size = sum(len(orjson.dumps(row, default=str)) for each in rows.values() for row in each)
    took: dict[str, list[float]] = {}

    async def fill(url: str) -> None:
        await (await ocs.open(url)).close()

    found = binaries()
    assert found, "no PostgreSQL here"
    with Server(found, durable=True) as server, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name, work in (("COPY", copy), ("ours on PostgreSQL", ours)):
                url = server.database("store", fill)
                took.setdefault(name, []).append(asyncio.run(work(url, rows)))
                server.drop(url)
            for name in ("executemany", "ours on SQLite"):
                file = Path(folder) / f"{number} {name}.db"
                asyncio.run(fill(str(file)))
                each = asyncio.run(ours(file, rows)) if "ours" in name else executemany(file, rows)
                took.setdefault(name, []).append(each)
                file.unlink()
    print(f"{count:,} rows, {size / 1e6:,.0f} MB as JSON")
    lines = []
    for limit, own in (("COPY", "ours on PostgreSQL"), ("executemany", "ours on SQLite")):
        ratio = middle(o / t for o, t in zip(took[own], took[limit], strict=True))
        for name, times in ((limit, "1.00"), (own, f"{ratio:.2f}")):
            seconds = middle(took[name])
            lines.append((name, f"{seconds:.2f}", times, f"{count / seconds:,.0f}"))
    show(f"Medians of {rounds} rounds", ("", "seconds", "x limit", "rows/s"), lines)


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    compare(given.messages, given.rounds)


if __name__ == "__main__":
    main()
