"""Whole tables of PostgreSQL come by COPY as they come row by row, whatever they hold."""

import asyncio
import gc
from datetime import datetime
from typing import Any

import asyncpg
import pandas as pd
import pytest
from handmade import said
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from postgres import Server
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url
from test_loading import NAMES
from tqdm.auto import tqdm

import opencode_sessions as ocs
from opencode_sessions.analytics import building, framing, load, loading
from opencode_sessions.store import NotAtOnce, StoreFailed, copying
from opencode_sessions.store.meaning import translated
from opencode_sessions.store.sql import SqlStore

ONE_MORE = """
    INSERT INTO older SELECT (jsonb_populate_record(message, '{"id": "msg_before"}')).*
    FROM opencode_messages AS message WHERE seq = 3
"""
AS_OTHER = "ALTER TABLE opencode_messages RENAME TO other"
PARTITIONED = """
    CREATE TABLE opencode_messages (LIKE other) PARTITION BY HASH (id);
    CREATE TABLE part PARTITION OF opencode_messages FOR VALUES WITH (MODULUS 1, REMAINDER 0)
"""
ROUNDED = "extra_float_digits = -9"
HOSTILE = st.text(
    st.sampled_from('",\n\r\t\b\f\v\\.tfbvnrN0é😀 ') | st.characters(exclude_categories=["Cs"])
).map(
    lambda text: text.replace("\0", "")  # which PostgreSQL has not
)


async def test_a_table_of_postgresql_that_breaks_off_is_read_row_by_row(
    postgres_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows have come when the connection is gone: nothing is twice, nothing is missing."""
    broken, bars = [], []
    copy = asyncpg.Connection.copy_from_table

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, **how: Any) -> None:
            super().__init__(**how)
            bars.append(self)

    async def breaks_off(self: asyncpg.Connection, table: str, *, output: Any, **how: Any) -> None:
        async def some(received: bytes) -> None:
            for row in received.splitlines(keepends=True)[:8]:
                await output(row)
            raise asyncpg.ConnectionDoesNotExistError("it broke off")

        breaks = table == "opencode_messages"
        broken.append(breaks)
        await copy(self, table, output=some if breaks else output, **how)

    async with ocs.open(postgres_store) as svc:
        await said(svc, *map(str, range(9)))
        monkeypatch.setattr(loading, "tqdm", Bar)
        expected = await load(svc)
        monkeypatch.setattr(copying, "BLOCK", 1)
        monkeypatch.setattr(asyncpg.Connection, "copy_from_table", breaks_off)
        found = await load(svc)
    for name in NAMES:
        pd.testing.assert_frame_equal(
            getattr(found, name), getattr(expected, name), check_exact=True
        )
    assert any(broken)
    assert bars[1].n == sum(len(getattr(found, name)) for name in NAMES if name != "sessions")


async def test_what_fails_before_it_is_connected_leaves_no_loop_open() -> None:
    """An open one warns when it is collected."""

    def enter() -> None:
        with copying.PostgresWhole(make_url("postgresql+asyncpg://nowhere/it?told=nothing")):
            pass

    with pytest.raises(TypeError, match="told"):
        await asyncio.to_thread(enter)
    gc.collect()


def test_a_database_that_took_too_long_is_not_told_of_without_a_word() -> None:
    """asyncpg's TimeoutError, of `command_timeout`, has none."""
    with pytest.raises(StoreFailed, match="TimeoutError"), translated():
        raise TimeoutError


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.none() | HOSTILE,
            st.none() | HOSTILE,
            st.none() | st.floats(),
            st.none() | st.datetimes(datetime(1000, 1, 1)),
            st.none() | st.booleans(),
        ),
        min_size=9,
        max_size=9,
    ),
    st.sampled_from([1, 50, copying.BLOCK]),
    st.integers(1, 200),
)
@example(
    [
        (text, text, 0.1, None, None)
        for text in ["\\.", "\\N", "\r\n", "\\\n\r\t\b\f\v", "\\\\n", "\\t", "", None, "t"]
    ],
    1,
    1,
)
@example([(None, None, None, None, None)] * 9, 1, 200)
async def test_rows_of_postgresql_whatever_they_hold(
    nine_said: str, rows: list[tuple[Any, ...]], block: int, piece: int
) -> None:
    """However a server cuts them in pieces, too."""
    copy = asyncpg.Connection.copy_from_table

    async def in_pieces(self: asyncpg.Connection, table: str, *, output: Any, **how: Any) -> None:
        async def pieces(received: bytes) -> None:
            for start in range(0, len(received), piece):
                await output(received[start : start + piece])

        await copy(self, table, output=pieces, **how)

    connection = await asyncpg.connect(nine_said)
    try:
        await connection.executemany(
            "UPDATE opencode_messages SET content = $1, error = $2, model = $2::text,"
            " cost_usd = $3, created_at = $4 AT TIME ZONE 'UTC', is_fork_copy = $5 WHERE seq = $6",
            [(*row, seq) for seq, row in enumerate(rows)],
        )
    finally:
        await connection.close()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(copying, "BLOCK", block)
        patched.setattr(copying, "LITTLE", 0)
        patched.setattr(asyncpg.Connection, "copy_from_table", in_pieces)
        assert await read_at_once_as_row_by_row(nine_said)


@pytest.mark.parametrize(
    ("changed", "is_at_once"),
    [
        ("ALTER TABLE opencode_messages ALTER created_at TYPE timestamp", True),  # others' tables
        ("ALTER TABLE opencode_messages ALTER role TYPE varchar(20)", True),
        ("ALTER TABLE opencode_messages ALTER tokens_input TYPE text USING 'many'", False),
        ("UPDATE opencode_messages SET created_at = 'infinity' WHERE seq = 3", False),
        ("UPDATE opencode_messages SET content = repeat('long ', 3000000) WHERE seq = 3", True),
        ("UPDATE opencode_messages SET cost_usd = 0.1::float8 + 0.2::float8", True),
        (f"CREATE TABLE older () INHERITS (opencode_messages); {ONE_MORE}", True),
        (f"{AS_OTHER}; CREATE VIEW opencode_messages AS TABLE other", True),
        (f"{AS_OTHER}; {PARTITIONED}; INSERT INTO opencode_messages TABLE other", True),
        ("TRUNCATE opencode_sessions CASCADE", True),
    ],
)
async def test_tables_of_postgresql_however_they_are(
    nine_said: str, postgres: Server, changed: str, is_at_once: bool
) -> None:
    name = nine_said.rpartition("/")[2]
    defaults = (f"ALTER DATABASE {name} SET {how}" for how in ("datestyle = German", ROUNDED))
    postgres.execute(*defaults, *changed.split(";"), url=nine_said)
    assert await read_at_once_as_row_by_row(nine_said) is is_at_once


@pytest.fixture
def nine_said(postgres_database: str) -> str:
    async def say() -> None:
        async with ocs.open(postgres_database) as svc:
            await said(svc, *map(str, range(9)))

    asyncio.run(say())
    return postgres_database


async def read_at_once_as_row_by_row(url: str) -> bool:
    """Whether messages were read at once; they are the same, or refused the same, row by row."""
    scans = []

    async def read(svc: ocs.OpencodeSessionService) -> pd.DataFrame | str:
        try:
            return await svc.messages()
        except (ocs.OpencodeSessionsError, ValueError, TypeError) as error:
            return type(error).__name__

    async def scan(self: SqlStore, *asked: Any) -> None:
        scans.append(asked)
        await scanned(self, *asked)

    scanned = SqlStore.scan
    async with ocs.open(url, migrate=False) as svc:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(SqlStore, "scan", scan)
            found = await read(svc)
        svc.store.whole = lambda: None  # type: ignore[method-assign]
        expected = await read(svc)
    if isinstance(found, str):
        assert found == expected
    else:
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    return not scans


async def test_large_frames_are_made_as_small_ones(
    nine_said: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Column by column, several at a time, and put in order there."""
    for name in ("messages", "tool_calls", "file_events"):
        moved = f"UPDATE opencode_{name} SET seq = seq WHERE seq % 2 = 0"  # behind the others
        postgres.execute(moved, url=nine_said)
    async with ocs.open(nine_said, migrate=False) as svc:
        small = await load(svc)
        for room in (building, framing):
            monkeypatch.setattr(room, "MANY", 0)
        monkeypatch.setattr(building, "SLICES", 0)
        large = await load(svc)
    for name in NAMES:
        pd.testing.assert_frame_equal(getattr(large, name), getattr(small, name), check_exact=True)
        assert len(getattr(large, name)) == (1 if name == "sessions" else 9)
    assert list(large.file_events["seq"]) == list(range(9))


async def test_what_two_read_is_of_one_moment(
    nine_said: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody stores after the first has begun, the second does not see either."""
    twins = []
    twin = copying.PostgresWhole.twin

    def later(self: copying.PostgresWhole) -> copying.PostgresWhole:
        deleted = [f"DELETE FROM opencode_{name} WHERE seq > 3" for name in NAMES[:0:-1]]
        postgres.execute(*deleted, url=nine_said)
        twins.append(twin(self))
        return twins[-1]

    monkeypatch.setattr(copying.PostgresWhole, "twin", later)
    async with ocs.open(nine_said, migrate=False) as svc:
        for expected in (9, 4):  # before, and when all is over
            found = await load(svc)
            assert {len(getattr(found, name)) for name in NAMES[1:]} == {expected}
            assert len(twins) == 1
            twins.clear()


async def test_a_files_events_come_in_one_transaction(nine_said: str) -> None:
    begun: list[object] = []
    note = begun.append
    async with ocs.open(nine_said, migrate=False) as svc:
        path = (await svc.file_events())["file_path"].dropna().iloc[0]
        event.listen(Engine, "begin", note)
        try:
            assert len(await svc.file_events(file_path=path))
        finally:
            event.remove(Engine, "begin", note)
    assert len(begun) == 1


async def test_what_is_read_row_by_row_is_not_read_at_once_first(
    nine_said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a table was read for nothing")

    monkeypatch.setattr(copying.PostgresWhole, "batches", read)
    async with ocs.open(nine_said, migrate=False) as svc:
        assert len((await load(svc, parts=True)).messages) == 9


async def test_who_lets_in_one_alone_is_read_one_table_after_the_other(
    nine_said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin = copying.PostgresWhole.begin

    def alone(self: copying.PostgresWhole) -> None:
        begin(self)
        if self._moment is not None:
            raise NotAtOnce("too many connections")

    async with ocs.open(nine_said, migrate=False) as svc:
        expected = await load(svc)
        monkeypatch.setattr(copying.PostgresWhole, "begin", alone)
        with caplog.at_level("DEBUG", logger="opencode_sessions"):
            found = await load(svc)
            events = await svc.file_events()
    for name in NAMES:
        pd.testing.assert_frame_equal(
            getattr(found, name), getattr(expected, name), check_exact=True
        )
    pd.testing.assert_frame_equal(events, expected.file_events, check_exact=True)
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if text.startswith("reading")] == [
        "reading one table after the other: too many connections"
    ] * 2
    assert not any("row by row" in text for text in told)
