"""From nothing, from the three tables of old, from `create_all`: the same tables, all rows kept."""

import ast
import copy
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import with_driver
from outside import Outside
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionService, PersistenceError, SchemaError
from opencode_sessions.models import metadata
from opencode_sessions.store.migrations import downgrade

VERSION_TABLE = "opencode_sessions_version"
OURS_ALONE = {VERSION_TABLE, "opencode_unchanged"}  # no application's models have them
ON_SQLITE = "ix_opencode_sessions_place"
OLD_NAMES = ("sessions", "messages", "file_events")

# As applications had them: no version table, what is text a VARCHAR, times without a zone.
THREE_TABLES = """
CREATE TABLE opencode_sessions (
    id VARCHAR(36) NOT NULL PRIMARY KEY, opencode_id VARCHAR(255), agent_name VARCHAR(255),
    workdir VARCHAR(1024), abi_thread_id VARCHAR(255), title VARCHAR(255),
    created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL);
CREATE TABLE opencode_messages (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    session_id VARCHAR(36) NOT NULL REFERENCES opencode_sessions (id),
    role VARCHAR(50), content TEXT, parts JSON, created_at DATETIME);
CREATE TABLE opencode_file_events (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    session_id VARCHAR(36) NOT NULL REFERENCES opencode_sessions (id),
    message_id VARCHAR(36) REFERENCES opencode_messages (id),
    event_type VARCHAR(50) NOT NULL, file_path VARCHAR(1024), diff TEXT, command TEXT,
    created_at DATETIME);
INSERT INTO opencode_sessions VALUES
    ('s1', 'ses_1', 'build', '/p', NULL, 'First', '2025-01-01 10:00:00', '2025-01-01 11:00:00'),
    ('s2', 'ses_1', 'plan', '/q', 't', 'Double', '2025-01-02 10:00:00', '2025-01-02 11:00:00'),
    ('s3', 'ses_1', 'plan', '/q', 't', NULL, '2025-01-03 10:00:00', '2025-01-03 11:00:00'),
    ('s4', 'ses_4', NULL, NULL, NULL, '', '2025-01-04 10:00:00.123456', '2025-01-04 10:00:00'),
    ('s5', NULL, NULL, NULL, NULL, NULL, '2025-01-05 10:00:00', '2025-01-05 10:00:00'),
    ('s6', NULL, NULL, NULL, NULL, NULL, '2025-01-06 10:00:00', '2025-01-06 10:00:00');
INSERT INTO opencode_messages VALUES
    ('m9', 's1', 'user', 'one', '[{"text": "one"}]', '2025-01-01 10:00:00'),
    ('m1', 's1', 'assistant', 'two', NULL, '2025-01-01 10:00:00'),
    ('m3', 's2', 'user', 'three', 'null', '2025-01-02 10:00:00'),
    ('m4', 's4', 'assistant', NULL, '[NaN]', '2025-01-04 10:00:00'),
    ('m5', 's4', 'user', 'five', '[]', '2025-01-04 10:00:01');
INSERT INTO opencode_file_events VALUES
    ('e1', 's1', 'm1', 'edit', 'a.py', 'x = 1', NULL, '2025-01-01 10:00:01'),
    ('e2', 's2', 'm3', 'bash', NULL, NULL, 'ls', '2025-01-02 10:00:01'),
    ('e3', 's4', NULL, 'read', 'b.py', NULL, NULL, '2025-01-04 10:00:01');
"""


def filled(place: Outside, script: str = THREE_TABLES) -> Outside:
    """With exactly the three tables, and rows in them; PostgreSQL's JSON has no NaN."""
    if not place.is_sqlite:
        script = script.replace("DATETIME", "TIMESTAMPTZ").replace("[NaN]", "[1]")
    place.run(*script.split(";")[:-1])
    return place


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Outside]]:
    """Makes databases without tables, of each kind."""
    numbers, made = count(), []
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None

    def make() -> Outside:
        if server is None:
            return Outside(f"sqlite:///{tmp_path / f'{next(numbers)}.db'}", None)
        made.append(server.database())
        return Outside(made[-1], server)

    yield make
    for url in made:
        server.drop(url)


@pytest.fixture
def place(new_place: Callable[[], Outside]) -> Outside:
    return new_place()


@pytest.fixture
async def engine(place: Outside) -> AsyncIterator[AsyncEngine]:
    """An application's engine, as SQLAlchemy makes it by default, without tables."""
    engine = create_async_engine(with_driver(place.url))
    yield engine
    await engine.dispose()


@pytest.fixture
def old(place: Outside) -> Outside:
    """One with exactly the three tables, and rows in them."""
    return filled(place)


ALIKE = {"TIMESTAMP": "DATETIME", "DOUBLE PRECISION": "FLOAT"}  # as PostgreSQL calls them


def schema(connection: Connection) -> dict[str, Any]:
    """Tables, columns in any order, keys and indexes, as the database itself has them."""
    found = inspect(connection)
    return {
        table: {
            "columns": {
                column["name"]: f"{ALIKE.get(kind := str(column['type']), kind)}"
                f"{'' if column['nullable'] else ' not null'}"
                for column in found.get_columns(table)
            },
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "foreign keys": sorted(
                f"{key['constrained_columns'][0]} -> {key['referred_table']}"
                for key in found.get_foreign_keys(table)
            ),
            "indexes": {
                str(index["name"]): (index["column_names"], bool(index["unique"]))
                for index in found.get_indexes(table)
            },
        }
        for table in found.get_table_names()
        if table not in OURS_ALONE
    }


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [
        found
        for found in compare_metadata(context, metadata)
        if not (found[0] == "remove_table" and found[1].name in OURS_ALONE)
        and not (found[0] == "add_index" and found[1].name == ON_SQLITE)
    ]


TEXTS = dict.fromkeys
TOTALS_OF = [
    *("session_id", "seq", "role", "created_at", "is_fork_copy", "cost_usd"),
    *("tokens_input", "tokens_output", "tokens_reasoning"),
    *("tokens_cache_read", "tokens_cache_write"),
]
SCHEMA = {
    "opencode_sessions": {
        "columns": {
            "id": "VARCHAR(36) not null",
            **TEXTS(["opencode_id", "agent_name", "workdir", "abi_thread_id", "title"], "TEXT"),
            **TEXTS(["created_at", "updated_at", "archived_at", "deleted_at"], "DATETIME"),
            **TEXTS(["parent_id", "project_id", "worktree", "provider", "model"], "TEXT"),
            **TEXTS(["opencode_version", "source", "origin"], "TEXT"),
            **TEXTS(["reported_files", "reported_additions", "reported_deletions"], "INTEGER"),
            "reported_cost_usd": "FLOAT",
            **TEXTS(["reported_tokens_input", "reported_tokens_output"], "BIGINT"),
            "reported_tokens_reasoning": "BIGINT",
            **TEXTS(["reported_tokens_cache_read", "reported_tokens_cache_write"], "BIGINT"),
            **TEXTS(["info", "imported"], "JSON"),
        },
        "key": ["id"],
        "foreign keys": [],
        "indexes": {
            "ux_opencode_sessions_opencode_id": (["opencode_id"], True),
            "ix_opencode_sessions_place": (["workdir", "worktree"], False),
        },
    },
    "opencode_messages": {
        "columns": {
            "id": "VARCHAR(36) not null",
            "session_id": "VARCHAR(36) not null",
            **TEXTS(["role", "content", "opencode_id", "parent_id", "agent_name"], "TEXT"),
            **TEXTS(["provider", "model", "finish", "error", "source", "origin"], "TEXT"),
            **TEXTS(["created_at", "completed_at", "deleted_at"], "DATETIME"),
            **TEXTS(["seq", "turn"], "INTEGER"),
            **TEXTS(["is_compaction", "is_fork_copy", "is_undone"], "BOOLEAN"),
            "cost_usd": "FLOAT",
            **TEXTS(["tokens_input", "tokens_output", "tokens_reasoning"], "BIGINT"),
            **TEXTS(["tokens_cache_read", "tokens_cache_write"], "BIGINT"),
            **TEXTS(["reported_files", "reported_additions", "reported_deletions"], "INTEGER"),
            **TEXTS(["parts", "info"], "JSON"),
        },
        "key": ["id"],
        "foreign keys": ["session_id -> opencode_sessions"],
        "indexes": {
            "ux_opencode_messages_opencode_id": (["session_id", "opencode_id"], True),
            "ix_opencode_messages_totals": (TOTALS_OF, False),
        },
    },
    "opencode_file_events": {
        "columns": {
            "id": "VARCHAR(36) not null",
            "session_id": "VARCHAR(36) not null",
            **TEXTS(["message_id", "tool_call_id"], "VARCHAR(36)"),
            "event_type": "TEXT not null",
            **TEXTS(["file_path", "new_file_path", "diff", "command", "call_id", "tool"], "TEXT"),
            **TEXTS(["actor", "status", "error", "evidence", "source", "origin"], "TEXT"),
            "created_at": "DATETIME",
            "duration_s": "FLOAT",
            **TEXTS(["seq", "turn", "additions", "deletions"], "INTEGER"),
            **TEXTS(["start_line", "end_line", "exit_code", "errors_left"], "INTEGER"),
            "output_bytes": "BIGINT",
            "pruned_at": "DATETIME",
            **TEXTS(["is_new_file", "is_fork_copy", "is_undone"], "BOOLEAN"),
        },
        "key": ["id"],
        "foreign keys": ["message_id -> opencode_messages", "session_id -> opencode_sessions"],
        "indexes": {
            "ix_opencode_file_events_session_seq": (["session_id", "seq"], False),
            "ix_opencode_file_events_message": (["message_id"], False),
            "ix_opencode_file_events_file_path": (["file_path"], False),
            "ix_opencode_file_events_odd_path": (["file_path"], False),
            "ix_opencode_file_events_new_path": (["new_file_path"], False),
        },
    },
    "opencode_tool_calls": {
        "columns": {
            "id": "VARCHAR(36) not null",
            "session_id": "VARCHAR(36) not null",
            "message_id": "VARCHAR(36)",
            "tool": "TEXT not null",
            **TEXTS(["call_id", "status", "error", "title", "child_session_id"], "TEXT"),
            **TEXTS(["actor", "source", "origin"], "TEXT"),
            "input": "JSON",
            **TEXTS(["output_bytes", "input_hash"], "BIGINT"),
            **TEXTS(["exit_code", "seq", "turn"], "INTEGER"),
            "created_at": "DATETIME",
            "duration_s": "FLOAT",
            **TEXTS(["is_fork_copy", "is_undone"], "BOOLEAN"),
        },
        "key": ["id"],
        "foreign keys": ["message_id -> opencode_messages", "session_id -> opencode_sessions"],
        "indexes": {
            "ix_opencode_tool_calls_session_seq": (["session_id", "seq"], False),
            "ix_opencode_tool_calls_message": (["message_id"], False),
        },
    },
}


def expected(engine: AsyncEngine) -> dict[str, Any]:
    wanted: dict[str, Any] = copy.deepcopy(SCHEMA)
    if engine.dialect.name == "postgresql":
        del wanted["opencode_sessions"]["indexes"][ON_SQLITE]
    return wanted


async def test_from_nothing(engine: AsyncEngine) -> None:
    await ocs.migrate(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(schema) == expected(engine)
        assert await connection.run_sync(differences) == []


async def test_tables_made_by_create_all_are_the_same_and_stay(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        assert await connection.run_sync(schema) == expected(engine)
    async with AsyncSession(engine) as db:
        service = OpencodeSessionService(db)
        session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
        await service.persist_message(session, "user", [{"text": "a"}])
        before = await service.list_messages(session)
        await ocs.migrate(engine)
        assert [m.seq for m in await service.list_messages(session)] == [m.seq for m in before]
    async with engine.connect() as connection:
        assert await connection.run_sync(schema) == expected(engine)
        assert await connection.run_sync(differences) == []


async def test_a_second_time_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    rows = Outside(f"sqlite:///{file}", None).rows
    await ocs.migrate(file)
    before = rows("SELECT name, sql FROM sqlite_master ORDER BY name"), file.read_bytes()
    await ocs.migrate(str(file))
    await ocs.migrate(f"sqlite:///{file}")
    await (await ocs.open(file)).close()
    assert rows("SELECT name, sql FROM sqlite_master ORDER BY name") == before[0]
    assert file.read_bytes() == before[1]


async def test_a_second_time_on_postgresql_nothing_changes(postgres_database: str) -> None:
    engine = create_async_engine(with_driver(postgres_database))
    await ocs.migrate(engine)
    query = text("SELECT oid, relname, relfilenode, xmin::text FROM pg_class ORDER BY oid")
    async with engine.connect() as connection:
        before = (await connection.execute(query)).all()
    await ocs.migrate(postgres_database)
    async with engine.connect() as connection:
        assert (await connection.execute(query)).all() == before
    await engine.dispose()


async def test_the_three_tables_of_old_keep_their_rows(old: Outside) -> None:
    counts = [old.rows(f"SELECT count(*) FROM opencode_{name}") for name in OLD_NAMES]
    await ocs.migrate(old.url)
    assert counts == [old.rows(f"SELECT count(*) FROM opencode_{name}") for name in OLD_NAMES]
    async with ocs.open(old.url, migrate=False) as service:
        session = await service.get_session("ses_1")
        assert (session.id, session.title, session.agent_name) == ("s1", "First", "build")
        assert str(session.created_at) == "2025-01-01 10:00:00+00:00"
        messages = await service.list_messages("ses_1")
        assert [(m.content, m.parts) for m in messages] == [
            ("one", [{"text": "one"}]),
            ("two", None),
            ("three", None),
        ]
        (odd,) = (await service.list_messages("ses_4"))[0].parts or []
        assert odd != odd if old.is_sqlite else odd == 1
        events = await service.list_file_events("ses_1")
        assert [(e.id, e.message_id, e.diff, e.command) for e in events] == [
            ("e1", "m1", "x = 1", None),
            ("e2", "m3", None, "ls"),
        ]
        frames = await service.frames(diffs=True, parts=True)
        assert [len(frames.sessions), len(frames.messages), len(frames.file_events)] == [6, 5, 3]


async def test_doubled_sessions_are_one_and_what_the_others_were_is_told(old: Outside) -> None:
    await ocs.migrate(old.url)
    found = old.rows("SELECT id, opencode_id, title, info FROM opencode_sessions ORDER BY id")
    told = {"double_of": "s1", "opencode_id": "ses_1"}
    assert [row[:3] for row in found] == [
        ("s1", "ses_1", "First"),
        ("s2", None, "Double"),
        ("s3", None, None),
        ("s4", "ses_4", ""),
        ("s5", None, None),
        ("s6", None, None),
    ]
    assert [json.loads(row[3]) if row[3] not in (None, "null") else None for row in found] == [
        *(None, told, told, None, None, None)
    ]
    ids = old.rows("SELECT DISTINCT session_id FROM opencode_messages")
    assert sorted(ids) == ["s1", "s4"]


async def test_doubled_sessions_that_must_have_an_opencode_id(place: Outside) -> None:
    strict = THREE_TABLES.replace("opencode_id VARCHAR(255)", "opencode_id VARCHAR(255) NOT NULL")
    strict = strict.replace("'s5', NULL", "'s5', 'ses_5'").replace("'s6', NULL", "'s6', 'ses_6'")
    await ocs.migrate(filled(place, strict).url)
    found = place.rows("SELECT opencode_id FROM opencode_sessions ORDER BY id")
    assert found == ["ses_1", "s2", "s3", "ses_4", "ses_5", "ses_6"]


async def test_old_rows_have_their_place_before_new_ones(old: Outside) -> None:
    async with ocs.open(old.url) as service:
        for id, places in {
            "ses_1": [("one", 0, 1), ("two", 1, 1), ("three", 2, 2)],
            "ses_4": [(None, 0, 1), ("five", 1, 2)],
        }.items():
            stored = await service.list_messages(id)
            assert [(m.content, m.seq, m.turn) for m in stored] == places
        events = await service.list_file_events("ses_1")
        assert [(event.seq, event.turn) for event in events] == [(0, 1), (1, 2)]
        session = await service.get_or_create_session("ses_1")
        assert session.id == "s1"
        parts = [{"type": "tool_use", "name": "read", "input": {"path": "new.py"}}]
        message = await service.persist_message(session, "user", [{"text": "new"}])
        await service.persist_file_events(message, parts)
        assert (message.seq, message.turn) == (3, 3)
        assert [m.content for m in await service.list_messages("ses_1")][-1] == "new"
        assert [e.file_path for e in await service.list_file_events("ses_1")][-1] == "new.py"


async def test_an_applications_own_tables_are_none_of_ours(engine: AsyncEngine) -> None:
    own = [
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('0001')",
        "CREATE TABLE session (id INTEGER PRIMARY KEY, token TEXT)",
        "CREATE TABLE message (id INTEGER PRIMARY KEY)",
        "INSERT INTO session VALUES (1, 'mine')",
        "CREATE INDEX ix_session_token ON session (token)",
    ]
    async with engine.begin() as connection:
        for statement in own:
            await connection.execute(text(statement))
        before = await connection.run_sync(schema)
    await ocs.migrate(engine)
    async with engine.connect() as connection:
        after = await connection.run_sync(schema)
        assert {table: after[table] for table in before} == before
        assert (await connection.execute(text("SELECT * FROM alembic_version"))).all() == [
            ("0001",)
        ]
        assert (await connection.execute(text("SELECT * FROM session"))).all() == [(1, "mine")]


async def test_a_database_in_memory_stays(tmp_path: Path) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE own (id INTEGER PRIMARY KEY)"))
    await ocs.migrate(engine)
    async with AsyncSession(engine) as db:
        service = OpencodeSessionService(db, on_error="raise")
        await service.get_or_create_session("ses_1")
        assert (await db.execute(text("SELECT count(*) FROM own"))).scalar() == 0
    await engine.dispose()


async def test_connections_open_before_go_on(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    async with AsyncSession(engine) as db, AsyncSession(engine) as idle:
        services = [OpencodeSessionService(each, on_error="raise") for each in (db, idle)]
        await services[0].get_or_create_session("ses_1")
        await services[1].get_session("ses_1")
        await ocs.migrate(engine)
        for service in services:
            await service.get_or_create_session("ses_1")


async def test_tables_of_a_newer_version_are_left_alone(place: Outside) -> None:
    await ocs.migrate(place.url)
    place.run(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = everything(place)
    for attempt in (ocs.migrate(place.url), ocs.open(place.url)):
        with pytest.raises(SchemaError, match=r"newer version.*pip install --upgrade"):
            await attempt
    assert everything(place) == before


async def test_a_migration_that_fails_changes_nothing(old: Outside) -> None:
    # an index of the same name on something else
    old.run("CREATE INDEX ix_opencode_tool_calls_message ON opencode_messages (role)")
    before = everything(old)
    for attempt in (ocs.migrate(old.url), ocs.open(old.url)):
        with pytest.raises(PersistenceError, match=r"up to date: .*ix_\w+\"? already exists"):
            await attempt
    assert everything(old) == before


def everything(place: Outside) -> list[Any]:
    """What a database has of tables and indexes, and its version."""
    if place.is_sqlite:
        return place.rows("SELECT name, sql FROM sqlite_master ORDER BY name")
    query = "SELECT relname, relnatts, relfilenode FROM pg_class ORDER BY oid"
    return place.rows(query)


async def test_back_to_the_three_tables_and_up_again(old: Outside) -> None:
    counts = [old.rows(f"SELECT count(*) FROM opencode_{name}") for name in OLD_NAMES]
    engine = create_async_engine(with_driver(old.url))
    async with engine.connect() as connection:
        before = await connection.run_sync(schema)
    await engine.dispose()
    for _ in range(2):
        await ocs.migrate(old.url)
        await downgrade(old.url, "0001")
        async with engine.connect() as connection:
            assert await connection.run_sync(schema) == before
        await engine.dispose()
        assert counts == [old.rows(f"SELECT count(*) FROM opencode_{name}") for name in OLD_NAMES]
    async with ocs.open(old.url) as service:
        assert len(await service.list_messages("ses_1")) == 3


async def test_moving_an_application_over_as_the_docs_say(old: Outside) -> None:
    docs = (Path(__file__).parents[1] / "docs" / "moving.md").read_text()
    block = docs.partition("```python\n")[2].partition("```")[0]
    engine = create_async_engine(with_driver(old.url))
    code = compile(block, "moving.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, {"engine": engine})
    async with AsyncSession(engine) as db_session:
        service = OpencodeSessionService(db_session)
        session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
        message = await service.persist_message(session, "user", [{"text": "new"}])
        await service.persist_file_events(message, [])
        assert [m.content for m in await service.list_messages("ses_1")][-1] == "new"
        assert not service.pending
    await engine.dispose()


async def test_back_one_version_at_a_time(place: Outside) -> None:
    await ocs.migrate(place.url)
    for version in ("0007", "0006", "0005", "0004", "0003", "0002", "0001"):
        await downgrade(place.url, version)
        assert place.rows(f"SELECT * FROM {VERSION_TABLE}") == [version]
    await downgrade(place.url, "base")
    assert place.rows(f"SELECT * FROM {VERSION_TABLE}") == []
    async with ocs.open(place.url) as service:
        await service.get_or_create_session("ses_1")


# -- processes -------------------------------------------------------------------------------------

# Forks a child for each of what follows: one import, many processes.
FORKS = """
import asyncio, os, signal, sys
from itertools import count
import alembic.migration, alembic.operations, alembic.script
import opencode_sessions as ocs
import opencode_sessions.service
from sqlalchemy import Engine, event

def child(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(work())
            status = 0
        finally:
            os._exit(status)
    return pid
"""
OPENERS = (
    FORKS
    + """
for path in sys.argv[1:]:
    wait, go = os.pipe()

    async def open_it():
        os.close(go)
        os.read(wait, 1)  # until the parent has closed its end
        async with ocs.open(path) as service:
            await service.get_or_create_session(f"ses_{os.getpid()}")

    children = [child(open_it) for _ in range(4)]
    os.close(wait)
    os.close(go)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
"""
)
KILLED = (
    FORKS
    + """
for place, path in enumerate(sys.argv[1:]):
    async def be_killed():
        statements = count()

        def die(*args):
            if next(statements) == place * 17:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "before_cursor_execute", die)
        await ocs.migrate(path)

    print(os.waitpid(child(be_killed), 0)[1])
"""
)


def run(program: str, places: list[Outside]) -> str:
    command = [sys.executable, "-c", program, *(place.url for place in places)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_four_openers_at_once(new_place: Callable[[], Outside]) -> None:
    fresh = [new_place() for _ in range(3)]
    olds = [filled(new_place()) for _ in range(3)]
    run(OPENERS, [*fresh, *olds])
    for place in fresh:
        assert place.rows("SELECT count(*) FROM opencode_sessions") == [4]
    for place in olds:
        assert place.rows("SELECT count(*) FROM opencode_sessions") == [10]
        assert len(place.rows(f"SELECT * FROM {VERSION_TABLE}")) == 1


async def test_killed_in_the_middle(new_place: Callable[[], Outside]) -> None:
    places = [filled(new_place()) for _ in range(10)]
    outcomes = run(KILLED, places).split()
    assert outcomes[0] == "9"
    assert outcomes[-1] == "0", "the last one has come to its end"
    assert outcomes.count("9") > 5
    for place in places:
        async with ocs.open(place.url) as service:
            assert len(await service.list_messages("ses_1")) == 3
        if place.is_sqlite:
            assert place.rows("PRAGMA integrity_check") == ["ok"]
        assert place.rows("SELECT count(*) FROM opencode_sessions") == [6]
