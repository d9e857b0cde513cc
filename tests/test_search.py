"""Search: the same answers from every store, from what is stored now, whatever is asked."""

import asyncio
import random
import re
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Recording
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from postgres import OURS, Server
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner

import opencode_sessions as ocs
from opencode_sessions import words
from opencode_sessions.cli import app
from opencode_sessions.store import Put, engine, searching
from opencode_sessions.store.searching import postgresql, sqlite
from opencode_sessions.store.searching.answers import KINDS, Search

QUESTIONS = [
    *("cli.py", "trailmap/cli.py", "Traceback error", "failed", "parse", "add a"),
    *('"release 0.3"', "ValueError", "geojson", "distance", "nothing_has_this", "ge"),
]
HOSTILE = [
    *('"', '""', "'", "*", "NEAR(", "a NEAR b", "title:", "title : x", "^x", "-x", "x OR", "AND"),
    *("(", ")", "x)", "{path} : x", "x:*", "a & b", "!a", "a <-> b", "\\", "%", "_", "\0", ";--"),
    *("';DROP TABLE opencode_sessions", "\ud800", "x" * 100_000, "a " * 50_000, "١٢٣", "ﬁ", "é"),
]


async def add(svc: ocs.OpencodeSessionService, *parts: dict[str, Any], role: str = "user") -> Any:
    session = await svc.get_or_create_session("ses_1", "build", "/home/ana/shop", None, "A shop")
    message = await svc.persist_message(session, role, list(parts))
    await svc.persist_file_events(message, list(parts))
    return message


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def called(name: str, **given: str) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": given}


async def found(svc: ocs.OpencodeSessionService, text: str, **options: Any) -> list[str]:
    return list((await svc.search(text, progress=False, **options))["snippet"])


# Words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parse_config", "parse config"),
        ("parseConfig(x)", "parse config x"),
        ("ParseConfig", "parse config"),
        ("src/a.py", "src a py"),
        ("HTTPServer.serveForever", "http server serve forever"),
        ("UTF8Decoder utf8 v2", "utf8 decoder utf8 v2"),
        ("MAX_SIZE2", "max size2"),
        ("naïve Größe", "naïve größe"),
        ("a\u0000b\x1b[31m", "a b 31m"),
        ("", ""),
    ],
)
def test_words_of_code(text: str, expected: str) -> None:
    assert words.words(text)[0] == expected.split()


@given(st.text() | st.text("aB1_é ßΣİ-"))
def test_index_and_answer_have_the_same_words(text: str) -> None:
    assert words.words(text)[0] == [word for word, _, _ in words._words(text)]
    assert words.words(text)[1] == sorted({run for run, _, _ in words._runs(text)})


def test_long_text_has_as_many_words_in_both() -> None:
    text = "aB" * 70 + " " + "parseConfig x1 " * 9_000
    assert words.words(text)[0] == [word for word, _, _ in words._words(text)]


def test_runs_are_words_as_well() -> None:
    assert words.words("parseConfig HTTPServer plain x_y")[1] == ["httpserver", "parseconfig"]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("parse_config", "def parseConfig(path):"),
        ("parseConfig", "def parse_config(path):"),
        ("parseconfig", "def parseConfig(path):"),
        ("src/a.py", "/home/ana/src/a.py"),
        ("conf", "parse_config"),
        ("config parse", "parse_config"),
        ('"parse config"', "parseConfig"),
        ("PARSE", "parse"),
    ],
)
def test_question_that_is_answered(question: str, text: str) -> None:
    assert words.snippet(words.asked(question), text) == text


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("config_parse", "parse_config"),
        ("onfig", "parse_config"),
        ("co", "config"),
        ("src/b.py", "src/a.py src/b.ts"),
        ("one two", "one"),
    ],
)
def test_question_that_is_not(question: str, text: str) -> None:
    assert words.snippet(words.asked(question), text) is None


@given(st.text(), st.text())
def test_any_question_of_any_text(question: str, text: str) -> None:
    answer = words.snippet(words.asked(question), text)
    assert answer is None or isinstance(answer, str)
    for run in re.findall(r"[^\W_]+", text):
        assert words.snippet(words.asked(run), text) is not None


# Every store gives the same


@pytest.fixture(scope="module")
def memory(recordings: dict[str, Recording]) -> ocs.OpencodeSessionService:
    svc = ocs.OpencodeSessionService()

    async def fill() -> None:
        for name in ("trailmap-1.18.33", "opencode-1.18.33"):
            await svc.import_opencode(recordings[name].database, progress=False)

    asyncio.run(fill())
    return svc


@pytest.fixture(params=["sqlite", "postgresql", "postgresql, large", "without index"])
async def stored(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    recordings: dict[str, Recording],
    closing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> ocs.OpencodeSessionService:
    """The same in a database, with an index that came before half of it."""
    target: Any = tmp_path / "sessions.db"
    if request.param == "postgresql, large":  # for which all that is not new is left to the index
        monkeypatch.setattr(postgresql, "NEWEST", 60)
        monkeypatch.setattr(postgresql, "FEW", 10)
    if request.param != "sqlite":
        target = request.getfixturevalue("postgres_database")
    svc = await closing.enter_async_context(ocs.open(target))
    await svc.import_opencode(recordings["trailmap-1.18.33"].database, progress=False)
    if request.param.startswith("postgresql"):
        await svc.reindex(progress=False)
    await svc.search("anything", progress=False)
    await svc.import_opencode(recordings["opencode-1.18.33"].database, progress=False)
    return svc


async def test_every_store_answers_the_same(
    memory: ocs.OpencodeSessionService, stored: ocs.OpencodeSessionService
) -> None:
    answered = 0
    for question in QUESTIONS:
        for options in (
            {},
            {"kind": "path"},
            {"kind": ["output", "diff"], "limit": 1000},
            {"project": "trailmap", "limit": 7},
        ):
            expected = await memory.search(question, **options)  # type: ignore[arg-type]
            actual = await stored.search(question, progress=False, **options)  # type: ignore[arg-type]
            assert_frame_equal(actual, expected, obj=f"{question} {options}")
            answered += len(expected)
    assert answered > 500


@pytest.mark.parametrize("word", ["pytest", "geojson", "elevation", "sed"])
async def test_all_that_have_a_word_and_no_others(
    word: str, memory: ocs.OpencodeSessionService
) -> None:
    frames = await memory.frames()
    answers = await memory.search(word, kind=["command", "path"], limit=10_000)
    texts = pd.concat([frames.file_events["command"], frames.file_events["file_path"].astype(str)])
    ids = pd.concat([frames.file_events["event_id"]] * 2)
    has = texts.str.contains(rf"(?<![^\W_]){word}", case=False, na=False).to_numpy()
    assert sorted(answers["event_id"]) == sorted(ids[has])
    assert has.any()


async def test_answer_says_where_it_stands(memory: ocs.OpencodeSessionService) -> None:
    answers = await memory.search("distance", kind="diff", limit=3)
    frames = await memory.frames(diffs=True)
    events = frames.file_events.set_index("event_id").loc[list(answers["event_id"])]
    for column in ("time", "file_path", "session_id", "project", "message_id"):
        assert answers[column].tolist() == events[column].tolist()
    assert len(answers) == 3
    assert all("distance" in text.lower() for text in answers["snippet"])
    assert answers["time"].is_monotonic_decreasing
    titles = frames.sessions.set_index("session_id")["title"]
    assert answers["title"].tolist() == titles.loc[answers["session_id"]].tolist()


async def test_nothing_found_has_the_same_columns(memory: ocs.OpencodeSessionService) -> None:
    some = await memory.search("distance")
    for nothing in (await memory.search("xyzzy"), await memory.search(" ?! ")):
        assert nothing.empty
        assert nothing.dtypes.to_dict() == some.dtypes.to_dict()


async def test_kind_that_is_none(memory: ocs.OpencodeSessionService) -> None:
    with pytest.raises(ocs.OpencodeSessionsError, match="no kind sound"):
        await memory.search("x", kind="sound")  # type: ignore[arg-type]


# What is stored now


async def test_what_was_written_is_found_at_once(service: ocs.OpencodeSessionService) -> None:
    """In each mode, with and without an index."""
    for index in (False, True):
        if index:
            await service.reindex(progress=False)
        await add(service, said(f"Make the discount work {index}"))
        await add(
            service,
            said(f"It is readyNow{index}"),
            called("edit", path=f"/home/ana/shop/cart{index}.py", new_string="total = 0"),
            called("bash", command=f"pytest -k discount{index}"),
            role="assistant",
        )
        assert await found(service, f"discount {index}", kind="prompt")
        assert await found(service, f"ready now{index}", kind="answer")
        assert await found(service, f"cart{index}.py", kind="path")
        assert await found(service, "total", kind="diff", limit=1) == ["total = 0"]
        assert await found(service, f"discount{index}", kind="command")
        assert await found(service, "shop", kind="title") == ["A shop"]
        assert await found(service, "discount", project="shop")
        assert not await found(service, "discount", project="blog")


async def test_change_and_deletion_are_found_at_once(service: ocs.OpencodeSessionService) -> None:
    await service.reindex(progress=False)
    session = await service.get_or_create_session("ses_1", "build", "/shop", None, "Shop")
    for text in ("first apple", "second pear"):
        await service.persist_message(session, "user", [said(text)], message_id="msg_1")
        assert await found(service, text.split()[1]) == [text]
    assert not await found(service, "apple")
    await service.delete_session(session)
    assert not await found(service, "pear")
    assert not await found(service, "shop")


async def test_row_that_changes_again_and_again_is_found(
    service: ocs.OpencodeSessionService,
) -> None:
    """As an answer does that is stored while it grows, and is searched for meanwhile."""
    await service.reindex(progress=False)
    session = await service.get_or_create_session("ses_1", "build", "/shop", None, "Shop")
    for n in range(30):
        await service.persist_message(session, "user", [said(f"apple{n}")], message_id="msg_1")
        assert await found(service, "apple") == [f"apple{n}"]


async def test_rows_of_one_number_get_one_each(store: Path | str, monkeypatch: Any) -> None:
    """More of them than were looked at once, put into the index one by one and together."""
    monkeypatch.setattr(searching, "number", lambda _time, _id: 7)
    async with ocs.open(store) as svc:
        await svc.reindex(progress=False)
        for n in range(15):
            await add(svc, said(f"apple {n}"))
            assert len(await found(svc, "apple")) == n + 1
        await svc.reindex(progress=False)
        assert len(await found(svc, "apple")) == 15


async def test_many_rows_are_read_some_at_a_time(store: Path | str, monkeypatch: Any) -> None:
    monkeypatch.setattr(searching, "AT_ONCE", 2)
    async with ocs.open(store) as svc:
        for n in range(5):
            await add(svc, said(f"apple {n}"))
        await svc.reindex(progress=False)
        assert len(await found(svc, "apple")) == 5


async def test_the_loop_goes_on_while_an_index_gets_its_words(
    sqlite_store: Path, monkeypatch: Any
) -> None:
    threads, put_together = [], sqlite._lines

    def lines(entries: Any) -> str:
        threads.append(threading.current_thread())
        return put_together(entries)

    monkeypatch.setattr(sqlite, "_lines", lines)
    async with ocs.open(sqlite_store) as svc:
        await add(svc, said("apple"))
        assert await found(svc, "apple") == ["apple"]
    assert threads
    assert threading.main_thread() not in threads


TIMES = [
    *(datetime(2026, 3, 2, 9, minute, tzinfo=UTC) for minute in range(5)),
    *(datetime(2026, 3, 2, tzinfo=UTC) - timedelta(days=day) for day in (6, 7, 8, 20, 90, 900)),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, tzinfo=UTC),
]


async def test_rows_of_all_times_are_found_newest_first(store: Path | str) -> None:
    """In one week, over years, and of times that nobody lived in."""
    async with ocs.open(store) as svc:
        await svc.reindex(progress=False)
        session = await svc.get_or_create_session("ses_1", "build", "/shop", None, "Shop")
        rows = [
            {"id": f"msg_{n}", "session_id": session.id, "role": "user", "created_at": when,
             "content": f"apple{n} tart", "parts": []}
            for n, when in enumerate(TIMES)
        ]  # fmt: skip
        await svc.store.apply([Put("messages", rows)])
        times = sorted(TIMES, reverse=True)
        for limit in (1, 3, len(TIMES), 50):
            answers = await svc.search("apple", limit=limit, progress=False)
            assert answers["time"].tolist() == times[:limit]
        assert await found(svc, "apple3 tart") == ["apple3 tart"]
        assert len(await found(svc, "tart", project="shop")) == len(TIMES)


async def test_pages_of_any_weeks_are_those_of_memory(
    store: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in the same order, whatever their times, the limit and the sessions."""
    monkeypatch.setattr(searching, "PAGE", 7)
    dice = random.Random(1)
    reach = [1, 60, 86_400, 7 * 86_400, 400 * 86_400, 40 * 365 * 86_400]  # seconds
    rows = [
        {"id": f"msg_{n}", "opencode_id": f"msg_{n}", "session_id": f"ses_{dice.randrange(6)}",
         "role": "user", "parts": [],
         "created_at": TIMES[0] - timedelta(seconds=dice.randrange(dice.choice(reach))),
         "content": " ".join(dice.sample(["tart", "apple", "apples", "pear", "pie"], 2))}
        for n in range(400)
    ]  # fmt: skip
    async with ocs.open(store) as svc, ocs.OpencodeSessionService() as memory:
        await svc.reindex(progress=False)
        for one in (svc, memory):
            sessions = [
                {"id": f"ses_{n}", "opencode_id": f"ses_{n}", "agent_name": "build", "title": "x",
                 "workdir": f"/home/ana/shop{n // 3}", "created_at": TIMES[0],
                 "updated_at": TIMES[0]}
                for n in range(6)
            ]  # fmt: skip
            await one.store.apply([Put("sessions", sessions), Put("messages", rows)])
        for question in ("tart", "app", "apple pie", '"pear tart"', "none"):
            for limit in (1, 7, 20, 1000):
                for project in (None, "shop1"):
                    asked = {"limit": limit, "project": project, "progress": False}
                    expected = await memory.search(question, **asked)  # type: ignore[arg-type]
                    actual = await svc.search(question, **asked)  # type: ignore[arg-type]
                    assert_frame_equal(actual, expected, obj=f"{question} {asked}")
                    assert expected.empty == (question == "none")


async def test_other_program_that_writes_is_seen(sqlite_store: Path) -> None:
    async with ocs.open(sqlite_store) as svc:
        await add(svc, said("apple"))
        assert await found(svc, "apple")
        with closing(sqlite3.connect(sqlite_store)) as other, other:
            other.execute("UPDATE opencode_messages SET content = 'pear'")
        assert await found(svc, "pear") == ["pear"]
        assert not await found(svc, "apple")


async def test_index_that_no_longer_notes_changes_is_not_trusted(sqlite_store: Path) -> None:
    """As after a migration that makes a table anew, which drops its triggers."""
    async with ocs.open(sqlite_store) as svc:
        await add(svc, said("apple"))
        assert await found(svc, "apple")
    with closing(sqlite3.connect(sqlite_store)) as other, other:
        other.execute("DROP TRIGGER opencode_search_messages_update")
        other.execute("UPDATE opencode_messages SET content = 'pear'")
    async with ocs.open(sqlite_store) as svc:
        assert await found(svc, "pear") == ["pear"]
        assert await svc.store._index.is_made()  # type: ignore[attr-defined]


async def test_rows_of_one_moment_are_all_found(store: Path | str) -> None:
    at = pd.Timestamp("2026-01-05", tz="UTC").to_pydatetime()
    async with ocs.open(store) as svc:
        await svc.reindex(progress=False)
        message = await add(svc, *(called("bash", command=f"make it{n}") for n in range(300)))
        rows = await svc.store.select("file_events", ["id"], {"message_id": [message.id]})
        put = {"session_id": message.session_id, "event_type": "bash", "created_at": at}
        changed = [put | {"id": id, "command": f"make it{n}"} for n, (id,) in enumerate(rows)]
        await svc.store.apply([Put("file_events", changed)])
        assert len(await found(svc, "make", limit=1000)) == 300
        assert len(await found(svc, "it299", limit=1000)) == 1


async def test_word_that_stands_very_often_hides_no_other(store: Path | str) -> None:
    """PostgreSQL knows the first 255 places of a word."""
    text = "total = 1\n" * 500 + "total = last\n"
    async with ocs.open(store) as svc:
        await svc.reindex(progress=False)
        await add(svc, said(text))
        assert len(await found(svc, '"total last"')) == 1
        assert not await found(svc, '"last total"')


async def test_index_that_was_left_half_made_is_finished(
    store: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    def stop(_rows: int) -> None:
        raise Stop

    monkeypatch.setattr(searching, "BATCH", 3)
    async with ocs.open(store) as svc:
        for n in range(10):
            await add(svc, said(f"apple {n}"))
        with pytest.raises(Stop):
            await svc.store.reindex(stop)
    async with ocs.open(store) as svc:
        assert len(await found(svc, "apple")) == 10


async def test_search_leaves_an_applications_database_as_it_is(
    db: AsyncSession, engine: Any
) -> None:
    from sqlalchemy import inspect

    async def tables() -> set[str]:
        async with engine.connect() as connection:
            return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))

    before = await tables()
    svc = ocs.OpencodeSessionService(db)
    await add(svc, said("apple"))
    assert await found(svc, "apple") == ["apple"]
    assert await tables() == before


async def test_server_gets_its_index_by_name_alone(postgres_store: str) -> None:
    async with ocs.open(postgres_store) as svc:
        await add(svc, said("apple"))
        assert await found(svc, "apple") == ["apple"]
        assert not await svc.store._index.is_made()  # type: ignore[attr-defined]
        await svc.reindex(progress=False)
        assert await svc.store._index.is_made()  # type: ignore[attr-defined]
        assert await found(svc, "apple") == ["apple"]


# Who may not write the index, or not now


async def test_search_answers_while_another_program_writes(
    sqlite_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 1)
    async with ocs.open(sqlite_store) as svc:
        await add(svc, said("apple"))
        with closing(sqlite3.connect(sqlite_store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await found(svc, "apple") == ["apple"]  # without an index
            other.execute("ROLLBACK")
            assert await found(svc, "apple") == ["apple"]
            await add(svc, said("apple pie"))
            other.execute("BEGIN IMMEDIATE")
            assert len(await found(svc, "apple")) == 2  # one of them is not in it


async def test_index_of_an_older_version_is_not_asked(
    postgres: Server, postgres_store: str
) -> None:
    async with ocs.open(postgres_store) as svc:
        await add(svc, said("apple"))
        await svc.reindex(progress=False)
        postgres.execute("DROP INDEX ix_opencode_search_session_id", url=postgres_store)
        postgres.execute("UPDATE opencode_search SET words = 'pear'", url=postgres_store)
        assert await found(svc, "apple") == ["apple"]
        assert not await found(svc, "pear")
        await svc.reindex(progress=False)
        assert await svc.store._index.is_made()  # type: ignore[attr-defined]
        assert await found(svc, "apple") == ["apple"]


async def test_role_that_knows_no_index_writes_and_finds(
    postgres: Server, postgres_store: str
) -> None:
    async with ocs.open(postgres_store) as svc:
        await add(svc, said("apple"))
        await svc.reindex(progress=False)
    role = f"clerk_{postgres_store.rpartition('_')[2]}"
    tables = ", ".join(f"opencode_{table}" for table in OURS)
    postgres.execute(
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}",
        url=postgres_store,
    )
    clerk = postgres_store.replace("postgres@", f"{role}@")
    async with ocs.open(clerk, migrate=False, on_error="raise") as svc:
        await add(svc, said("apple pie"))
        assert len(await found(svc, "apple")) == 2
        postgres.execute(
            f"GRANT SELECT ON opencode_search, opencode_search_pending TO {role}",
            url=postgres_store,
        )
        assert len(await found(svc, "apple")) == 2  # though what is noted cannot be put into it
    async with ocs.open(postgres_store) as svc:
        assert len(await found(svc, "apple")) == 2
        assert await svc.store._index.is_made()  # type: ignore[attr-defined]
    postgres.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}", url=postgres_store)


# Whatever is asked


async def test_no_question_is_wrong(store: Path | str) -> None:
    async with ocs.open(store) as svc:
        await svc.reindex(progress=False)
        await add(svc, said(" ".join(h for h in HOSTILE if len(h) < 40)))
        for question in HOSTILE:
            await svc.search(question, progress=False)
        assert await found(svc, "drop", kind="prompt")


@given(question=st.text())
@settings(max_examples=50)
def test_any_question_becomes_a_query(question: str) -> None:
    """What reaches a database is words between quotes, whatever was asked."""
    search = Search(words.asked(question), KINDS, None, 5)
    if search.question.is_nothing:
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE t USING fts5({', '.join(KINDS)})")
        asked = sqlite._query(search, range(2900, 2964))
        connection.execute("SELECT * FROM t WHERE t MATCH ?", [asked]).fetchall()
    values, conditions = postgresql._asked(search)
    assert len(conditions) == len(KINDS)
    for name, value in values.items():
        word = rf"'{name[-1]}[^\W_]+'(:\*)?"
        phrase = rf"\({word}( {'<->' if name.startswith('together') else '&'} {word})*\)"
        assert re.fullmatch(rf"{phrase}( & {phrase})*", value)


# From the shell


def test_command_prints_what_was_found(on_file: Path, tmp_path: Path) -> None:
    file = shutil.copy(on_file, tmp_path / "sessions.db")

    def run(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*args, "--db", str(file)], env={"COLUMNS": "160"})
        assert result.exit_code == code, result.output
        return result.stdout if not code else result.stderr

    text = run("search", "distance", "-n", "3", "-k", "diff")
    assert "distance" in text
    assert text.count("ses_") == 3
    assert "Newest first" in text
    lines = run("search", "distance", "--json", "-n", "2").splitlines()
    assert len(lines) == 2
    assert run("search", "xyzzy") == ""
    assert "no kind" in run("search", "x", "-k", "sound", code=1)
    assert "up to date" in run("reindex")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE opencode_sessions SET title = 'evil \x1b[2J\u202e distance'")
    text = run("search", "evil")
    assert "evil" in text
    assert not {"\x1b", "\u202e"} & {*text}
