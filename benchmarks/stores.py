"""Made-up opencode databases of any size, in the shape of a real one.

Each round writes the sessions of the demo's recording once more, under new ids, earlier times and,
every `SAME_PROJECT` rounds, for another project: who called what and when, who worked beside whom
and what opencode noted of it stays as it was recorded. The texts are made: an answer calls file
tools as often as `CALLS` says, and what they read, wrote and printed is as long as real ones are.
opencode 1.17 and later keep a history of the same data in `event` as well, which nobody reads: it
is left out, so that all of the file counts.
"""

import json
import random
import re
import sqlite3
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from opencode_sessions import demo

CALLS = (1, 1, 2, 2, 9)  # where the recording has one: about three file events a message
FILE_TOOLS = ("read", "edit", "write", "bash")
MEDIAN_BYTES, SPREAD = 1700, 1.34  # of a message's parts, log-normal: 37 KB at the 99th percentile
LARGEST_BYTES = 1_000_000
SAME_PROJECT = 25  # rounds
LONG = ("output", "text", "preview", "content", "oldString", "newString", "diff", "patch")
KEPT = 30  # letters of a recorded text under one of these keys; the rest is made

# What is filled in, as one character each; none of them is in the recording.
ID_END, TIME_START, ROUND, LINES, HUNK = "\ue000\ue001\ue002\ue003\ue004"
COLUMN_END, ROW_END, NULL = "\ue005\ue006\ue007"
ID = re.compile(r"\b((?:ses|msg|prt)_[0-9a-f]{12}[0-9A-Za-z]{9})[0-9A-Za-z]{5}\b")
TIME = re.compile(r"\b1795\d{9}\b")
RECORDED_AT = 1_795_369_000_000  # ms
ROUND_DIGITS = 7  # a round is ten million ms earlier than the one before: 2.8 hours
WORKTREE, PROJECT_ID = "/home/dev/trailmap", "3bc2169e4ce2d1767810fb05dd1a9212e1bdd035"

TABLES = ("project", "session", "message", "part")

Row = Any


@dataclass(slots=True)
class Made:
    """What was made: a database, and how much is in it."""

    file: Path
    rounds: int = 0
    sessions: int = 0
    messages: int = 0
    parts: int = 0
    sizes: list[int] = field(default_factory=list, repr=False)
    """Characters of each message's parts."""

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self.file.stat().st_size

    def __str__(self) -> str:
        ordered = sorted(self.sizes)
        median, most = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        return (
            f"{self.bytes / 1e6:,.0f} MB, {self.sessions:,} sessions, {self.messages:,} messages, "
            f"{self.parts:,} parts; a message's parts {median / 1e3:.1f} KB in the median, "
            f"p99 {most / 1e3:.0f} KB, at most {ordered[-1] / 1e3:,.0f} KB"
        )


def make(file: Path, *, megabytes: float = 0, rounds: int = 0) -> Made:
    """Makes a database of at least this size, and this many rounds of 20 sessions."""
    recording, made = _Recording(), Made(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(f"PRAGMA journal_mode=OFF; {';'.join(recording.schema)}")
        while made.rounds < rounds or made.bytes < megabytes * 1e6:
            with connection:
                recording.write(connection, made)
    return made


def add(made: Made, *, rounds: int = 1) -> None:
    """Adds rounds to a database, as if opencode had gone on."""
    recording = _Recording()
    with closing(sqlite3.connect(made.file)) as connection, connection:
        for _ in range(rounds):
            recording.write(connection, made)


class _Recording:
    """The recorded project, as texts of rows with gaps that each round fills in."""

    def __init__(self) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(sqlite3.connect(demo.unpack(folder))) as connection,
        ):
            schema = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
            self.schema = [sql for (sql,) in connection.execute(schema) if "sqlite_" not in sql]
            rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
        parts: dict[str, list[Row]] = {id: [] for id, *_ in rows["message"]}
        chance = random.Random(0)
        for row in sorted(rows.pop("part")):
            parts[row[1]] += _calls(row, chance.choice(CALLS))
        self._parts = [_with_gaps(listed) for listed in parts.values()]
        self._texts = {name: _with_gaps(listed) for name, listed in rows.items()}
        self._lines = [f"    line_{n} = find(routes, {n * 7919 % 1000})" for n in range(30_000)]
        self._ends = list(accumulate(len(line) + 2 for line in self._lines))

    def write(self, connection: sqlite3.Connection, made: Made) -> None:
        """Writes all of it once more."""
        number, chance = made.rounds, random.Random(made.rounds)
        filling = {
            ID_END: f"{number:04d}",
            TIME_START: str(RECORDED_AT // 10**ROUND_DIGITS - number - 1),
            ROUND: str(number // SAME_PROJECT),
        }
        rows = {name: _filled(text, filling) for name, text in self._texts.items()}
        if number % SAME_PROJECT:
            del rows["project"]
        rows["part"] = []
        for text in self._parts:
            parts = _filled(text, filling)
            size = min(chance.lognormvariate(0, SPREAD) * MEDIAN_BYTES, LARGEST_BYTES)
            self._grow(parts, int(size), chance)
            made.sizes.append(sum(len(row[-1]) for row in parts))
            rows["part"] += parts
        for name, listed in rows.items():
            values = ", ".join("?" * len(listed[0]))
            connection.executemany(f"INSERT INTO {name} VALUES ({values})", listed)
        made.rounds += 1
        made.sessions += len(rows["session"])
        made.messages += len(rows["message"])
        made.parts += len(rows["part"])

    def _grow(self, parts: list[Row], size: int, chance: random.Random) -> None:
        """Fills the texts of one call so that the parts have this size together."""
        with_gaps = [row for row in parts if LINES in row[-1] or HUNK in row[-1]]
        grown = chance.choice(with_gaps) if with_gaps else None
        missing = size - sum(len(row[-1]) for row in parts)
        for row in with_gaps:
            lines, hunk = [], []
            if row is grown and missing > 0:
                gaps = row[-1].count(LINES) + row[-1].count(HUNK)
                start = chance.randrange(len(self._lines) // 2)
                end = bisect_right(self._ends, self._ends[start] + missing // gaps)
                lines = self._lines[start:end]
                hunk = [f"@@ -90,0 +90,{len(lines)} @@", *(f"+{line}" for line in lines)]
            row[-1] = row[-1].replace(LINES, "\\n".join(lines)).replace(HUNK, "\\n".join(hunk))


def _calls(row: Row, times: int) -> Iterator[Row]:
    """The row of a part, of a call of a file tool so many, with gaps in place of long texts."""
    id, *others, data = row
    part = json.loads(data)
    if "state" in part:
        part["state"] = _cut(part["state"])
    data = json.dumps(part, separators=(",", ":"), ensure_ascii=False)
    for number in range(times if part.get("tool") in FILE_TOOLS else 1):
        yield (f"{id[:-5]}{number}{ID_END}", *others, data)


def _cut(value: Any, name: str = "") -> Any:
    """A value with its long texts cut and a gap at their ends; a diff keeps a hunk of one line."""
    if isinstance(value, dict):
        return {key: _cut(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if name not in LONG or not isinstance(value, str) or len(value) <= KEPT:
        return value
    if value.startswith("Index: "):
        return value.partition("@@")[0] + f"@@ -1 +1 @@\n-    old\n+    new\n{HUNK}"
    return f"{value[:KEPT]}\n{LINES}"


def _with_gaps(rows: list[Row]) -> str:
    """Rows as one text, with gaps in place of what each round has for itself."""
    columns = ((NULL if value is None else str(value) for value in row) for row in rows)
    text = ROW_END.join(map(COLUMN_END.join, columns))
    text = TIME.sub(_time_with_gap, ID.sub(rf"\g<1>0{ID_END}", text))
    for name in (WORKTREE, PROJECT_ID):
        text = text.replace(name, f"{name}-{ROUND}")
    return text


def _time_with_gap(found: re.Match[str]) -> str:
    return f"{TIME_START}{int(found[0]) - RECORDED_AT:0{ROUND_DIGITS}d}"


def _filled(text: str, filling: dict[str, str]) -> list[Row]:
    """The rows of a text; the columns of their table make numbers of those that are."""
    for gap, filled in filling.items():
        text = text.replace(gap, filled)
    rows = (row.split(COLUMN_END) for row in text.split(ROW_END)) if text else ()
    return [[None if value == NULL else value for value in row] for row in rows]
