"""The index in PostgreSQL: a tsvector of each text, made of our own words.

PostgreSQL's parsers take a path for a file and a host for a host; here all is words, as in SQLite.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from ...words import MOST, Asked, goes_on
from .. import TableName
from ..engine import Executor
from .answers import Search
from .entries import Entry

LOCKED = " FOR UPDATE SKIP LOCKED"  # who searches at the same time takes the next ones
IS_MADE = """SELECT count(*) FROM pg_trigger WHERE tgname IN ('opencode_search_put',
        'opencode_search_changed') AND tgenabled <> 'D' AND tgrelid IN (
        to_regclass('opencode_sessions'), to_regclass('opencode_messages'),
        to_regclass('opencode_file_events'))
    HAVING count(*) = 6"""
MANY = 255  # places of a word that PostgreSQL keeps; with more the text is crowded
PUT = """INSERT INTO opencode_search (doc, kind, tab, id, session_id, is_crowded, words)
    VALUES (:doc, :kind, :tab, :id, :session_id, :is_crowded,
        CAST(CAST(:words AS text) AS tsvector))"""


def dropped(watched: Mapping[TableName, Sequence[str]]) -> Iterator[str]:
    """What takes the index away, as far as it is there."""
    for table in watched:
        yield f"DROP TRIGGER IF EXISTS opencode_search_put ON opencode_{table}"
        yield f"DROP TRIGGER IF EXISTS opencode_search_changed ON opencode_{table}"
    yield "DROP FUNCTION IF EXISTS opencode_search_note()"
    for name in ("opencode_search", "opencode_search_pending"):
        yield f"DROP TABLE IF EXISTS {name}"


def made(watched: Mapping[TableName, Sequence[str]]) -> Iterator[str]:
    """What makes it."""
    yield """CREATE TABLE opencode_search_pending (
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tab text, id text)"""
    yield """CREATE TABLE opencode_search (doc bigint, kind text, tab text, id text,
        session_id text, is_crowded boolean, words tsvector, PRIMARY KEY (doc, kind))"""
    yield "CREATE INDEX ix_opencode_search_id ON opencode_search (id)"
    yield "CREATE INDEX ix_opencode_search_words ON opencode_search USING gin (words)"
    # Who may write rows may not know of the index: what he changes is noted by its owner's right,
    # which nobody can turn to a table of his own.
    yield """DO $make$ BEGIN EXECUTE format($function$
        CREATE FUNCTION opencode_search_note() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = %I, pg_temp AS $$
        BEGIN
            INSERT INTO opencode_search_pending (tab, id)
                VALUES (TG_ARGV[0], CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END);
            RETURN NULL;
        END $$
        $function$, current_schema()); END $make$"""
    for table, columns in watched.items():
        yield f"""CREATE TRIGGER opencode_search_put AFTER INSERT OR DELETE ON opencode_{table}
            FOR EACH ROW EXECUTE FUNCTION opencode_search_note('{table}')"""
        # JSON has no equality: as text it has.
        old, new = (
            ", ".join(f"{row}.{c}{'::text' if c == 'parts' else ''}" for c in columns)
            for row in ("OLD", "NEW")
        )
        yield f"""CREATE TRIGGER opencode_search_changed
            AFTER UPDATE OF {", ".join(columns)} ON opencode_{table} FOR EACH ROW
            WHEN (({old}) IS DISTINCT FROM ({new}))
            EXECUTE FUNCTION opencode_search_note('{table}')"""


async def forget(executor: Executor, table: TableName, ids: Sequence[str]) -> None:
    """Takes rows out of the index."""
    statement = text("DELETE FROM opencode_search WHERE tab = :tab AND id = ANY(:ids)")
    await executor.execute(statement, {"tab": table, "ids": list(ids)})


async def taken(executor: Executor, numbers: Sequence[int]) -> set[int]:
    """The numbers around these that are taken."""
    around = sorted({number + n for number in numbers for n in range(10)})
    statement = text("SELECT DISTINCT doc FROM opencode_search WHERE doc = ANY(:around)")
    return {row.doc for row in await executor.execute(statement, {"around": around})}


async def add(executor: Executor, table: TableName, entries: Sequence[Entry]) -> None:
    """Puts rows into the index."""
    rows = [
        {
            "doc": entry.number,
            "kind": kind,
            "tab": table,
            "id": entry.id,
            "session_id": entry.session_id,
            "is_crowded": max(map(len, places.values()), default=0) > MANY,
            "words": _vector(places),
        }
        for entry in entries
        for kind, found in entry.words.items()
        for places in [_places(*found)]
    ]
    if rows:
        await executor.execute(text(PUT), rows)


def _places(words: Sequence[str], runs: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words, 1):
        places.setdefault(word, []).append(place)
    for run in runs:
        places.setdefault(run, []).append(MOST + 2)  # after all others, and next to none
    return places


def _vector(places: Mapping[str, Sequence[int]]) -> str:
    """Words with their places, as PostgreSQL writes them; they hold letters and digits alone."""
    found = ((word, ",".join(map(str, at[:MANY]))) for word, at in places.items())
    return " ".join(f"'{word}':{at}" for word, at in found)


def page(search: Search, before: int | None, size: int) -> tuple[str, dict[str, Any]]:
    """A statement that names the next rows, newest first, and its values."""
    asked: dict[str, Any] = {
        "together": _query(search.question, " <-> "),
        "anywhere": _query(search.question, " & "),
        "kinds": sorted(search.kinds),
    }
    where = [
        """(words @@ CAST(CAST(:together AS text) AS tsquery)
            OR (is_crowded AND words @@ CAST(CAST(:anywhere AS text) AS tsquery)))""",
        "kind = ANY(:kinds)",
    ]
    if before is not None:
        where.append("doc < :before")
        asked["before"] = before
    if search.sessions is not None:
        where.append("session_id = ANY(:sessions)")
        asked["sessions"] = list(search.sessions)
    return (
        f"""SELECT DISTINCT doc, tab, id FROM opencode_search
            WHERE {" AND ".join(where)} ORDER BY doc DESC LIMIT {size}""",
        asked,
    )


def _query(question: Asked, between: str) -> str:
    """What is asked for in PostgreSQL's own words: nothing but words comes from the user."""
    phrases = []
    for phrase in question.phrases:
        quoted = [f"'{word}'" for word in phrase]
        quoted[-1] += ":*" if goes_on(phrase) else ""
        phrases.append(f"({between.join(quoted)})")
    return " & ".join(phrases)
