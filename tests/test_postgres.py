"""What is PostgreSQL's alone: its drivers, its rights, COPY, compression, a server that goes."""

import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import Recording, open_and_close, with_driver
from postgres import Server, binaries, bundled
from sqlalchemy import Column, Connection, Integer, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine

import opencode_sessions as ocs
from opencode_sessions import models
from opencode_sessions.store import Put, queries

ROOT = Path(__file__).parents[1]
READ = [{"type": "tool_use", "name": "read", "input": {"path": "a.py"}}]


@pytest.mark.parametrize("form", ["postgresql://", "postgresql+asyncpg://", "postgres://"])
async def test_a_url_opens_a_store(form: str, postgres_database: str) -> None:
    url = postgres_database.replace("postgresql://", form)
    async with ocs.open(url) as service:
        await service.get_or_create_session("ses_1", "build", Path("/p"))
    async with ocs.open(url, migrate=False) as service:
        assert len(await service.sessions()) == 1


@pytest.mark.parametrize("found", [binaries, bundled], ids=["the system's", "pip's"])
def test_a_server_of_ones_own(found: object) -> None:
    place = found()  # type: ignore[operator]
    assert place
    with Server(place, durable=True) as server:
        url = server.database()
        server.execute("CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)", url=url)
        server.restart("immediate")
        assert server.execute("SELECT n FROM kept", url=url) == [(1,)]


async def test_a_missing_driver_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ocs.OpencodeSessionsError, match=r"pip install 'opencode-sessions\[postgr"):
        await ocs.open("postgresql://nobody@127.0.0.1/nowhere")


async def test_without_the_right_to_make_tables(
    postgres: Server, postgres_store: str, trailmap: Recording
) -> None:
    role = f"clerk_{postgres_store.rpartition('_')[2]}"
    tables = "opencode_sessions, opencode_messages, opencode_tool_calls, opencode_file_events"
    postgres.execute(
        f"CREATE ROLE {role} LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}",
        url=postgres_store,
    )
    own = postgres_store.replace("postgres@", f"{role}@")
    async with ocs.open(own, migrate=False, on_error="raise") as service:
        session = await service.get_or_create_session("ses_1")
        message = await service.persist_message(session, "user", [{"text": "a"}])
        await service.persist_file_events(message, READ)
        await service.import_opencode(trailmap.database, progress=False)
        assert len(await service.file_events("ses_1")) == 1
    postgres.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}", url=postgres_store)


COMPRESSION = """SELECT relname || '.' || attname, attcompression::text FROM pg_attribute
    JOIN pg_class ON attrelid = pg_class.oid
    WHERE relname LIKE 'opencode%' AND relkind = 'r' AND attcompression <> ''"""
LARGE = {
    *("opencode_messages.parts", "opencode_messages.content", "opencode_messages.info"),
    *("opencode_sessions.info", "opencode_tool_calls.input", "opencode_file_events.diff"),
}


def test_what_is_large_is_compressed_by_lz4_where_the_server_has_it(
    postgres: Server, postgres_store: str
) -> None:
    query = "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    has_lz4 = postgres.execute(query)[0][0]
    found = dict(postgres.execute(COMPRESSION, url=postgres_store))
    assert found == (dict.fromkeys(LARGE, "l") if has_lz4 else {})


async def test_a_server_without_lz4_goes_on_without() -> None:
    place = bundled()
    assert place
    with Server(place) as server:
        url = server.database()
        async with ocs.open(url) as service:
            session = await service.get_or_create_session("ses_1")
            await service.persist_message(session, "user", [{"text": "a"}])
        assert dict(server.execute(COMPRESSION, url=url)) == {}


@pytest.mark.parametrize("option", ["nonsense=1", "timeout=x"])
async def test_an_option_that_the_driver_does_not_know_is_said(
    postgres_store: str, option: str
) -> None:
    with pytest.raises(ocs.OpencodeSessionsError, match=r"127\.0\.0\.1.* cannot be opened: .*"):
        await ocs.open(f"{postgres_store}?{option}")


def test_a_files_events_are_found_by_index(postgres: Server, postgres_store: str) -> None:
    """By the server's own choice; in a small table it has reasons of a large one."""
    statement, values = queries.on_paths("postgresql", ["id"], {"a.py", "/w/a.py"}, "a.py")
    compiled = statement.params(values).compile(
        dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}
    )
    plan = postgres.execute(
        "INSERT INTO opencode_sessions (id) VALUES ('ses_1')",
        "INSERT INTO opencode_file_events (id, session_id, event_type, file_path)"
        " SELECT n, 'ses_1', 'edit', '/w/folder' || n % 1000 || '/file.py'"
        " FROM generate_series(1, 20000) AS n",
        "ANALYZE opencode_file_events",
        "SET min_parallel_table_scan_size = 0",
        "SET parallel_setup_cost = 0",
        f"EXPLAIN {str(compiled).replace('%%', '%')}",
        url=postgres_store,
    )
    told = "\n".join(line for (line,) in plan)
    for name in ("file_path", "odd_path", "new_path"):
        assert f"ix_opencode_file_events_{name}" in told
    assert "Seq Scan on opencode_file_events" not in told


async def test_a_row_that_moves_changes_no_sum(postgres: Server, postgres_store: str) -> None:
    """An update writes a row anew, behind the others; 0.2 + 0.3 + 0.1 is less than this."""
    costs, total = [0.1, 0.2, 0.3], 0.1 + 0.2 + 0.3
    async with ocs.open(postgres_store, migrate=False) as service:
        session = await service.get_or_create_session("ses_1")
        for seq, cost in enumerate(costs):
            message = await service.persist_message(session, "assistant", [{"text": "a"}])
            row = {"id": message.id, "session_id": session.id, "seq": seq, "cost_usd": cost}
            await service.store.apply([Put("messages", [row])])
        for moved in range(len(costs)):
            assert (await service.store.totals())[session.id][2] == total
            assert (await service.sessions())["cost_usd"].tolist() == [total]
            move = f"UPDATE opencode_messages SET role = role WHERE seq = {moved}"
            postgres.execute(move, url=postgres_store)


async def test_rows_there_already_and_rows_twice_go_another_way_than_copy(
    postgres_store: str,
) -> None:
    async with ocs.open(postgres_store, migrate=False) as service:
        at = models.now()

        def put(*titles: tuple[str, str]) -> Put:
            times = {"created_at": at, "updated_at": at}
            return Put("sessions", [{"id": id, "title": title, **times} for id, title in titles])

        await service.store.apply([put(("a", "1"), ("b", "1"))])
        await service.store.apply([put(("b", "2"), ("c", "2"))])
        await service.store.apply([put(("d", "3"), ("d", "4"), ("a", "3"))])
        found = await service.store.select("sessions", ["id", "title"])
        assert sorted(found) == [("a", "3"), ("b", "2"), ("c", "2"), ("d", "4")]


async def test_a_plan_that_is_out_of_date_costs_nothing(
    postgres: Server, postgres_store: str
) -> None:
    async with ocs.open(postgres_store, migrate=False) as service:
        session = await service.get_or_create_session("ses_1")
        await service.persist_message(session, "user", [{"text": "a"}])
        change = "ALTER TABLE opencode_sessions ALTER COLUMN title TYPE VARCHAR(900)"
        postgres.execute(change, url=postgres_store)
        session = await service.get_or_create_session("ses_1", title="Title")
        await service.persist_message(session, "user", [{"text": "b"}])
        assert not service.pending
        assert (await service.get_session("ses_1")).title == "Title"
    back = "ALTER TABLE opencode_sessions ALTER COLUMN title TYPE TEXT"
    postgres.execute(back, url=postgres_store)


async def test_a_server_that_goes_and_comes_back(postgres: Server) -> None:
    place = binaries()
    assert place
    with Server(place, durable=True) as server:
        url = server.database("store", open_and_close)
        async with ocs.open(url, migrate=False) as service:
            session = await service.get_or_create_session("ses_1")
            texts = [f"{number}" for number in range(30)]
            for number, text in enumerate(texts):
                if number == 10:
                    server.stop("immediate")
                if number == 20:
                    assert [write.is_parked for write in service.pending] == [False] * 10
                    server.start()
                await service.persist_message(session, "user", [{"text": text}])
            await service.flush()
            assert not service.pending
            stored = await service.list_messages("ses_1")
            assert [message.content for message in stored] == texts


# What an application's env.py says: the lines of docs/moving.md.
INCLUDE_NAME = """
def include_name(name, type_, parent_names):
    return type_ != "table" or not name.startswith("opencode_")
"""


async def test_an_applications_autogenerate_leaves_our_tables_alone(
    empty_database: str,
) -> None:
    assert INCLUDE_NAME.strip() in (ROOT / "docs" / "moving.md").read_text()
    own: dict[str, Any] = {}
    exec(INCLUDE_NAME, own)
    await ocs.migrate(empty_database)
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True))
    engine = create_async_engine(with_driver(empty_database))

    def compared(connection: Connection, **options: Any) -> set[tuple[str, str]]:
        context = MigrationContext.configure(connection, opts=options)
        return {(change[0], change[1].name) for change in compare_metadata(context, metadata)}

    async with engine.connect() as connection:
        without = await connection.run_sync(compared)
        assert ("remove_table", "opencode_sessions") in without
        found = await connection.run_sync(
            lambda sync: compared(sync, include_name=own["include_name"])
        )
        assert found == {("add_table", "orders")}
    await engine.dispose()
