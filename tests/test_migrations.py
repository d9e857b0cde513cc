"""From nothing, from the three tables of old, from `create_all`: the same tables, all rows kept."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionService, PersistenceError, SchemaError
from opencode_sessions.models import metadata

VERSION_TABLE = "opencode_sessions_version"
OURS_ALONE = {VERSION_TABLE, "opencode_unchanged"}  # no application's models have them

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


def made(file: Path, script: str) -> Path:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script)
    return file


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """An application's engine, as SQLAlchemy makes it by default, on an empty file."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'application.db'}")
    yield engine
    await engine.dispose()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return made(tmp_path / "old.db", THREE_TABLES)


def schema(connection: Connection) -> dict[str, Any]:
    """Tables, columns in any order, keys and indexes, as the database itself has them."""
    found = inspect(connection)
    return {
        table: {
            "columns": {
                column["name"]: f"{column['type']}{'' if column['nullable'] else ' not null'}"
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


async def test_from_nothing(engine: AsyncEngine) -> None:
    await ocs.migrate(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(schema) == SCHEMA
        assert await connection.run_sync(differences) == []


async def test_tables_made_by_create_all_are_the_same_and_stay(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        assert await connection.run_sync(schema) == SCHEMA
    async with AsyncSession(engine) as db:
        service = OpencodeSessionService(db)
        session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
        await service.persist_message(session, "user", [{"text": "a"}])
        before = await service.list_messages(session)
        await ocs.migrate(engine)
        assert [m.seq for m in await service.list_messages(session)] == [m.seq for m in before]
    async with engine.connect() as connection:
        assert await connection.run_sync(schema) == SCHEMA
        assert await connection.run_sync(differences) == []


async def test_a_second_time_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    await ocs.migrate(file)
    before = rows(file, "SELECT name, sql FROM sqlite_master ORDER BY name"), file.read_bytes()
    await ocs.migrate(str(file))
    await ocs.migrate(f"sqlite:///{file}")
    await (await ocs.open(file)).close()
    assert rows(file, "SELECT name, sql FROM sqlite_master ORDER BY name") == before[0]
    assert file.read_bytes() == before[1]


async def test_the_three_tables_of_old_keep_their_rows(old: Path) -> None:
    counts = [
        rows(old, f"SELECT count(*) FROM opencode_{name}")
        for name in ("sessions", "messages", "file_events")
    ]
    await ocs.migrate(old)
    assert counts == [
        rows(old, f"SELECT count(*) FROM opencode_{name}")
        for name in ("sessions", "messages", "file_events")
    ]
    async with ocs.open(old, migrate=False) as service:
        session = await service.get_session("ses_1")
        assert (session.id, session.title, session.agent_name) == ("s1", "First", "build")
        assert str(session.created_at) == "2025-01-01 10:00:00+00:00"
        messages = await service.list_messages("ses_1")
        assert [(m.content, m.parts) for m in messages] == [
            ("one", [{"text": "one"}]),
            ("two", None),
            ("three", None),
        ]
        (nan,) = (await service.list_messages("ses_4"))[0].parts or []
        assert nan != nan
        events = await service.list_file_events("ses_1")
        assert [(e.id, e.message_id, e.diff, e.command) for e in events] == [
            ("e1", "m1", "x = 1", None),
            ("e2", "m3", None, "ls"),
        ]
        frames = await service.frames(diffs=True, parts=True)
        assert [len(frames.sessions), len(frames.messages), len(frames.file_events)] == [6, 5, 3]


async def test_doubled_sessions_are_one_and_what_the_others_were_is_told(old: Path) -> None:
    await ocs.migrate(old)
    found = rows(old, "SELECT id, opencode_id, title, info FROM opencode_sessions ORDER BY id")
    told = {"double_of": "s1", "opencode_id": "ses_1"}
    assert [row[:3] for row in found] == [
        ("s1", "ses_1", "First"),
        ("s2", None, "Double"),
        ("s3", None, None),
        ("s4", "ses_4", ""),
        ("s5", None, None),
        ("s6", None, None),
    ]
    assert [json.loads(row[3]) if row[3] else None for row in found] == [
        *(None, told, told, None, None, None)
    ]
    ids = [row[0] for row in rows(old, "SELECT DISTINCT session_id FROM opencode_messages")]
    assert sorted(ids) == ["s1", "s4"]


async def test_doubled_sessions_that_must_have_an_opencode_id(tmp_path: Path) -> None:
    strict = THREE_TABLES.replace("opencode_id VARCHAR(255)", "opencode_id VARCHAR(255) NOT NULL")
    strict = strict.replace("'s5', NULL", "'s5', 'ses_5'").replace("'s6', NULL", "'s6', 'ses_6'")
    file = made(tmp_path / "strict.db", strict)
    await ocs.migrate(file)
    found = rows(file, "SELECT opencode_id FROM opencode_sessions ORDER BY id")
    assert [id for (id,) in found] == ["ses_1", "s2", "s3", "ses_4", "ses_5", "ses_6"]


async def test_old_rows_have_their_place_before_new_ones(old: Path) -> None:
    async with ocs.open(old) as service:
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


async def test_tables_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    await ocs.migrate(file)
    made(file, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = file.read_bytes()
    for attempt in (ocs.migrate(file), ocs.open(file)):
        with pytest.raises(SchemaError, match=r"newer version.*pip install --upgrade"):
            await attempt
    assert file.read_bytes() == before


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    # an index of the same name on something else
    file = made(
        tmp_path / "old.db",
        THREE_TABLES + "CREATE INDEX ix_opencode_tool_calls_message ON opencode_messages (role);",
    )
    before = rows(file, "SELECT name, sql FROM sqlite_master ORDER BY name")
    for attempt in (ocs.migrate(file), ocs.open(file)):
        with pytest.raises(PersistenceError, match=r"old\.db up to date: index ix_.* already exis"):
            await attempt
    assert rows(file, "SELECT name, sql FROM sqlite_master ORDER BY name") == before


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


def run(program: str, files: list[Path]) -> str:
    command = [sys.executable, "-c", program, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_four_openers_at_once(tmp_path: Path) -> None:
    fresh = [tmp_path / f"fresh {number}.db" for number in range(3)]
    olds = [made(tmp_path / f"old {number}.db", THREE_TABLES) for number in range(3)]
    run(OPENERS, [*fresh, *olds])
    for file in fresh:
        assert rows(file, "SELECT count(*) FROM opencode_sessions") == [(4,)]
    for file in olds:
        assert rows(file, "SELECT count(*) FROM opencode_sessions") == [(10,)]
        assert rows(file, f"SELECT * FROM {VERSION_TABLE}") == [("0007",)]


async def test_killed_in_the_middle(tmp_path: Path) -> None:
    files = [made(tmp_path / f"{number}.db", THREE_TABLES) for number in range(10)]
    outcomes = run(KILLED, files).split()
    assert outcomes[0] == "9"
    assert outcomes[-1] == "0", "the last one has come to its end"
    assert outcomes.count("9") > 5
    for file in files:
        async with ocs.open(file) as service:
            assert len(await service.list_messages("ses_1")) == 3
        assert rows(file, "PRAGMA integrity_check") == [("ok",)]
        assert rows(file, "SELECT count(*) FROM opencode_sessions") == [(6,)]
