"""Killed with -9 at any point: what was said to be stored is, and no message is stored in part.

A small number of rounds here. `KILLS=1000 pytest tests/test_killed.py` does as many as it says.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path

import killing
import pytest
from outside import Outside
from postgres import Server
from sqlalchemy import URL, make_url

ROUNDS = int(os.environ.get("KILLS", "60"))
MOST_LINES, LONGEST_S = 30, 0.02

PROCESSES = multiprocessing.get_context("forkserver")  # imports once, then forks for each round
PROCESSES.set_forkserver_preload(["killing", "opencode_sessions.service", "alembic.operations"])


def killed(place: str, round: int, lines: int, after: float) -> dict[str, set[str]]:
    """Kills a writer so many seconds after it said so much; gives all it said was stored."""
    receiving, sending = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=killing.write, args=(place, round, sending))
    process.start()
    sending.close()
    reading = receiving.fileno()
    said = b""
    while said.count(b"\n") < lines and (more := os.read(reading, 65536)):
        said += more
    assert b"opened" in said, "it ended before it was killed"
    until = time.perf_counter() + after
    while time.perf_counter() < until:
        pass  # a sleep would end when the writer's next write does
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    while more := os.read(reading, 65536):
        said += more
    receiving.close()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    told = defaultdict(set)
    for line in said.decode().splitlines():
        what, _, id = line.partition(" ")
        told[what].add(id)
    return told


@pytest.fixture(params=["file", "postgresql"])
def place(request: pytest.FixtureRequest) -> tuple[str, Outside, int]:
    """A store, how another connection sees it, and how often to kill its writer."""
    if request.param == "file":
        file: Path = request.getfixturevalue("sqlite_store")
        return str(file), Outside(URL.create("sqlite", database=str(file)), None), ROUNDS
    url: str = request.getfixturevalue("postgres_store")
    server: Server = request.getfixturevalue("postgres")
    return url, Outside(make_url(url), server), max(ROUNDS // 10, 1)


def test_killed_at_any_point(place: tuple[str, Outside, int]) -> None:
    where, outside, rounds = place
    chance = random.Random(9)
    kept = lost = 0
    for round in range(rounds):
        told = killed(where, round, chance.randint(1, MOST_LINES), chance.random() * LONGEST_S)
        mine = f"WHERE m.content LIKE '{round} %'"
        count = "(SELECT count(*) FROM opencode_{} e WHERE e.message_id = m.id)"
        counts = f"{count.format('tool_calls')}, {count.format('file_events')}"
        stored = outside.rows(f"SELECT m.id, {counts} FROM opencode_messages m {mine}")
        calls = {id: (called, touched) for id, called, touched in stored}
        sessions = set(outside.rows("SELECT id FROM opencode_sessions"))
        lost += len(told["session"] - sessions)
        lost += len((told["whole"] | told["message"]) - calls.keys())
        lost += sum(calls.get(id) != (3, 3) for id in told["whole"] | told["events"])
        assert set(calls.values()) <= {(0, 0), (3, 3)}, "all of a message's events, or none"
        kept += len(told["whole"]) + len(told["message"]) + len(told["events"])
    assert lost == 0
    assert kept > rounds, "it was killed before it wrote anything"
    print(f"{rounds} rounds, {kept} acknowledged, {lost} lost")
    if outside.is_sqlite:
        assert outside.rows("PRAGMA integrity_check") == ["ok"]
        assert outside.rows("PRAGMA foreign_key_check") == []
    numbers = outside.rows("SELECT session_id, seq FROM opencode_messages")
    assert len(numbers) == len(set(numbers)), "one place for each message"
