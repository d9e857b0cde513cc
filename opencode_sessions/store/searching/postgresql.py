"""The index in PostgreSQL: a tsvector of each text, made of our own words.

PostgreSQL's parsers take a path for a file and a host for a host; here all is words, as in SQLite.
A word begins with a capital that says of what kind its text is: so PostgreSQL knows how many
commands have it, not only how many texts, and looks at no others.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from ...words import MOST, Asked, goes_on
from .. import TableName
from ..engine import Executor
from .answers import KINDS, Kind, Search
from .entries import Entry

LOCKED = " FOR UPDATE SKIP LOCKED"  # who searches at the same time takes the next ones
# An older one has no index of sessions, and words of no kind.
IS_MADE = """SELECT count(*) FROM pg_trigger
    WHERE to_regclass('ix_opencode_search_session_id') IS NOT NULL
        AND tgname IN ('opencode_search_put', 'opencode_search_changed') AND tgenabled <> 'D'
        AND tgrelid IN (to_regclass('opencode_sessions'), to_regclass('opencode_messages'),
            to_regclass('opencode_file_events'))
    HAVING count(*) = 6"""
NEWEST = 20_000  # rows that are looked at without the index
FEW = 100_000  # rows of the sessions asked for, likewise
FROM_THEIR_NEWEST = """doc <= (SELECT max(newest) FROM unnest(CAST(:sessions AS text[])) session,
    LATERAL (SELECT max(doc) newest FROM opencode_search WHERE session_id = session) theirs)"""
TAGS: dict[Kind, str] = dict(zip(KINDS, "TPAOFCDE", strict=True))
MANY = 255  # places of a word that PostgreSQL keeps; with more the text is crowded
# Rows come as columns: a million of them one by one take longer to hand over than to index.
PUT = """INSERT INTO opencode_search (doc, kind, tab, id, session_id, is_crowded, words)
    SELECT doc, kind, :tab, id, session_id, is_crowded, CAST(words AS tsvector) FROM unnest(
        CAST(:doc AS bigint[]), CAST(:kind AS text[]), CAST(:id AS text[]),
        CAST(:session_id AS text[]), CAST(:is_crowded AS boolean[]), CAST(:words AS text[])
    ) AS rows (doc, kind, id, session_id, is_crowded, words)"""
COLUMNS = ("doc", "kind", "id", "session_id", "is_crowded", "words")


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
    yield "CREATE INDEX ix_opencode_search_session_id ON opencode_search (session_id, doc)"
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
    """Those of the numbers that are taken, and what is taken right after them."""
    statement = text(
        """WITH RECURSIVE run (doc) AS (
            SELECT doc FROM opencode_search WHERE doc = ANY(CAST(:numbers AS bigint[]))
            UNION SELECT d.doc FROM run JOIN opencode_search d ON d.doc = run.doc + 1
        ) SELECT doc FROM run"""
    )
    found = await executor.execute(statement, {"numbers": list(numbers)})
    return {row.doc for row in found}


async def add(executor: Executor, table: TableName, entries: Sequence[Entry]) -> None:
    """Puts rows into the index."""
    rows = [
        (entry.number, kind, entry.id, entry.session_id, is_crowded, _vector(TAGS[kind], places))
        for entry in entries
        for kind, found in entry.words.items()
        for places in [_places(*found)]
        for is_crowded in [max(map(len, places.values()), default=0) > MANY]
    ]
    columns = [[*column] for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS]
    await executor.execute(text(PUT), {"tab": table, **dict(zip(COLUMNS, columns, strict=True))})


async def done(executor: Executor, notes: Sequence[int]) -> None:
    """Takes away notes of changes that the index has now."""
    statement = text("DELETE FROM opencode_search_pending WHERE n = ANY(:notes)")
    await executor.execute(statement, {"notes": list(notes)})


def _places(words: Sequence[str], runs: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words, 1):
        places.setdefault(word, []).append(place)
    for run in runs:
        places.setdefault(run, []).append(MOST + 2)  # after all others, and next to none
    return places


def _vector(tag: str, places: Mapping[str, Sequence[int]]) -> str:
    """Words with their places, as PostgreSQL writes them; they hold letters and digits alone."""
    found = ((word, ",".join(map(str, at[:MANY]))) for word, at in places.items())
    return " ".join(f"'{tag}{word}':{at}" for word, at in found)


async def page(executor: Executor, search: Search, before: int | None, size: int) -> list[Any]:
    """The next rows that the index names, newest first.

    Of what stands nearly everywhere the newest rows have enough; of what does not, the index knows
    all there is; few rows of few sessions are looked at one by one. PostgreSQL could only guess
    which it is, and a wrong guess takes seconds: (OFFSET 0) it is told.
    """
    asked, answers = _asked(search)
    of_time = "true"
    if before is not None:
        of_time = "doc < :before"
        asked["before"] = before
    rows, are_few = of_time, False
    if search.sessions is not None:
        asked["sessions"] = list(search.sessions)
        are_few = await _are_few(executor, asked["sessions"])
        rows += f" AND {'session_id = ANY(:sessions)' if are_few else FROM_THEIR_NEWEST}"
    rows += " OFFSET 0" if are_few else f" ORDER BY doc DESC LIMIT {NEWEST}"
    # A plan for any question at all would be one for none of them.
    await executor.execute(text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"))
    looked_at = f"SELECT * FROM (SELECT * FROM opencode_search WHERE {rows}) newest"
    found = await _first(executor, f"{looked_at} WHERE {' OR '.join(answers)}", asked, size)
    if are_few or len(found) == size:
        return found
    known = (f"SELECT * FROM opencode_search WHERE {answer} AND {of_time}" for answer in answers)
    return await _first(executor, " UNION ALL ".join(known), asked, size)


async def _are_few(executor: Executor, sessions: Sequence[str]) -> bool:
    statement = text(
        "SELECT count(*) FROM (SELECT FROM opencode_search WHERE session_id = ANY(:sessions) "
        f"LIMIT {FEW}) counted"
    )
    found = await executor.execute(statement, {"sessions": sessions})
    return int(found.scalar_one()) < FEW


async def _first(executor: Executor, found: str, asked: dict[str, Any], size: int) -> list[Any]:
    of_sessions = "WHERE session_id = ANY(:sessions)" if "sessions" in asked else ""
    statement = text(
        f"""WITH found AS MATERIALIZED (SELECT doc, tab, id, session_id FROM ({found}) found)
            SELECT DISTINCT doc, tab, id FROM found {of_sessions} ORDER BY doc DESC LIMIT {size}"""
    )
    return [*await executor.execute(statement, asked)]


def _asked(search: Search) -> tuple[dict[str, Any], list[str]]:
    """What is asked of each kind of text, and the conditions that say so."""
    asked: dict[str, Any] = {}
    answers = []
    for kind in sorted(search.kinds):
        tag = TAGS[kind]
        asked[f"together{tag}"] = _query(search.question, tag, " <-> ")
        answers.append(f"words @@ CAST(CAST(:together{tag} AS text) AS tsquery)")
        if any(len(phrase) > 1 for phrase in search.question.phrases):
            asked[f"anywhere{tag}"] = _query(search.question, tag, " & ")
            crowded = f"is_crowded AND words @@ CAST(CAST(:anywhere{tag} AS text) AS tsquery)"
            answers[-1] = f"({answers[-1]} OR ({crowded}))"
    return asked, answers


def _query(question: Asked, tag: str, between: str) -> str:
    """What is asked for in PostgreSQL's own words: nothing but words comes from the user."""
    phrases = []
    for phrase in question.phrases:
        quoted = [f"'{tag}{word}'" for word in phrase]
        quoted[-1] += ":*" if goes_on(phrase) else ""
        phrases.append(f"({between.join(quoted)})")
    return " & ".join(phrases)
