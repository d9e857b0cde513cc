"""The index in SQLite: FTS5 without the texts, which the tables have.

Such a table (`content=''`) cannot forget a row without being told its old words. So a row that has
changed gets another number, and the old one names no row any more; making the index anew is what
takes those words out.

A word begins with the week of its row: the beginning of a word that stands everywhere is looked up
in the newest week alone, where FTS5 would first put together all rows that have it.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from ...words import goes_on
from .. import TableName
from ..engine import Executor
from ..values import dumps
from .answers import KINDS, TIE_BITS, Kind, Search
from .entries import Entry

LOCKED = ""  # a transaction that writes has the whole database
# With all its triggers: SQLite drops those of a table that a migration makes anew. An older one has
# words of no week, in `opencode_search`.
IS_MADE = """SELECT count(*) FROM sqlite_master WHERE name = 'opencode_search_weeks'
    OR (type = 'trigger' AND name LIKE 'opencode_search_%') HAVING count(*) = 10"""
WEEK = 7 * 24 * 3_600_000 << TIE_BITS  # of rows' numbers
WEEKS = 64  # that are asked at once, at most
GAP = "\N{NO-BREAK SPACE}"  # a word that nobody can ask for: no letter
# Rows come as one text: a million of them one by one take longer to hand over than to index.
NEWEST = "SELECT max(doc) FROM opencode_search_rows WHERE doc < :bound"
NEWEST_OF_SESSIONS = """SELECT max((SELECT max(doc) FROM opencode_search_rows
    WHERE session_id = value AND doc < :bound)) FROM json_each(:sessions)"""
LAST = 2**63 - 1
PUT_ROWS = """INSERT INTO opencode_search_rows (doc, tab, id, session_id)
    SELECT json_extract(value, '$[0]'), :tab, json_extract(value, '$[1]'),
        json_extract(value, '$[2]') FROM json_each(:rows)"""
PUT_WORDS = f"""INSERT INTO opencode_search_weeks (rowid, {", ".join(KINDS)})
    SELECT {", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(KINDS) + 1))}
    FROM json_each(:rows)"""


def dropped(watched: Mapping[TableName, Sequence[str]]) -> Iterator[str]:
    """What takes the index away, as far as it is there."""
    for table in watched:
        for when in ("insert", "update", "delete"):
            yield f"DROP TRIGGER IF EXISTS opencode_search_{table}_{when}"
    for name in ("", "_weeks", "_rows", "_pending"):
        yield f"DROP TABLE IF EXISTS opencode_search{name}"


def made(watched: Mapping[TableName, Sequence[str]]) -> Iterator[str]:
    """What makes it."""
    yield "CREATE TABLE opencode_search_pending (n INTEGER PRIMARY KEY, tab TEXT, id TEXT)"
    yield """CREATE TABLE opencode_search_rows (
        doc INTEGER PRIMARY KEY, tab TEXT, id TEXT, session_id TEXT)"""
    yield "CREATE INDEX ix_opencode_search_rows_id ON opencode_search_rows (id)"
    yield "CREATE INDEX ix_opencode_search_rows_session ON opencode_search_rows (session_id, doc)"
    yield f"""CREATE VIRTUAL TABLE opencode_search_weeks USING fts5(
        {", ".join(KINDS)}, content='', columnsize=0, tokenize='ascii')"""
    for table, columns in watched.items():
        changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in columns)
        for when, row, condition in (
            ("INSERT", "NEW", ""),
            (f"UPDATE OF {', '.join(columns)}", "NEW", f"WHEN {changed}"),
            ("DELETE", "OLD", ""),
        ):
            name = f"opencode_search_{table}_{when.split()[0].lower()}"
            yield f"""CREATE TRIGGER {name} AFTER {when} ON opencode_{table} {condition} BEGIN
                INSERT INTO opencode_search_pending (tab, id) VALUES ('{table}', {row}.id);
                END"""


async def forget(executor: Executor, table: TableName, ids: Sequence[str]) -> None:
    """Takes rows out of the index."""
    statement = text(
        "UPDATE opencode_search_rows SET id = NULL WHERE tab = :tab AND id IN "
        "(SELECT value FROM json_each(:ids))"
    )
    await executor.execute(statement, {"tab": table, "ids": dumps(list(ids))})


async def taken(executor: Executor, numbers: Sequence[int]) -> set[int]:
    """Those of the numbers that are taken, and what is taken right after them.

    A row that has changed often has a run of them.
    """
    statement = text(
        """WITH RECURSIVE run (doc) AS (
            SELECT doc FROM opencode_search_rows
                WHERE doc IN (SELECT value FROM json_each(:numbers))
            UNION SELECT d.doc FROM run JOIN opencode_search_rows d ON d.doc = run.doc + 1
        ) SELECT doc FROM run"""
    )
    found = await executor.execute(statement, {"numbers": dumps(list(numbers))})
    return {row.doc for row in found}


async def add(executor: Executor, table: TableName, entries: Sequence[Entry]) -> None:
    """Puts rows into the index, in the order of their numbers."""
    rows = [[entry.number, entry.id, entry.session_id] for entry in entries]
    await executor.execute(text(PUT_ROWS), {"tab": table, "rows": dumps(rows)})
    await executor.execute(text(PUT_WORDS), {"rows": await asyncio.to_thread(_lines, entries)})


async def done(executor: Executor, notes: Sequence[int]) -> None:
    """Takes away notes of changes that the index has now."""
    statement = text(
        "DELETE FROM opencode_search_pending WHERE n IN (SELECT value FROM json_each(:notes))"
    )
    await executor.execute(statement, {"notes": dumps(list(notes))})


def _lines(entries: Sequence[Entry]) -> str:
    """The words of many rows, which take longer than a loop may be held up."""
    return dumps([[entry.number, *(_line(entry, kind) for kind in KINDS)] for entry in entries])


def _line(entry: Entry, kind: Kind) -> str | None:
    """The words of a text as FTS5 is to take them: between blanks, runs after all others."""
    if kind not in entry.words:
        return None
    words, runs = entry.words[kind]
    week = _name_of_week(entry.number // WEEK)
    return " ".join([week + word for word in ([*words, GAP, *runs] if runs else words)])


def _name_of_week(week: int) -> str:
    """As long for each: the beginning of a word is that of no other."""
    return f"{week:06}"


async def page(executor: Executor, search: Search, before: int | None, size: int) -> list[Any]:
    """The next rows that the index names: of the newest week, then of two more, of four."""
    newest, of_sessions = NEWEST, ""
    asked: dict[str, Any] = {"bound": LAST if before is None else before}
    if search.sessions is not None:
        newest = NEWEST_OF_SESSIONS
        of_sessions = "AND d.session_id IN (SELECT value FROM json_each(:sessions))"
        asked["sessions"] = dumps(list(search.sessions))
    found: list[Any] = []
    weeks = 1
    while len(found) < size:
        doc = (await executor.execute(text(newest), asked)).scalar_one()
        if doc is None:
            break
        week = doc // WEEK
        first = max(0, week - weeks + 1)
        # CROSS JOIN: in this order, so that the first rows found are the newest.
        statement = text(
            f"""SELECT d.doc, d.tab, d.id FROM opencode_search_weeks f
                CROSS JOIN opencode_search_rows d ON d.doc = f.rowid
                WHERE opencode_search_weeks MATCH :question AND f.rowid < :bound
                    AND d.id IS NOT NULL {of_sessions}
                ORDER BY f.rowid DESC LIMIT {size - len(found)}"""
        )
        question = _query(search, range(first, week + 1))
        found += await executor.execute(statement, asked | {"question": question})
        asked["bound"], weeks = first * WEEK, min(2 * weeks, WEEKS)
    return found


def _query(search: Search, weeks: Collection[int]) -> str:
    """What is asked for in FTS5's own words: nothing but words comes from the user."""
    of_weeks = (
        " AND ".join(
            f'"{" ".join(name + word for word in phrase)}"{"*" if goes_on(phrase) else ""}'
            for phrase in search.question.phrases
        )
        for name in map(_name_of_week, weeks)
    )
    return f"{{{' '.join(sorted(search.kinds))}}} : (({') OR ('.join(of_weeks)}))"
