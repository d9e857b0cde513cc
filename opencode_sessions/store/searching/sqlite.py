"""The index in SQLite: FTS5 without the texts, which the tables have.

Such a table (`content=''`) cannot forget a row without being told its old words. So a row that has
changed gets another number, and the old one names no row any more; making the index anew is what
takes those words out.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from ...words import Asked, goes_on
from .. import TableName
from ..engine import Executor
from .answers import KINDS, Kind, Search
from .entries import Entry

LOCKED = ""  # a transaction that writes has the whole database
# With all its triggers: SQLite drops those of a table that a migration makes anew.
IS_MADE = """SELECT count(*) FROM sqlite_master
    WHERE type = 'trigger' AND name LIKE 'opencode_search_%' HAVING count(*) = 9"""
GAP = "\N{NO-BREAK SPACE}"  # a word that nobody can ask for: no letter
# Rows come as one text: a million of them one by one take longer to hand over than to index.
PUT_ROWS = """INSERT INTO opencode_search_rows (doc, tab, id, session_id)
    SELECT json_extract(value, '$[0]'), :tab, json_extract(value, '$[1]'),
        json_extract(value, '$[2]') FROM json_each(:rows)"""
PUT_WORDS = f"""INSERT INTO opencode_search (rowid, {", ".join(KINDS)})
    SELECT {", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(KINDS) + 1))}
    FROM json_each(:rows)"""


def dropped(watched: Mapping[TableName, Sequence[str]]) -> Iterator[str]:
    """What takes the index away, as far as it is there."""
    for table in watched:
        for when in ("insert", "update", "delete"):
            yield f"DROP TRIGGER IF EXISTS opencode_search_{table}_{when}"
    for name in ("opencode_search", "opencode_search_rows", "opencode_search_pending"):
        yield f"DROP TABLE IF EXISTS {name}"


def made(watched: Mapping[TableName, Sequence[str]]) -> Iterator[str]:
    """What makes it."""
    yield "CREATE TABLE opencode_search_pending (n INTEGER PRIMARY KEY, tab TEXT, id TEXT)"
    yield """CREATE TABLE opencode_search_rows (
        doc INTEGER PRIMARY KEY, tab TEXT, id TEXT, session_id TEXT)"""
    yield "CREATE INDEX ix_opencode_search_rows_id ON opencode_search_rows (id)"
    yield f"""CREATE VIRTUAL TABLE opencode_search USING fts5(
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
    await executor.execute(statement, {"tab": table, "ids": json.dumps(list(ids))})


async def taken(executor: Executor, numbers: Sequence[int]) -> set[int]:
    """The numbers around these that are taken."""
    statement = text(
        "SELECT doc FROM opencode_search_rows, json_each(:numbers) "
        "WHERE doc BETWEEN value AND value + 9"
    )
    found = await executor.execute(statement, {"numbers": json.dumps(list(numbers))})
    return {row.doc for row in found}


async def add(executor: Executor, table: TableName, entries: Sequence[Entry]) -> None:
    """Puts rows into the index, in the order of their numbers."""
    rows = [[entry.number, entry.id, entry.session_id] for entry in entries]
    await executor.execute(text(PUT_ROWS), {"tab": table, "rows": json.dumps(rows)})
    lines = [[entry.number, *(_line(entry, kind) for kind in KINDS)] for entry in entries]
    await executor.execute(text(PUT_WORDS), {"rows": json.dumps(lines, ensure_ascii=False)})


async def done(executor: Executor, notes: Sequence[int]) -> None:
    """Takes away notes of changes that the index has now."""
    statement = text(
        "DELETE FROM opencode_search_pending WHERE n IN (SELECT value FROM json_each(:notes))"
    )
    await executor.execute(statement, {"notes": json.dumps(list(notes))})


def _line(entry: Entry, kind: Kind) -> str | None:
    """The words of a text as FTS5 is to take them: between blanks, runs after all others."""
    if kind not in entry.words:
        return None
    words, runs = entry.words[kind]
    return " ".join([*words, GAP, *runs] if runs else words)


async def page(executor: Executor, search: Search, before: int | None, size: int) -> list[Any]:
    """The next rows that the index names, newest first."""
    asked: dict[str, Any] = {"question": _query(search.question, search.kinds)}
    where = ["opencode_search MATCH :question", "d.id IS NOT NULL"]
    if before is not None:
        where.append("f.rowid < :before")
        asked["before"] = before
    if search.sessions is not None:
        where.append("d.session_id IN (SELECT value FROM json_each(:sessions))")
        asked["sessions"] = json.dumps(list(search.sessions))
    # CROSS JOIN: in this order, so that the first rows found are the newest.
    statement = text(
        f"""SELECT d.doc, d.tab, d.id FROM opencode_search f
            CROSS JOIN opencode_search_rows d ON d.doc = f.rowid
            WHERE {" AND ".join(where)} ORDER BY f.rowid DESC LIMIT {size}"""
    )
    return [*await executor.execute(statement, asked)]


def _query(question: Asked, kinds: Collection[Kind]) -> str:
    """What is asked for in FTS5's own words: nothing but words comes from the user."""
    phrases = (
        f'"{" ".join(phrase)}"{"*" if goes_on(phrase) else ""}' for phrase in question.phrases
    )
    return f"{{{' '.join(sorted(kinds))}}} : ({' AND '.join(phrases)})"
