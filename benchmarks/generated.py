"""A store of ours with made-up sessions, in seconds: what the benchmarks read.

    python benchmarks/generated.py sessions.db --events 1000000 --sessions 5000

For each file event there is a tool call, for each three a message, and a tenth as many calls of
other tools. Sessions differ in length, a tenth of them are subagents, one in fifty is a fork. The
same arguments give the same rows. `heavy` gives parts and diffs the sizes that real ones have
(about 6 GB a million events); else they are short.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import opencode_sessions as ocs

START = datetime(2026, 1, 5)
MODELS = [("anthropic", "claude-sonnet-5"), ("openai", "gpt-6"), ("opencode", "big-pickle")]
PROJECTS = 40
FILES = 400  # of each project
EVENT_TYPES = ["read"] * 5 + ["edit"] * 3 + ["write", "bash"]
STATUSES = ["completed"] * 18 + ["error", "denied"]
BATCH = 50_000

Rows = dict[str, list[dict[str, Any]]]


def generate(
    file: Path, *, events: int = 1_000_000, sessions: int = 5000, heavy: bool = False, seed: int = 1
) -> None:
    """Makes the store at `file`, or adds these sessions to the one that is there."""

    async def migrated() -> None:
        await (await ocs.open(file)).close()

    asyncio.run(migrated())
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        is_new = connection.execute("SELECT 1 FROM opencode_sessions").fetchone() is None
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        if is_new:  # an index is made faster than it is kept
            for name, _sql in indexes:
                connection.execute(f"DROP INDEX {name}")
        pending: Rows = {}
        for rows in _sessions(events, sessions, heavy, seed):
            for table, listed in rows.items():
                pending.setdefault(table, []).extend(listed)
            if len(pending["file_events"]) >= BATCH:
                _insert(connection, pending)
        _insert(connection, pending)
        if is_new:
            for _name, sql in indexes:
                connection.execute(sql)
        connection.execute("ANALYZE")
        connection.commit()


def _insert(connection: sqlite3.Connection, rows: Rows) -> None:
    for table in ("sessions", "messages", "tool_calls", "file_events"):
        if listed := rows.pop(table, []):
            columns = list(listed[0])
            connection.executemany(
                f"INSERT INTO opencode_{table} ({', '.join(columns)}) "
                f"VALUES ({', '.join('?' * len(columns))})",
                [tuple(row.values()) for row in listed],
            )
    connection.commit()


def _sessions(events: int, sessions: int, heavy: bool, seed: int) -> Iterator[Rows]:
    dice = random.Random(seed)
    weights = [dice.lognormvariate(0, 1) for _ in range(sessions)]
    left, weight_left = events, sum(weights)
    previous: list[str] = []
    for number, weight in enumerate(weights):
        count = round(left * weight / weight_left) if number < sessions - 1 else left
        left, weight_left = left - count, weight_left - weight
        parent = previous[-1] if previous and number % 10 == 9 else None
        rows = _session(dice, f"{seed:03}{number:07}", number, parent, count, heavy)
        previous.append(rows["sessions"][0]["id"])
        yield rows


def _session(
    dice: random.Random, name: str, number: int, parent: str | None, events: int, heavy: bool
) -> Rows:
    at = START + timedelta(minutes=20 * number)
    id = f"ses_{name}ffeXh1dYaTQ9KcVbn2"
    provider, model = MODELS[number % len(MODELS)]
    project = f"/home/dev/project{number % PROJECTS:02}"
    writer = {"source": "database", "origin": f"dev{number % 7}@laptop"}
    rows: Rows = {"messages": [], "tool_calls": [], "file_events": []}
    copied_messages = 4 if number % 50 == 49 else 0
    agent = "general" if parent else ("plan" if number % 6 == 5 else "build")
    turn = 0
    calls = 0
    for message_number in range(max(2, -(-events // 3) + 1)):
        is_prompt = message_number % 10 == 0
        turn += is_prompt
        message = f"msg_{name}{message_number:07}XKc2QmTn9"
        at += timedelta(seconds=dice.uniform(1, 20))
        flags = {"is_fork_copy": message_number < copied_messages, "is_undone": False}
        rows["messages"].append(
            {
                "id": message,
                "session_id": id,
                "role": "user" if is_prompt else "assistant",
                "content": "Make the discount work for bulk orders, too." if is_prompt else None,
                "parts": _parts(dice, heavy),
                "created_at": _text(at),
                "opencode_id": message,
                "seq": message_number,
                "turn": turn,
                "completed_at": None if is_prompt else _text(at + timedelta(seconds=9)),
                "agent_name": agent,
                "provider": provider,
                "model": model,
                "finish": None if is_prompt else "tool-calls",
                "cost_usd": None if is_prompt else dice.randrange(1, 400) / 1e4,
                "tokens_input": None if is_prompt else dice.randrange(10, 4000),
                "tokens_output": None if is_prompt else dice.randrange(10, 900),
                "tokens_reasoning": None if is_prompt else 0,
                "tokens_cache_read": None if is_prompt else dice.randrange(0, 90_000),
                "tokens_cache_write": None if is_prompt else dice.randrange(0, 4000),
                **flags,
                **writer,
            }
        )
        if is_prompt:
            continue
        for place in range(min(4, events - len(rows["file_events"]))):
            at += timedelta(milliseconds=dice.randrange(30, 3000))
            call = f"prt_{name}{calls:07}aB3xYz77Q"
            kind = EVENT_TYPES[dice.randrange(len(EVENT_TYPES))]
            status = STATUSES[dice.randrange(len(STATUSES))]
            error = "The file was not read before." if status == "error" else None
            in_common = {
                "session_id": id,
                "message_id": message,
                "call_id": f"call_{name}{calls:07}",
                "created_at": _text(at),
                "duration_s": dice.randrange(5, 4000) / 1000,
                "turn": turn,
                "actor": "agent",
                "status": status,
                "error": error,
                **flags,
                **writer,
            }
            is_other = place == 3 and calls % 10 == 0
            rows["tool_calls"].append(
                {
                    "id": call,
                    "seq": calls,
                    "tool": "grep" if is_other else kind,
                    "input": '{"filePath":"' + project + '/src/app.py"}',
                    "title": None,
                    "output_bytes": dice.randrange(0, 40_000),
                    "exit_code": 0 if kind == "bash" else None,
                    **in_common,
                }
            )
            calls += 1
            if is_other:
                continue
            is_change = kind in ("edit", "write") and status == "completed"
            # As in a real project: some files are in every session, most in few.
            file = int(FILES * dice.random() ** 3)
            path = f"{project}/src/part{file % 17:02}/module{number % PROJECTS:02}{file:03}.py"
            rows["file_events"].append(
                {
                    "id": f"{call}.0",
                    "tool_call_id": call,
                    "seq": len(rows["file_events"]),
                    "tool": kind,
                    "event_type": kind,
                    "file_path": None if kind == "bash" else path,
                    "command": f"python -m pytest tests/test_{file}.py" if kind == "bash" else None,
                    "diff": _diff(dice, heavy) if is_change else None,
                    "is_new_file": False if is_change else None,
                    "additions": dice.randrange(0, 40) if is_change else None,
                    "deletions": dice.randrange(0, 20) if is_change else None,
                    "start_line": 1 if kind == "read" else None,
                    "end_line": dice.randrange(40, 2000) if kind == "read" else None,
                    "evidence": "tool_meta",
                    **in_common,
                }
            )
    created = START + timedelta(minutes=20 * number)
    rows["sessions"] = [
        {
            "id": id,
            "opencode_id": id,
            "agent_name": agent,
            "workdir": project,
            "worktree": project,
            "title": f"Task {number}: make the discount work",
            "created_at": _text(created),
            "updated_at": _text(at),
            "parent_id": parent,
            "project_id": f"{number % PROJECTS:040x}",
            "provider": provider,
            "model": model,
            "opencode_version": "1.18.33",
            "info": json.dumps({"id": id, "version": "1.18.33"}),
            **writer,
        }
    ]
    return rows


def _text(at: datetime) -> str:
    return at.isoformat(" ", "microseconds")


LINES = "\n".join(f"+    total = total - discount({n})  # as the order says" for n in range(3000))


def _diff(dice: random.Random, heavy: bool) -> str:
    size = dice.randrange(1000, 20_000) if heavy else 150
    return f"@@ -1,9 +1,9 @@\n{LINES[:size]}"


def _parts(dice: random.Random, heavy: bool) -> str:
    size = min(120_000, int(dice.lognormvariate(7.6, 1.25))) if heavy else 100
    return json.dumps([{"type": "text", "text": LINES[:size]}])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1, help="another one adds other sessions")
    parser.add_argument(
        "--heavy", action="store_true", help="parts and diffs as large as real ones"
    )
    asked = parser.parse_args()
    began = time.monotonic()
    generate(**vars(asked))
    size = asked.file.stat().st_size / 1e6
    print(f"{asked.file}: {size:,.0f} MB in {time.monotonic() - began:.1f} s")
