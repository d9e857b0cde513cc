"""Whole tables read at once, and what is kept beside a database: never a row that is not so now."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import Recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import Server

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames, arrow, building, kept, load, loading, whole
from opencode_sessions.analytics.choosing import stored_columns
from opencode_sessions.analytics.columns import COLUMNS
from opencode_sessions.store import NotAtOnce
from opencode_sessions.store.whole import SqliteWhole

NAMES = ("sessions", "messages", "tool_calls", "file_events")


@pytest.fixture(autouse=True)
def _kept_however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "SMALLEST", 1)


@pytest.fixture(scope="module")
def recorded(recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small recording, to copy."""
    file = tmp_path_factory.mktemp("recorded") / "sessions.db"

    async def fill() -> None:
        async with ocs.open(file) as svc:
            await svc.import_opencode(recordings["opencode-1.2.1"].database, progress=False)

    asyncio.run(fill())
    return file


@pytest.fixture
def file(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(recorded, tmp_path / "sessions.db"))


def beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.frames")


def loaded(file: Path, **asked: Any) -> Frames:
    async def run() -> Frames:
        async with ocs.open(file, migrate=False) as svc:
            return await load(svc, **asked)

    return asyncio.run(run())


def row_by_row(file: Path, **asked: Any) -> Frames:
    async def run() -> Frames:
        async with ocs.open(file, migrate=False) as svc:
            svc.store.whole = lambda: None  # type: ignore[method-assign]
            return await load(svc, **asked)

    return asyncio.run(run())


def test_no_table_is_left_when_its_frame_is_made(file: Path) -> None:
    columns = {name: stored_columns(name, optional=False) for name in NAMES}
    found = whole.read(SqliteWhole(file), columns, [], lambda _: None)
    tables = {name: weakref.ref(table) for name, table in found.tables.items()}
    for name in NAMES[1:]:
        assert found.tables.pop(name).num_rows
        assert tables[name]() is None


def assert_true(found: Frames, file: Path, **asked: Any) -> None:
    expected = row_by_row(file, **asked)
    for name in NAMES:
        pd.testing.assert_frame_equal(
            getattr(found, name), getattr(expected, name), check_exact=True
        )


def execute(file: Path, *statements: str) -> None:
    """Another connection, of another program: it knows no keys and nothing of us."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no row is read alone."""

    def fail(*_args: object) -> None:
        raise AssertionError("row by row")

    monkeypatch.setattr(loading, "_Loading", fail)


# -- changes of any kind ------------------------------------------------------------------------

# Of a table a row by its number, in a session by its number, and what becomes of it.
TABLES = st.sampled_from(["messages", "tool_calls", "file_events"])
NUMBERS = st.integers(0, 400)
TEXTS = st.sampled_from(
    ["a.py", "a\nb", 'say "no"', "back\\slash", "\\n", "tab\t", "é€😀", "", "null", "[0", "0]", "1"]
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
ROW = "(SELECT rowid FROM opencode_{0} ORDER BY rowid LIMIT 1 OFFSET {1} % max(1, (SELECT count(*) FROM opencode_{0})))"  # noqa: E501
SESSION = ROW.replace("SELECT rowid", "SELECT id", 1)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def changes(draw: st.DrawFn) -> str:
    table, number = draw(TABLES), draw(NUMBERS)
    row = ROW.format(table, number)
    session = SESSION.format("sessions", draw(NUMBERS))
    message = SESSION.format("messages", draw(NUMBERS))
    text, decimal = quoted(draw(TEXTS)), draw(st.floats(0, 1e6))
    of_any = f"opencode_{table} WHERE rowid = {row}"
    columns = "id, session_id, message_id, event_type, file_path, command, duration_s, seq"
    new = f"VALUES ('new{draw(st.integers(0, 3))}', {session}, {message}, 'edit', {text}"
    return draw(
        st.sampled_from(
            [
                f"INSERT OR REPLACE INTO opencode_file_events ({columns}) "
                f"{new}, {text}, {decimal}, {number})",
                f"INSERT OR IGNORE INTO opencode_file_events ({columns}) "
                f"{new}, NULL, {decimal}, {number})",
                f"REPLACE INTO opencode_file_events ({columns}) SELECT id, {session}, message_id, "
                f"event_type, {text}, NULL, NULL, 1 FROM opencode_file_events WHERE rowid = "
                f"{ROW.format('file_events', number)}",
                f"DELETE FROM {of_any}",
                f"DELETE FROM opencode_{table} WHERE session_id = {session}",
                f"DELETE FROM opencode_sessions WHERE id = {session}",
                f"UPDATE opencode_{table} SET session_id = {session} WHERE rowid = {row}",
                f"UPDATE opencode_{table} SET session_id = {text} WHERE rowid = {row}",
                f"UPDATE opencode_{table} SET error = {text}, seq = {number} WHERE rowid = {row}",
                f"UPDATE opencode_file_events SET file_path = {text}, duration_s = {decimal} "
                f"WHERE rowid = {ROW.format('file_events', number)}",
                f"UPDATE opencode_file_events SET message_id = {message} "
                f"WHERE rowid = {ROW.format('file_events', number)}",
                f"UPDATE opencode_messages SET model = {text}, cost_usd = {decimal} "
                f"WHERE id = {message}",
                f"UPDATE opencode_sessions SET workdir = '/else', worktree = NULL, "
                f"created_at = '2020-01-01 00:00:00.000000', agent_name = {text} "
                f"WHERE id = {session}",
                "VACUUM",
                "LOAD",
                "LOAD",
            ]
        )
    )


@given(st.lists(changes(), max_size=8))
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_change_goes_unseen(
    recorded: Path, tmp_path_factory: pytest.TempPathFactory, changed: list[str]
) -> None:
    file = Path(shutil.copy(recorded, tmp_path_factory.mktemp("x") / "sessions.db"))
    loaded(file)
    assert len(list(beside(file).glob("*.arrow"))) == 3
    for change in changed:
        if change == "LOAD":
            loaded(file)
        else:
            execute(file, change)
    assert_true(loaded(file), file)


def test_what_is_kept_is_read_and_only_what_changed_is_read_anew(
    file: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(file)
    asked: list[object] = []
    batches = ocs.store.whole.SqliteWhole.batches  # type: ignore[attr-defined]

    def listening(self: Any, table: str, columns: Any, sessions: Any = None) -> Any:
        asked.append((table, sessions))
        return batches(self, table, columns, sessions)

    monkeypatch.setattr("opencode_sessions.store.whole.SqliteWhole.batches", listening)
    first = loaded(file)
    assert asked == [("sessions", None)]
    changed = str(first.sessions["session_id"].iloc[0])
    execute(file, f"UPDATE opencode_messages SET error = 'x' WHERE session_id = '{changed}'")
    asked.clear()
    again = loaded(file)
    assert asked[1:] == [(name, {changed}) for name in NAMES[1:]]
    assert (again.messages["error"] == "x").sum() == (again.messages["session_id"] == changed).sum()


# -- files that come and go ---------------------------------------------------------------------


def test_another_file_under_the_same_name(file: Path, recorded: Path, tmp_path: Path) -> None:
    older = Path(shutil.copy(file, tmp_path / "older.db"))
    execute(file, "DELETE FROM opencode_file_events WHERE seq = 0")
    loaded(file)
    shutil.copytree(beside(file), beside(older))
    execute(older, "UPDATE opencode_file_events SET status = 'denied' WHERE seq = 1")
    for name in ("sessions.db-wal", "sessions.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    os.replace(older, file)
    found = loaded(file)
    assert (found.file_events["status"] == "denied").any()
    assert_true(found, file)


@pytest.mark.parametrize("made", ["empty", "half", "other", "garbage", "of_another_version"])
def test_a_file_that_says_nothing_is_made_anew(
    file: Path, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(kept, "FORMAT", 0 if made == "of_another_version" else kept.FORMAT)
        loaded(file)
    stale = beside(file) / "file_events.arrow"
    whole_file = stale.read_bytes()
    content = {
        "empty": b"",
        "half": whole_file[: len(whole_file) // 2],
        "other": (beside(file) / "messages.arrow").read_bytes(),
        "garbage": os.urandom(4096),
        "of_another_version": whole_file,
    }[made]
    stale.write_bytes(content)
    execute(file, "UPDATE opencode_file_events SET status = 'denied'")
    found = loaded(file)
    assert_true(found, file)
    assert stale.read_bytes() != content


def test_it_can_be_deleted_at_any_time(file: Path) -> None:
    loaded(file)
    found = loaded(file)  # mapped from the files that go now
    shutil.rmtree(beside(file))
    assert_true(found, file)
    assert_true(loaded(file), file)


def test_where_there_is_no_place_there_is_none(file: Path) -> None:
    beside(file).write_text("a file of somebody's")
    assert_true(loaded(file), file)
    assert beside(file).read_text() == "a file of somebody's"


def test_nobody_else_may_read_it_and_nothing_is_left_over(file: Path) -> None:
    loaded(file)
    assert {path.suffix for path in beside(file).iterdir()} == {".arrow"}
    assert {path.stat().st_mode & 0o077 for path in [beside(file), *beside(file).iterdir()]} == {0}


def test_without_triggers_nothing_is_kept(file: Path) -> None:
    loaded(file)
    execute(file, "DROP TRIGGER opencode_unchanged_file_events_update")
    execute(file, "UPDATE opencode_file_events SET status = 'denied'")
    assert_true(loaded(file), file)


def whatever_is_kept(file: Path) -> bytes:
    return b"".join(path.read_bytes() for path in beside(file).glob("*.arrow"))


@pytest.mark.parametrize("way", ["delete", "prune", "while it is loaded", "by another program"])
async def test_what_is_deleted_is_kept_nowhere(
    file: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ocs.open(file) as svc:
        sessions = (await svc.frames()).sessions
        id = str(sessions["session_id"].iloc[0])
        assert id.encode() in whatever_is_kept(file)
        if way == "delete":
            await svc.delete_session(id)
            assert not beside(file).exists()
        elif way == "prune":
            assert await svc.prune(before=datetime(2100, 1, 1, tzinfo=UTC)) == len(sessions)
            assert not beside(file).exists()
        elif way == "by another program":
            execute(
                file,
                *(f"DELETE FROM opencode_{name} WHERE session_id = '{id}'" for name in NAMES[1:]),
            )
            execute(file, f"DELETE FROM opencode_sessions WHERE id = '{id}'")
            assert len((await svc.frames()).sessions) == len(sessions) - 1
        else:
            shutil.rmtree(beside(file))
            write, loop = kept.write, asyncio.get_running_loop()

            def deleted_before(folder: Path, name: str, *args: Any) -> None:
                if name == "messages":  # in the thread that keeps it
                    asyncio.run_coroutine_threadsafe(svc.delete_session(id), loop).result()
                write(folder, name, *args)  # type: ignore[arg-type]

            monkeypatch.setattr(kept, "write", deleted_before)
            assert id in set((await svc.frames()).sessions["session_id"])
        assert id.encode() not in whatever_is_kept(file)


async def test_a_session_without_rows_may_go_and_tables_are_kept_on(file: Path) -> None:
    async with ocs.open(file) as svc:
        empty = await svc.get_or_create_session("ses_empty", "build", "/x", None, "t")
        await svc.frames()
        await svc.delete_session(empty.id)
        for _ in range(2):
            await svc.frames()
            assert len(list(beside(file).glob("*.arrow"))) == 3


def test_what_another_program_deleted_is_not_kept_by_any_table(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one table alone is asked for, and none is worth keeping any more; of all sessions."""
    (_, session), (message, _) = message_of(file, 0), message_of(file, 1)
    execute(
        file,
        f"UPDATE opencode_file_events SET message_id = '{message}' WHERE session_id = '{session}'",
    )
    loaded(file)
    assert session.encode() in whatever_is_kept(file)
    for name in NAMES:
        column = "id" if name == "sessions" else "session_id"
        execute(file, f"DELETE FROM opencode_{name} WHERE {column} = '{session}'")
    monkeypatch.setattr(whole, "SMALLEST", 1_000_000)

    async def events() -> pd.DataFrame:
        async with ocs.open(file, migrate=False) as svc:
            return await svc.file_events()

    assert session not in set(asyncio.run(events())["session_id"])
    assert session.encode() not in whatever_is_kept(file)


def test_a_column_that_was_put_in_order_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "SLICES", 1)
    columns = {name: pa.chunked_array([[1, 2, 3]]) for name in "ab"}
    first = weakref.ref(columns["a"])
    table = building.ordered(columns, np.array([2, 0, 1]))
    assert table.to_pydict() == {"a": [3, 1, 2], "b": [3, 1, 2]}
    assert columns == {} and first() is None


def test_what_may_be_of_a_deleted_session_is_not_kept(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one can no longer see which sessions there are."""

    def unseen(*_args: object) -> bool:
        raise NotAtOnce("the file is gone")

    monkeypatch.setattr(SqliteWhole, "lacks", unseen)
    assert_true(loaded(file), file)
    assert not beside(file).exists()


def test_who_was_killed_while_keeping_leaves_nothing_for_long(file: Path) -> None:
    loaded(file)
    old, new = (beside(file) / f"messages.{name}" for name in ("abcdefg1", "abcdefg2"))
    for left in (old, new):
        left.write_bytes(b"half of a table")
    os.utime(old, (0, 0))
    execute(file, "UPDATE opencode_messages SET error = 'x'")
    loaded(file)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_cannot_be_kept_is_read_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise pa.ArrowInvalid("no place for it")

    monkeypatch.setattr(kept, "in_one", fails)
    assert_true(loaded(file), file)
    assert list(beside(file).glob("*.arrow")) == []


def test_a_table_of_many_pieces_is_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece that is read has texts of its own, and so has each that is written."""
    monkeypatch.setattr("opencode_sessions.store.whole.CHUNK", 5)
    monkeypatch.setattr(kept, "ROWS", 7)
    for _ in range(2):
        assert_true(loaded(file), file)
        assert len(list(beside(file).glob("*.arrow"))) == 3


def message_of(file: Path, place: int) -> tuple[str, str]:
    """A message that a file event is of, and its session."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(
            "SELECT message_id, session_id FROM opencode_file_events GROUP BY session_id ORDER BY 2"
        ).fetchall()
    return rows[place]  # type: ignore[no-any-return]


def test_an_event_of_another_sessions_message_is_told_what_that_says_now(file: Path) -> None:
    (_, session), (message, _) = message_of(file, 0), message_of(file, 1)
    execute(
        file,
        f"UPDATE opencode_file_events SET message_id = '{message}' WHERE session_id = '{session}'",
    )
    loaded(file)
    execute(file, f"UPDATE opencode_messages SET model = 'new' WHERE id = '{message}'")
    assert_true(found := loaded(file), file)
    assert (found.file_events.query("session_id == @session")["model"] == "new").all()
    execute(file, f"UPDATE opencode_file_events SET error = 'x' WHERE session_id = '{session}'")

    async def events(row_by_row: bool) -> pd.DataFrame:
        async with ocs.open(file, migrate=False) as svc:
            if row_by_row:
                svc.store.whole = lambda: None  # type: ignore[method-assign]
            return await svc.file_events()

    alone, expected = (asyncio.run(events(way)) for way in (False, True))
    pd.testing.assert_frame_equal(alone, expected, check_exact=True)


@pytest.mark.parametrize("is_seen", [True, False])
def test_what_changes_just_before_the_moment_is_told(
    file: Path, is_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a program that takes a trigger away meanwhile, and puts it back."""
    loaded(file)
    trigger = "opencode_unchanged_file_events_update"
    with closing(sqlite3.connect(file)) as connection:
        ((made,),) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = ?", (trigger,)
        ).fetchall()
    changed = ["UPDATE opencode_file_events SET status = 'denied'"]
    changed = changed if is_seen else [f"DROP TRIGGER {trigger}", *changed, made]
    begin = SqliteWhole.begin

    def late(self: SqliteWhole) -> None:
        execute(file, *changed)
        begin(self)

    monkeypatch.setattr(SqliteWhole, "begin", late)
    found = loaded(file)
    assert_true(found, file)
    assert (found.file_events["status"] == "denied").all()


def test_a_row_that_another_session_took_is_nowhere_twice(file: Path) -> None:
    loaded(file)
    (_, session), (_, other) = message_of(file, 0), message_of(file, 1)
    columns = "id, session_id, event_type, file_path, seq"
    execute(
        file,
        f"REPLACE INTO opencode_file_events ({columns}) SELECT id, '{other}', event_type, "
        f"file_path, seq FROM opencode_file_events WHERE session_id = '{session}' LIMIT 1",
    )
    assert_true(loaded(file), file)


def test_a_row_of_no_session_and_a_time_far_away_spoil_nothing(file: Path) -> None:
    """An application's own tables may allow both."""
    execute(
        file,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'session_id VARCHAR(36) NOT NULL', "
        "'session_id VARCHAR(36)')",
    )
    execute(
        file,
        *(f"UPDATE opencode_{name} SET session_id = NULL WHERE rowid = 2" for name in NAMES[1:]),
        "UPDATE opencode_messages SET completed_at = '9999-01-01 00:00:00.000000' WHERE rowid = 3",
    )
    found = loaded(file)
    assert_true(found, file)
    assert found.messages["session_id"].isna().sum() == 1
    assert found.messages["duration_s"].max() > 2e11  # 7,900 years


def test_frames_can_be_written_to(file: Path) -> None:
    loaded(file)
    for name in NAMES:
        frame = getattr(loaded(file), name)
        for column in range(frame.shape[1]):
            frame.iloc[0, column] = frame.iloc[-1, column]
            value = frame.iloc[0, column]
            assert pd.isna(value) or value == frame.iloc[-1, column]


# -- others at the same time --------------------------------------------------------------------


async def test_each_load_is_of_one_moment(file: Path) -> None:
    """A writer adds an event to each of two sessions at a time, while two services load."""
    is_over = threading.Event()
    ids = (await asyncio.to_thread(loaded, file)).sessions["session_id"].tolist()[:2]

    def write() -> None:
        with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as connection:
            number = 0
            while not is_over.is_set():
                connection.execute("BEGIN IMMEDIATE")
                for id in ids:
                    connection.execute(
                        "INSERT INTO opencode_file_events (id, session_id, event_type, tool, seq) "
                        "VALUES (?, ?, 'edit', 'added', ?)",
                        (f"{id[:30]}{number}", id, 100_000 + number),
                    )
                connection.execute("COMMIT")
                number += 1

    async def look() -> list[int]:
        async with ocs.open(file, migrate=False) as svc:
            counts = []
            for _ in range(6):
                events = (await svc.frames()).file_events
                added = events[events["tool"] == "added"]["session_id"].astype("str").value_counts()
                assert len(set(added.reindex(ids, fill_value=0))) == 1
                counts.append(len(events))
            return counts

    writing = asyncio.create_task(asyncio.to_thread(write))
    try:
        for counts in await asyncio.gather(look(), look()):
            assert counts == sorted(counts)
    finally:
        is_over.set()
        await writing


INTRUDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM opencode_file_events")
    connection.execute("COMMIT")
    print("in")
except sqlite3.OperationalError as error:
    print(error)
connection.close()
"""


def intruded(file: Path) -> str:
    """What another process meets that wants to write."""
    run = [sys.executable, "-c", INTRUDER, str(file)]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


def loaded_twice(file: Path) -> None:
    for _ in range(2):
        loaded(file)


def opened_as_a_file(file: Path) -> None:
    for path in (file, file.with_name(f"{file.name}-shm")):
        path.open("rb").close()


@pytest.mark.parametrize(
    ("read", "met"), [(loaded_twice, "database is locked"), (opened_as_a_file, "in")]
)
def test_loading_drops_no_lock_of_whoever_writes(
    file: Path, read: Callable[[Path], object], met: str
) -> None:
    """As any other SQLite in this process would, or an open and close of its files."""
    loaded(file)  # so that there is something kept
    with closing(sqlite3.connect(file, isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        writing.execute("UPDATE opencode_file_events SET status = 'denied'")
        read(file)
        assert intruded(file) == met
        if met != "in":
            writing.execute("COMMIT")
            assert (loaded(file).file_events["status"] == "denied").all()
            assert_true(loaded(file), file)


def test_a_lock_is_waited_for_by_nobody(file: Path) -> None:
    """Where a mark cannot be set, because somebody writes, it is read and not kept."""
    with closing(sqlite3.connect(file, isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        found = loaded(file)
        assert not beside(file).exists()
        writing.execute("ROLLBACK")
    assert_true(found, file)


# -- off the event loop -------------------------------------------------------------------------


class Heart:
    """Beats with the event loop; whoever is on the loop's thread waits for it in vain."""

    def __init__(self) -> None:
        self.beats = 0
        self._beaten = threading.Condition()

    async def beat(self) -> None:
        while True:
            with self._beaten:
                self.beats += 1
                self._beaten.notify_all()
            await asyncio.sleep(0)

    def await_beats(self, count: int) -> None:
        with self._beaten:
            wanted = self.beats + count
            assert self._beaten.wait_for(lambda: self.beats >= wanted, 30), "the loop stands still"


@pytest.mark.parametrize("place", ["file", "postgresql"])
async def test_the_loop_beats_while_each_step_runs(
    place: str, file: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch, on_postgres: str
) -> None:
    heart, waited = Heart(), []

    def beaten(owner: Any, name: str) -> None:
        work = getattr(owner, name)

        def wait_and_work(*args: Any, **named: Any) -> Any:
            heart.await_beats(5)
            waited.append(name)
            return work(*args, **named)

        monkeypatch.setattr(owner, name, wait_and_work)

    for owner, name in (
        (whole, "tabled"), (whole, "sessions_of"), (whole, "row_order"), (loading, "build"),
        (loading, "session_frame"), (loading, "totals_of"), (kept, "read"), (kept, "write"),
        (ocs.store.whole.SqliteWhole, "_rows"),  # type: ignore[attr-defined]
    ):  # fmt: skip
        beaten(owner, name)
    beating = asyncio.create_task(heart.beat())
    async with ocs.open(file if place == "file" else on_postgres, migrate=False) as svc:
        for _ in range(2):
            await svc.frames()
            await svc.file_events()
    beating.cancel()
    expected = {"tabled", "sessions_of", "row_order", "build", "session_frame", "totals_of"}
    assert set(waited) == expected | ({"read", "write", "_rows"} if place == "file" else set())


async def test_progress_counts_every_row(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    made = loading.tqdm

    def bar(**options: Any) -> Any:
        found = made(**options)
        monkeypatch.setattr(found, "update", counted.append)
        return found

    monkeypatch.setattr(loading, "tqdm", bar)
    async with ocs.open(file) as svc:
        frames = await svc.frames()
    assert sum(counted) == sum(len(getattr(frames, name)) for name in NAMES)


async def test_a_load_that_is_given_up_stops(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    tabled, leave = whole.tabled, ocs.store.whole.SqliteWhole.__exit__  # type: ignore[attr-defined]

    def waiting(*args: Any) -> Any:
        reached.set()
        go_on.wait()
        return tabled(*args)

    def left(*args: Any) -> None:
        leave(*args)
        ended.set()

    monkeypatch.setattr(whole, "tabled", waiting)
    monkeypatch.setattr("opencode_sessions.store.whole.SqliteWhole.__exit__", left)
    async with ocs.open(file) as svc:
        task = asyncio.create_task(svc.frames())
        await asyncio.to_thread(reached.wait)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(ended.wait)
    assert not beside(file).exists()


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("diffs", [False, True])
async def test_a_server_and_a_file_are_read_at_once(
    file: Path, on_postgres: str, at_once: None, diffs: bool
) -> None:
    for place in (file, on_postgres):
        async with ocs.open(place, migrate=False) as svc:
            frames = await svc.frames(diffs=diffs)
            events = await svc.file_events(diffs=diffs)
        pd.testing.assert_frame_equal(events, frames.file_events, check_exact=True)
        assert len(events) > 10


@pytest.mark.parametrize(
    "value", ["'a' || char(0) || 'b'", "x'ff'", "'a\nb'", "12", "1.5", "CAST(x'c328' AS TEXT)"]
)
@pytest.mark.parametrize(
    "column", ["file_path", "command", "start_line", "duration_s", "created_at"]
)
def test_what_a_column_should_not_hold_is_what_it_is_row_by_row(
    file: Path, column: str, value: str
) -> None:
    execute(file, f"UPDATE opencode_file_events SET {column} = {value} WHERE seq = 1")
    try:
        expected = row_by_row(file)
    except Exception as error:
        with pytest.raises(type(error)):
            loaded(file)
    else:
        pd.testing.assert_frame_equal(
            loaded(file).file_events, expected.file_events, check_exact=True
        )


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1, max_size=30)
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decimals_come_back_to_the_last_bit(empty: Any, tmp_path: Path, values: list[Any]) -> None:
    file = Path(shutil.copy(empty.store, tmp_path / "decimals.db"))
    with closing(sqlite3.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO opencode_file_events (id, session_id, event_type, seq, duration_s) "
            "VALUES (?, 's', 'edit', ?, ?)",
            [(str(number), number, value) for number, value in enumerate(values)],
        )
        connection.commit()
    found = loaded(file).file_events["duration_s"].to_numpy()
    expected = np.array([np.nan if value is None else value for value in values], dtype=float)
    np.testing.assert_array_equal(found, expected)


@given(st.data())
def test_objects_are_those_of_arrow(data: st.DataObject) -> None:
    times = st.datetimes(min_value=datetime(1700, 1, 1), timezones=st.just(UTC))
    of_type = {
        arrow.REPEATED: st.sampled_from(["a", "", "é"]),
        arrow.TEXT: st.text(),
        arrow.TYPES[arrow.TIME]: times,
        arrow.TYPES["Int32"]: st.integers(-(2**31), 2**31 - 1),
        arrow.TYPES["Int64"]: st.integers(-(2**63), 2**63 - 1),
        arrow.TYPES["float64"]: st.floats(allow_nan=False),
        arrow.TYPES["bool"]: st.booleans(),
    }
    rows = data.draw(st.lists(st.tuples(*(st.none() | each for each in of_type.values()))))
    columns = zip(*rows, strict=True) if rows else [()] * len(of_type)
    arrays = [arrow.array(column, type_) for column, type_ in zip(columns, of_type, strict=True)]
    table = pa.table(arrays, names=list("abcdefg"))
    found = arrow.rows_of(table)
    assert found == table.to_pylist()
    assert [list(map(type, row.values())) for row in found] == [list(map(type, r)) for r in rows]


def test_columns_are_those_of_the_frames(file: Path) -> None:
    found = loaded(file, diffs=True)
    for name in NAMES:
        wanted = [c.name for c in COLUMNS[name] if not c.is_optional or c.name == "diff"]
        assert list(getattr(found, name)) == wanted
    assert_true(found, file, diffs=True)
