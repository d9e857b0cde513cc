"""On an application's AsyncSession: what is theirs stays theirs, whatever happens to ours."""

import asyncio
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import pytest
from conftest import Recording, with_driver
from outside import Outside
from sqlalchemy import event, inspect, select, text
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionService, PersistenceError, SchemaError
from opencode_sessions.models import OpencodeMessage
from opencode_sessions.store import CallerWorkFailed, StoreFailed

FLAT = [{"type": "tool_use", "name": "read", "input": {"path": "a.py"}}]


class Base(DeclarativeBase):
    pass


class Order(Base):
    """A table of the application's own."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]


@pytest.fixture
async def own_table(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


@pytest.fixture
def service(db: AsyncSession, own_table: None) -> OpencodeSessionService:
    return OpencodeSessionService(db)


@pytest.fixture
def outside(engine: AsyncEngine, request: pytest.FixtureRequest) -> Outside:
    is_sqlite = engine.dialect.name == "sqlite"
    return Outside(engine.url, None if is_sqlite else request.getfixturevalue("postgres"))


@pytest.fixture
async def impatient(engine: AsyncEngine, own_table: None) -> None:
    """Waits for no lock: five seconds are for real life."""
    event.listen(engine.sync_engine, "connect", _no_wait)
    await engine.dispose()  # those connected before would wait


def _no_wait(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    is_sqlite = type(connection).__name__.startswith("AsyncAdapt_aiosqlite")
    cursor.execute("PRAGMA busy_timeout=1" if is_sqlite else "SET lock_timeout = '1ms'")
    cursor.close()


MESSAGES = "SELECT content FROM opencode_messages ORDER BY seq"
ORDERS = "SELECT what FROM orders ORDER BY id"


async def say(service: OpencodeSessionService, session: Any, text: str) -> OpencodeMessage:
    return await service.persist_message(session, "user", [{"text": text}])


# -- commits and rollbacks -------------------------------------------------------------------------


async def test_each_write_is_committed_and_commits_what_the_caller_had_pending(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside
) -> None:
    session = await service.get_or_create_session("ses_1")
    assert outside.rows("SELECT opencode_id FROM opencode_sessions") == ["ses_1"]
    db.add(Order(id=1, what="unflushed"))
    await say(service, session, "a")
    assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["a"], ["unflushed"])
    db.add(Order(id=2, what="flushed"))
    await db.flush()
    message = await say(service, session, "b")
    assert outside.rows(ORDERS) == ["unflushed", "flushed"]
    await service.persist_file_events(message, FLAT)
    assert outside.rows("SELECT count(*) FROM opencode_file_events") == [1]


async def test_our_objects_outlive_the_callers_commits_and_rollbacks(
    service: OpencodeSessionService, db: AsyncSession
) -> None:
    session = await service.get_or_create_session("ses_1", "build", "/p", None, "Title")
    message = await say(service, session, "a")
    order = Order(id=1, what="expired by a commit, as SQLAlchemy has it")
    db.add(order)
    await db.commit()
    assert inspect(order).expired
    for end in (db.rollback, db.commit, db.close):
        await end()
        assert (session.title, message.content, message.session_id) == ("Title", "a", session.id)


async def test_a_failed_write_expires_nothing_of_the_callers_if_commits_do_not(
    engine: AsyncEngine, own_table: None
) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as db:
        service = OpencodeSessionService(db)
        await db.execute(text("CREATE UNIQUE INDEX only_once ON opencode_messages (content)"))
        order = Order(id=1, what="mine")
        db.add(order)
        session = await service.get_or_create_session("ses_1")
        for _ in range(2):
            await say(service, session, "a")
        assert len(service.pending) == 1
        assert not inspect(order).expired


async def test_an_integrity_error_amid_writes_spoils_none(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside
) -> None:
    await db.execute(text("CREATE UNIQUE INDEX only_once ON opencode_messages (content)"))
    await db.commit()
    session = await service.get_or_create_session("ses_1")
    for content in ("a", "b", "a", "c", "b", "d"):
        await say(service, session, content)
    assert outside.rows(MESSAGES) == ["a", "b", "c", "d"]
    assert [write.is_parked for write in service.pending] == [True, True]
    assert re.search("UNIQUE constraint failed|violates unique", service.pending[0].reason)
    assert isinstance(service.last_error, StoreFailed)
    assert isinstance(service.last_error.__cause__, IntegrityError)


async def test_a_failed_write_leaves_the_callers_uncommitted_work_as_it_is(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside
) -> None:
    await db.execute(text("CREATE UNIQUE INDEX only_once ON opencode_messages (content)"))
    session = await service.get_or_create_session("ses_1")
    await say(service, session, "a")
    db.add(Order(id=1, what="flushed"))
    await db.flush()
    db.add(Order(id=2, what="unflushed"))
    await say(service, session, "a")
    assert len(service.pending) == 1
    assert outside.rows(ORDERS) == []
    assert list(await db.scalars(select(Order.what))) == ["flushed", "unflushed"]
    await db.rollback()
    assert list(await db.scalars(select(Order.what))) == [], "it was still the caller's to undo"
    await say(service, session, "b")
    assert outside.rows(MESSAGES) == ["a", "b"]


async def test_a_failed_write_holds_no_lock(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside
) -> None:
    await db.execute(text("CREATE UNIQUE INDEX only_once ON opencode_messages (content)"))
    session = await service.get_or_create_session("ses_1")
    await say(service, session, "a")
    await say(service, session, "a")
    assert len(service.pending) == 1
    outside.run("INSERT INTO orders VALUES (1, 'of another program')")


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_what_sqlite_itself_rolled_back_is_said_and_passes(
    service: OpencodeSessionService,
    db: AsyncSession,
    outside: Outside,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # an I/O error in the middle of a transaction ends all of it, our savepoint too
    await db.execute(
        text(
            "CREATE TRIGGER fails BEFORE INSERT ON opencode_messages WHEN new.content = 'bad' "
            "BEGIN SELECT RAISE(ROLLBACK, 'disk I/O error'); END"
        )
    )
    session = await service.get_or_create_session("ses_1")
    db.add(Order(id=1, what="mine"))
    await say(service, session, "bad")
    (write,) = service.pending
    assert (write.reason, write.is_parked) == ("disk I/O error", False)
    assert "what you had not committed in the AsyncSession was rolled back" in caplog.text
    assert "new.content" not in caplog.text
    await db.execute(text("DROP TRIGGER fails"))
    await say(service, session, "b")
    assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["bad", "b"], [])


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_commit_that_fails_loses_none_of_ours_and_says_so_of_the_callers(
    service: OpencodeSessionService,
    db: AsyncSession,
    outside: Outside,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = await service.get_or_create_session("ses_1")
    with closing(sqlite3.connect(str(db.get_bind().url.database))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM orders").fetchall()  # a reader keeps a commit from happening
        await say(service, session, "a")
        assert [write.is_parked for write in service.pending] == [False]
        assert "rolled back" not in caplog.text, "the caller had nothing to lose"
        db.add(Order(id=1, what="mine"))
        await say(service, session, "b")
        assert len(service.pending) == 2
    await say(service, session, "c")
    assert outside.rows(MESSAGES) == ["a", "b", "c"]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_a_commit_that_the_callers_own_rows_forbid_costs_ours_nothing(
    service: OpencodeSessionService,
    db: AsyncSession,
    outside: Outside,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # looked at in the commit alone
    await db.execute(text("ALTER TABLE orders ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED"))
    session = await service.get_or_create_session("ses_1")
    db.add_all([Order(id=1, what="same"), Order(id=2, what="same")])
    await say(service, session, "a")
    assert "what you had not committed in the AsyncSession was rolled back" in caplog.text
    await say(service, session, "b")
    assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["a", "b"], [])
    assert not service.pending


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_a_failed_write_in_autocommit_leaves_no_transaction_behind(
    engine: AsyncEngine, own_table: None, outside: Outside
) -> None:
    own = create_async_engine(engine.url, isolation_level="AUTOCOMMIT", pool_size=1)
    async with AsyncSession(own) as db:
        await db.execute(text("CREATE UNIQUE INDEX only_once ON opencode_messages (content)"))
        service = OpencodeSessionService(db)
        session = await service.get_or_create_session("ses_1")
        for content in "aab":
            await say(service, session, content)
        assert [write.is_parked for write in service.pending] == [True]
        assert outside.rows(MESSAGES) == ["a", "b"]
        db.add(Order(id=1, what="mine"))
        await db.flush()
        assert outside.rows(ORDERS) == ["mine"], "still at once, as the application has it"
    await own.dispose()


# -- what the caller's own objects do --------------------------------------------------------------


async def test_a_flush_error_of_the_callers_own_is_reported_as_theirs(
    service: OpencodeSessionService,
    db: AsyncSession,
    outside: Outside,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = await service.get_or_create_session("ses_1")
    db.add(Order(id=1, what="a"))
    await db.commit()
    db.add(Order(id=1, what="doubled\x1b[31m"))
    message = await say(service, session, "ours")
    assert message.content == "ours"
    assert not service.pending
    assert outside.rows(MESSAGES) == ["ours"]
    assert isinstance(service.last_error, CallerWorkFailed)
    assert isinstance(service.last_error.__cause__, IntegrityError)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    said, _, reason = record.getMessage().partition(": ")
    assert said == "what you had not committed in the AsyncSession was rolled back"
    assert reason in {
        "UNIQUE constraint failed: orders.id",
        'duplicate key value violates unique constraint "orders_pkey"',
    }
    db.add(Order(id=2, what="b"))
    await say(service, session, "next")
    assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["ours", "next"], ["a", "b"])


async def test_a_flush_error_of_the_callers_own_while_what_waits_is_tried_again(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside, impatient: None
) -> None:
    async with outside.locked() as execute:
        session = await service.get_or_create_session("ses_1")
        await say(service, session, "a")
        await execute("INSERT INTO opencode_sessions (id, opencode_id) VALUES ('x', 'ses_1')")
        await execute("COMMIT")
    assert len(service.pending) == 2
    db.add(Order(id=1, what=None))
    await service.flush()
    assert isinstance(service.last_error, CallerWorkFailed)
    assert not service.pending
    await say(service, session, "b")
    assert outside.rows("SELECT session_id, content FROM opencode_messages ORDER BY seq") == [
        ("x", "a"),
        ("x", "b"),
    ]


async def test_a_flush_error_of_the_callers_own_is_raised_when_asked(
    db: AsyncSession, own_table: None, outside: Outside
) -> None:
    service = OpencodeSessionService(db, on_error="raise")
    session = await service.get_or_create_session("ses_1")
    db.add(Order(id=1, what=None))
    with pytest.raises(PersistenceError, match="Our rows are stored, but what you had not"):
        await say(service, session, "ours")
    assert outside.rows(MESSAGES) == ["ours"]
    await say(service, session, "next")


@pytest.mark.parametrize("own_error", [ValueError("not on Sundays"), KeyError("hook")])
async def test_an_error_in_the_callers_own_hooks_is_theirs_too(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside, own_error: Exception
) -> None:
    def refuse(*_args: object) -> None:
        raise own_error

    session = await service.get_or_create_session("ses_1")
    event.listen(db.sync_session, "before_flush", refuse)
    db.add(Order(id=1, what="a"))
    await say(service, session, "ours")
    assert outside.rows(MESSAGES) == ["ours"]
    assert service.last_error is not None
    assert service.last_error.__cause__ is own_error


async def test_a_session_left_to_be_rolled_back(
    service: OpencodeSessionService,
    db: AsyncSession,
    outside: Outside,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = await service.get_or_create_session("ses_1")
    for _ in range(3):
        db.add(Order(id=1, what=None))
        with pytest.raises(IntegrityError):
            await db.flush()
        with pytest.raises(PendingRollbackError):
            await db.execute(select(Order))
        await say(service, session, "a")
    assert outside.rows(MESSAGES) == ["a"] * 3
    assert not service.pending
    assert len(caplog.records) == 3
    db.add(Order(id=1, what=None))
    with pytest.raises(IntegrityError):
        await db.flush()
    assert len(await service.list_messages("ses_1")) == 3, "reading goes on as well"


async def test_our_own_reads_flush_nothing_of_the_callers(
    service: OpencodeSessionService, db: AsyncSession
) -> None:
    await service.get_or_create_session("ses_1")
    broken = Order(id=1, what=None)
    db.add(broken)
    assert (await service.get_session("ses_1")).opencode_id == "ses_1"
    assert len(await service.sessions()) == 1
    assert broken in db.new
    db.expunge(broken)


async def test_reading_leaves_no_transaction_behind(
    service: OpencodeSessionService, db: AsyncSession
) -> None:
    await service.get_or_create_session("ses_1")
    assert not db.in_transaction()
    await service.get_session("ses_1")
    assert not db.in_transaction()
    db.add(Order(id=1, what="pending"))
    await service.get_session("ses_1")
    assert db.in_transaction()
    await db.rollback()


# -- locks -----------------------------------------------------------------------------------------


async def test_a_locked_database_costs_nobody_anything(
    engine: AsyncEngine, own_table: None, outside: Outside, impatient: None
) -> None:
    async with AsyncSession(engine) as db:
        service = OpencodeSessionService(db)
        session = await service.get_or_create_session("ses_1")
        async with outside.locked():
            order = Order(id=1, what="mine")
            db.add(order)
            await say(service, session, "a")
            (write,) = service.pending
            assert write.reason in {
                "database is locked",
                "canceling statement due to lock timeout",
            }
            assert not write.is_parked
            if outside.is_sqlite:
                assert order in db.new, "not flushed into a transaction that cannot be"
        await say(service, session, "b")
        assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["a", "b"], ["mine"])
        assert not service.pending


def deferred(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def by_the_manual(engine: AsyncEngine) -> None:
    """SQLAlchemy's recipe for real transactions on SQLite, which many applications have."""

    def no_implicit_begin(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    event.listen(engine.sync_engine, "connect", no_implicit_begin)
    event.listen(engine.sync_engine, "begin", deferred)


@pytest.mark.parametrize(
    ("engine", "set_up"),
    [("sqlite", by_the_manual), ("sqlite", None), ("postgresql", None)],
    indirect=["engine"],
)
@pytest.mark.parametrize(
    "options", [{}, {"isolation_level": "AUTOCOMMIT"}, {"isolation_level": "SERIALIZABLE"}]
)
async def test_engines_set_up_otherwise(
    engine: AsyncEngine,
    own_table: None,
    outside: Outside,
    options: dict[str, str],
    set_up: Callable[[AsyncEngine], None] | None,
) -> None:
    own = create_async_engine(engine.url, **options)
    if set_up:
        set_up(own)
    try:
        async with AsyncSession(own) as db:
            service = OpencodeSessionService(db, on_error="raise")
            session = await service.get_or_create_session("ses_1")
            await service.list_messages(session)
            async with outside.locked() as execute:  # between our read and our write
                await execute("INSERT INTO orders VALUES (9, 'theirs')")
                await execute("COMMIT")
            db.add(Order(id=1, what="mine"))
            await say(service, session, "a")
            assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["a"], ["mine", "theirs"])
    finally:
        await own.dispose()


async def test_a_session_inside_the_callers_own_transaction(
    engine: AsyncEngine, own_table: None, outside: Outside
) -> None:
    """As test suites do it: all that is committed in the session is undone at the end."""
    if outside.is_sqlite:
        by_the_manual(engine)
    await engine.dispose()
    async with engine.connect() as connection:
        transaction = await connection.begin()
        mode = "create_savepoint"
        async with AsyncSession(bind=connection, join_transaction_mode=mode) as db:
            service = OpencodeSessionService(db, on_error="raise")
            session = await service.get_or_create_session("ses_1")
            db.add(Order(id=1, what="mine"))
            await say(service, session, "a")
            assert len(await service.list_messages("ses_1")) == 1
        await transaction.rollback()
    assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == ([], [])


async def test_inside_a_transaction_block_of_the_callers(
    service: OpencodeSessionService, db: AsyncSession, outside: Outside
) -> None:
    """Our first commit ends it, so the rest waits until the block is left; nothing is lost."""
    async with db.begin():
        db.add(Order(id=1, what="mine"))
        session = await service.get_or_create_session("ses_1")
        for content in "ab":
            await say(service, session, content)
        assert [write.is_parked for write in service.pending] == [False, False]
    async with db.begin_nested():
        db.add(Order(id=2, what="mine too"))
        await say(service, session, "c")
    await service.flush()
    assert not service.pending
    assert (outside.rows(MESSAGES), outside.rows(ORDERS)) == (["a", "b", "c"], ["mine", "mine too"])


# -- tables ----------------------------------------------------------------------------------------


OLD = """
CREATE TABLE opencode_sessions (id VARCHAR(36) PRIMARY KEY, opencode_id VARCHAR, agent_name VARCHAR,
    workdir VARCHAR, abi_thread_id VARCHAR, title VARCHAR,
    created_at DATETIME, updated_at DATETIME);
CREATE TABLE opencode_messages (id VARCHAR(36) PRIMARY KEY, session_id VARCHAR(36), role VARCHAR,
    content TEXT, parts JSON, created_at DATETIME);
CREATE TABLE opencode_file_events (id VARCHAR(36) PRIMARY KEY, session_id VARCHAR(36),
    message_id VARCHAR(36), event_type VARCHAR, file_path VARCHAR, diff TEXT, command TEXT,
    created_at DATETIME);
"""


@pytest.fixture(params=["missing", "old"])
async def unready(
    request: pytest.FixtureRequest, empty_database: str
) -> AsyncIterator[AsyncEngine]:
    """An application's database without our tables, and one with the three of old."""
    old = OLD if empty_database.startswith("sqlite") else OLD.replace("DATETIME", "TIMESTAMPTZ")
    engine = create_async_engine(with_driver(empty_database))
    async with engine.begin() as connection:
        for statement in old.split(";")[:-1] if request.param == "old" else ():
            await connection.execute(text(statement))
    yield engine
    await engine.dispose()


HELP = r"The tables are missing or older .*`await ocs\.migrate\(engine\)` or `opencode-sessions mi"


async def test_tables_that_are_missing_or_old_are_waited_for(
    unready: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncSession(unready) as db:
        service = OpencodeSessionService(db)
        session = await service.get_or_create_session("ses_1")
        message = await service.persist_message(session, "user", FLAT)
        await service.persist_file_events(message, FLAT)
        assert isinstance(service.last_error, SchemaError)
        assert "opencode-sessions migrate URL" in caplog.text
        assert [write.is_parked for write in service.pending] == [False] * 3
        with pytest.raises(SchemaError, match=HELP):
            await service.list_messages("ses_1")
        await ocs.migrate(unready)
        await service.get_or_create_session("ses_2")
        assert not service.pending
        assert [e.message_id for e in await service.list_file_events("ses_1")] == [message.id]


async def test_tables_that_are_missing_or_old_raise_when_asked(
    unready: AsyncEngine, trailmap: Recording
) -> None:
    async with AsyncSession(unready) as db:
        service = OpencodeSessionService(db, on_error="raise")
        with pytest.raises(PersistenceError, match=HELP):
            await service.get_or_create_session("ses_1")
        with pytest.raises(SchemaError, match=HELP):
            await service.import_opencode(trailmap.database)
    with pytest.raises(SchemaError, match=HELP):
        await ocs.open(unready.url, migrate=False)


# -- several at once -------------------------------------------------------------------------------


async def test_two_services_on_one_session(
    db: AsyncSession, own_table: None, outside: Outside
) -> None:
    services = [OpencodeSessionService(db) for _ in range(2)]
    session = await services[0].get_or_create_session("ses_1")

    async def work(number: int) -> None:
        service = services[number % 2]
        message = await say(service, session, str(number))
        await service.persist_file_events(message, FLAT)
        assert message.id in {each.id for each in await service.list_messages("ses_1")}

    await asyncio.gather(*(work(number) for number in range(30)))
    assert not services[0].pending
    assert not services[1].pending
    assert sorted(outside.rows(MESSAGES)) == sorted(map(str, range(30)))
    assert outside.rows("SELECT seq FROM opencode_file_events ORDER BY seq") == list(range(30))


async def test_closing_leaves_the_callers_session_alone(
    db: AsyncSession, own_table: None, outside: Outside
) -> None:
    async with OpencodeSessionService(db) as service:
        await service.get_or_create_session("ses_1")
        db.add(Order(id=1, what="mine"))
    assert outside.rows(ORDERS) == []
    await db.commit()
    assert outside.rows(ORDERS) == ["mine"]


async def test_a_read_that_is_cancelled_ends_what_it_began(
    service: OpencodeSessionService, db: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement cancelled in the middle would cost the session its connection."""
    session = await service.get_or_create_session("ses_1")
    await service.persist_file_events(await say(service, session, "1"), FLAT)
    begun, may_end = asyncio.Event(), asyncio.Event()
    ended: list[bool] = []
    commit = db.commit

    async def slow() -> None:
        begun.set()
        await may_end.wait()
        await commit()
        ended.append(True)

    monkeypatch.setattr(db, "commit", slow)
    reading = asyncio.create_task(service.file_events(file_path="a.py"))
    await begun.wait()
    reading.cancel()
    asyncio.get_running_loop().call_soon(may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert ended
    assert not db.in_transaction()
    assert len(await service.file_events(file_path="a.py")) == 1
