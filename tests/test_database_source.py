"""opencode's database in every state there is: all that is committed is seen, no trace is left."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Recording

from opencode_sessions.errors import SourceError
from opencode_sessions.records import SessionRecord
from opencode_sessions.sources import Database, Problem, SourceChanged, Untold, find, untouched

SESSION = "ses_dfbfb5a7bffehr1f5iJf9skrRO"
ADDED = "prt_zzzzzzzzzzzzADDEDADDEDADDE"
ADD = f"""
    INSERT INTO part SELECT '{ADDED}', id, session_id, time_created, time_created,
      '{{"type":"tool","tool":"read","state":{{"status":"completed","input":{{"filePath":"/a"}}}}}}'
    FROM message WHERE session_id = '{SESSION}' ORDER BY id DESC LIMIT 1;
"""
# Runs the statements it is given, says so, and stays until its input ends.
PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    connection.execute(statement).fetchall()
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path, recordings: dict[str, Recording]) -> Path:
    """A database of one's own, as opencode 1.2.1 left it: WAL mode, all of it merged."""
    folder = tmp_path / "opencode"
    folder.mkdir()
    return shutil.copy(recordings["opencode-1.2.1"].database, folder / "opencode.db")


@contextmanager
def opened_elsewhere(path: Path, statements: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has run these statements and is still there."""
    command = [sys.executable, "-c", PROGRAM, str(path), statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield process


def read(path: Path, **filters: Any) -> tuple[list[SessionRecord], list[Problem]]:
    count, *items = Database(path).sessions(**filters)
    records = [item for item in items if isinstance(item, SessionRecord)]
    problems = [item for item in items if isinstance(item, Problem)]
    untold = sum(isinstance(item, Untold) for item in items)
    assert len(records) + len(problems) + untold == len(items)
    assert untold <= 1
    assert isinstance(count, int)
    assert count >= len(records)
    return records, problems


def part_ids(records: list[SessionRecord]) -> set[str | None]:
    return {c.call.part_id for r in records for m in r.messages for c in m.tool_calls}


def look(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything about a folder that a reader could have changed."""
    return {
        str(file.relative_to(folder)): (
            (stat := file.stat()).st_mtime_ns,
            stat.st_ino,
            stat.st_mode,
            file.read_bytes() if file.is_file() else b"",
        )
        for file in [folder, *folder.rglob("*")]
    }


# The states


@contextmanager
def merged(path: Path) -> Iterator[None]:
    run(path, ADD)  # the last connection merges the -wal and removes it
    assert names(path) == ["opencode.db"]
    yield


@contextmanager
def with_empty_wal(path: Path) -> Iterator[None]:
    with merged(path):
        path.with_name("opencode.db-wal").touch()
        path.with_name("opencode.db-shm").touch()
        yield


@contextmanager
def while_opencode_runs(path: Path) -> Iterator[None]:
    with opened_elsewhere(path, f"PRAGMA wal_autocheckpoint=0; {ADD}"):
        assert names(path) == ["opencode.db", "opencode.db-shm", "opencode.db-wal"]
        yield


@contextmanager
def after_opencode_was_killed(path: Path) -> Iterator[None]:
    with opened_elsewhere(path, f"PRAGMA wal_autocheckpoint=0; {ADD}") as process:
        process.send_signal(signal.SIGKILL)
    assert names(path) == ["opencode.db", "opencode.db-shm", "opencode.db-wal"]
    yield


@contextmanager
def copied_without_shm(path: Path) -> Iterator[None]:
    with after_opencode_was_killed(path):
        path.with_name("opencode.db-shm").unlink()
        yield


@contextmanager
def in_delete_mode(path: Path) -> Iterator[None]:
    run(path, f"PRAGMA journal_mode=delete; {ADD}")
    assert path.read_bytes()[18:20] == b"\x01\x01"
    assert names(path) == ["opencode.db"]
    yield


@contextmanager
def killed_in_delete_mode(path: Path) -> Iterator[None]:
    """What was not committed is in the file already; the journal tells how it was."""
    run(path, f"PRAGMA journal_mode=delete; {ADD}")
    spoil = "PRAGMA cache_size=1; BEGIN; UPDATE part SET data = 'not committed' || data"
    with opened_elsewhere(path, spoil) as process:
        process.send_signal(signal.SIGKILL)
    assert names(path) == ["opencode.db", "opencode.db-journal"]
    assert b"not committed" in path.read_bytes()
    yield


STATES = [
    merged,
    with_empty_wal,
    while_opencode_runs,
    after_opencode_was_killed,
    copied_without_shm,
    in_delete_mode,
    killed_in_delete_mode,
]


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(script)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


@pytest.mark.parametrize("is_read_only", [False, True], ids=["", "read-only"])
@pytest.mark.parametrize("state", STATES)
def test_all_that_was_committed_is_seen_and_no_trace_left(
    state: Any, is_read_only: bool, path: Path
) -> None:
    (before,) = [record for record in read(path)[0] if record.id == SESSION]
    with state(path):
        if is_read_only:  # binds everybody but root, who could write and must not
            for file in path.parent.iterdir():
                file.chmod(0o444)
            path.parent.chmod(0o555)
        seen = look(path.parent)
        records, problems = read(path)
        Database(path).notes()
        assert look(path.parent) == seen
        path.parent.chmod(0o755)
    (after,) = [record for record in records if record.id == SESSION]
    assert part_ids([after]) == part_ids([before]) | {ADDED}
    assert after.messages[0] == before.messages[0]
    assert len(records) == 4
    assert problems == []


def test_half_read_database_is_left_alone_too(path: Path) -> None:
    with while_opencode_runs(path):
        seen = look(path.parent)
        items = Database(path).sessions()
        assert next(items) == 4
        assert isinstance(next(items), SessionRecord)
        items.close()
        assert look(path.parent) == seen


def test_link_leads_to_what_lies_beside_the_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with while_opencode_runs(path):
        assert ADDED in part_ids(read(link)[0])


@pytest.mark.parametrize("name", ["a b?mode=rw#%41 ü.db", os.fsdecode(b"\xff.db")])
def test_any_file_name(name: str, path: Path) -> None:
    strange = path.with_name(name)
    path.rename(strange)
    assert len(read(strange)[0]) == 4
    assert os.listdir(path.parent) == [name]


def test_what_is_committed_later_is_not_mixed_in(path: Path) -> None:
    with while_opencode_runs(path):
        items = Database(path).sessions()
        next(items)
        with opened_elsewhere(path, "UPDATE part SET data = '{}'"):
            records = [item for item in items if isinstance(item, SessionRecord)]
    assert ADDED in part_ids(records)


@pytest.mark.parametrize("change", [ADD, f"PRAGMA journal_mode=delete; {ADD}"])
def test_file_that_changes_while_it_is_read(change: str, path: Path) -> None:
    items = Database(path).sessions()
    next(items)
    run(path, change)
    with pytest.raises(SourceChanged, match=r"opencode\.db was written to while it was read"):
        list(items)
    assert ADDED in part_ids(read(path)[0])


def test_file_that_shrinks_while_it_is_read(path: Path) -> None:
    items = Database(path).sessions()
    next(items)
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(SourceChanged):
        list(items)


def test_changed_file_is_nobodys_concern_once_given_up(path: Path) -> None:
    items = Database(path).sessions()
    next(items)
    run(path, ADD)
    items.close()


def test_opencode_may_end_while_its_database_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def too_late(*args: Any, **options: Any) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite3, "connect", connect)
        run(path, "SELECT 1 FROM part")  # the last to close merges the -wal
        return connect(*args, **options)

    with after_opencode_was_killed(path):
        monkeypatch.setattr(sqlite3, "connect", too_late)
        with pytest.raises(SourceChanged):
            read(path)
    assert ADDED in part_ids(read(path)[0])


# Locked


def test_locked_database_is_a_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untouched, "LOCK_WAIT_S", 0)
    lock = f"SELECT 1 FROM part; PRAGMA locking_mode=exclusive; {ADD}"
    with opened_elsewhere(path, lock):
        seen = look(path.parent)
        with pytest.raises(SourceError, match=r"opencode\.db is locked by another program") as info:
            read(path)
        assert isinstance(info.value.__cause__, sqlite3.OperationalError)
        with pytest.raises(SourceError, match="is locked"):
            Database(path).notes()
        assert look(path.parent) == seen
    assert ADDED in part_ids(read(path)[0])


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_unfinished_transaction_is_not_seen(mode: str, path: Path) -> None:
    run(path, f"PRAGMA journal_mode={mode}")
    spoil = "PRAGMA cache_size=1; BEGIN EXCLUSIVE; UPDATE part SET data = 'not committed' || data"
    with opened_elsewhere(path, spoil):
        records, problems = read(path)
        assert len(records) == 4
        assert problems == []


# What is not read


def test_tables_with_secrets_are_not_read(
    tmp_path: Path, recordings: dict[str, Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(recordings["opencode-1.18.33"].database, tmp_path / "opencode.db")
    secrets = ("account", "control_account", "credential", "session_share")
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in secrets:
            columns = len(connection.execute(f"PRAGMA table_info({table})").fetchall())
            values = ", ".join(["'hush-hush'"] * columns)
            connection.execute(f"INSERT INTO {table} VALUES ({values})")
    tables = set()

    def watch(action: int, first: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ:
            tables.add(first)
        return sqlite3.SQLITE_OK

    class Watched(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_authorizer(watch)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Watched, **k))
    records, _ = read(path)
    notes = Database(path).notes()
    assert {"session", "message", "part", "project"} <= tables
    assert not tables & set(secrets)
    assert "hush-hush" not in repr(records) + repr(notes)


# Filters


def test_since_leaves_out_sessions_not_touched_after_it(trailmap: Recording) -> None:
    records, _ = read(trailmap.database)
    times = sorted(record.updated_at for record in records if record.updated_at)
    since = times[12]
    chosen, _ = read(trailmap.database, since=since)
    assert {r.id for r in chosen} == {r.id for r in records if (r.updated_at or since) >= since}
    assert len(chosen) == 8
    assert read(trailmap.database, since=times[-1] + timedelta(milliseconds=1))[0] == []
    assert len(read(trailmap.database, since=datetime(1, 1, 1, tzinfo=UTC))[0]) == 20


@pytest.mark.parametrize(
    ("project", "count"),
    [
        ("/home/dev/shop", 18),
        ("/home/dev/shop/", 18),
        ("shop", 18),
        ("827a5383e810696741e6bbeda36c97f0095e87bf", 18),
        ("blog", 1),
        ("/home/dev/scratch", 1),  # no git: its worktree is "/"
        ("global", 1),
        ("/", 1),
        ("/home/dev", 0),
        ("", 0),
    ],
)
def test_project_is_a_path_its_last_part_or_an_id(
    project: str, count: int, recordings: dict[str, Recording]
) -> None:
    path = recordings["opencode-1.18.33"].database
    assert len(read(path, project=project)[0]) == count


def test_count_comes_first_and_sessions_oldest_first(trailmap: Recording) -> None:
    (source,) = find(trailmap.database)
    count, *records, untold = source.sessions()
    assert count == len(records) == 20
    assert isinstance(untold, Untold)  # its snapshots are not beside it
    created = [record.created_at for record in records if isinstance(record, SessionRecord)]
    assert len(created) == 20
    assert created == sorted(created, key=str)
    assert str(source) == str(trailmap.database)
