"""What `open` and `migrate` take, and what they refuse with a word about what to do."""

import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Recording
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

import opencode_sessions as ocs
from opencode_sessions import OpencodeSessionsError, PersistenceError, SchemaError
from opencode_sessions.moments import moment
from opencode_sessions.sources import untouched


async def opened(target: Any) -> None:
    await (await ocs.open(target)).close()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


both = pytest.mark.parametrize("take", [opened, ocs.migrate], ids=["open", "migrate"])
Take = Callable[[Any], Awaitable[None]]


@pytest.mark.parametrize(
    "form",
    [
        Path,
        str,
        lambda file: f"sqlite:///{file}",
        lambda file: f"sqlite+aiosqlite:///{file}",
        lambda file: make_url(f"sqlite:///{file}"),
        lambda file: f"~/{os.path.relpath(file, Path.home())}",
    ],
)
@both
async def test_a_file_in_every_form_is_the_same_file(
    take: Take, form: Callable[[Path], Any], tmp_path: Path
) -> None:
    file = tmp_path / "a folder" / "ses sions.db"
    file.parent.mkdir()
    await take(form(file))
    async with ocs.open(file, migrate=False) as service:
        await service.get_or_create_session("ses_1")
        assert repr(service).startswith("<OpencodeSessionService ses sions.db: 0 sessions")
    async with await ocs.open(form(file)) as service:
        assert (await service.get_session("ses_1")).opencode_id == "ses_1"


async def test_folders_are_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "er" / "sessions.db"
    await opened(file)
    assert file.is_file()


async def test_none_is_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ocs.open() as service:
        await service.get_or_create_session("ses_1")
    place = ocs.default_database()
    assert place.is_relative_to(os.environ["XDG_DATA_HOME"])
    async with ocs.open(None) as service, ocs.open(place) as same:
        for each in (service, same):
            assert (await each.get_session("ses_1")).opencode_id == "ses_1"


@pytest.mark.parametrize("target", [":memory:", "sqlite://", "sqlite:///:memory:"])
async def test_in_memory_through_sqlite(target: str) -> None:
    async with ocs.open(target) as service:
        await service.get_or_create_session("ses_1")
        assert len(await service.sessions()) == 1
    assert ":memory:" not in contents(Path())


async def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    await opened(file)
    async with ocs.open(file, migrate=False) as service:
        assert len(await service.sessions()) == 0


@both
async def test_a_folder(take: Take, tmp_path: Path) -> None:
    with pytest.raises(OpencodeSessionsError, match=r"is a folder\. Give the file"):
        await take(tmp_path)


@both
async def test_below_a_file(take: Take, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpencodeSessionsError, match=r"There is no folder for .*sessions\.db"):
        await take(tmp_path / "file" / "sessions.db")


@pytest.mark.parametrize("content", [b"no database at all, but longer than a header" * 50, b"x"])
async def test_a_file_that_is_no_database(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    for attempt in (ocs.migrate(file), ocs.open(file), ocs.open(file, migrate=False)):
        with pytest.raises(PersistenceError, match=r"notes\.txt.*: file is not a database"):
            await attempt
    assert contents(tmp_path) == {"notes.txt": content}


@both
@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("mysql://user:secret@127.0.0.1/sessions", r"mysql is not supported\. Use SQLite"),
        ("mysql+aiomysql://127.0.0.1/sessions", "mysql is not supported"),
        ("nonsense://", "nonsense is not supported"),
        ("://", "'://' is no database URL"),
        ("sqlite+nonsense:///a.db", "cannot be opened: Can't load plugin"),
        ("sqlite+pysqlite:///a.db", "cannot be opened: The asyncio extension requires an async"),
        ("postgresql+nonsense://127.0.0.1/a", "cannot be opened"),
    ],
)
async def test_urls_of_nothing_we_know(take: Take, target: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(OpencodeSessionsError, match=says) as caught:
        await take(target)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["postgresql", "postgres"])
@both
async def test_a_server_that_is_not_there_or_has_no_driver(take: Take, name: str) -> None:
    with pytest.raises(OpencodeSessionsError, match=r"user:\*\*\*@127\.0\.0\.1:1/db") as caught:
        await take(f"{name}://user:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


async def test_without_migrating_tables_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    with pytest.raises(SchemaError, match="opencode-sessions migrate URL"):
        await ocs.open(file, migrate=False)
    with closing(sqlite3.connect(file)) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    assert tables == (0,)


@pytest.fixture
def opencodes(tmp_path: Path, trailmap: Recording, monkeypatch: pytest.MonkeyPatch) -> Path:
    """opencode's own database, in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "opencode"
    folder.mkdir()
    return Path(shutil.copy(trailmap.database, folder / "opencode.db"))


@both
@pytest.mark.parametrize(
    "form",
    [
        Path,
        str,
        lambda file: "~/opencode/opencode.db",
        lambda file: f"sqlite:///{file}",
        lambda file: make_url(f"sqlite+aiosqlite:///{file}"),
        lambda file: linked(file),
        lambda file: renamed(file),
    ],
)
async def test_opencodes_own_database_is_never_written_to(
    take: Take, form: Callable[[Path], Any], opencodes: Path
) -> None:
    target = form(opencodes)
    before = contents(opencodes.parent)
    with pytest.raises(OpencodeSessionsError, match=r"opencode's own database.*import_opencode\("):
        await take(target)
    assert contents(opencodes.parent) == before


def linked(file: Path) -> Path:
    link = file.with_name("link.db")
    link.symlink_to(file)
    return link


def renamed(file: Path) -> Path:
    return Path(shutil.copy(file, file.with_name("mine.db")))


async def test_opencodes_own_database_is_refused_as_an_engine_too(opencodes: Path) -> None:
    before = contents(opencodes.parent)
    engine = create_async_engine(f"sqlite+aiosqlite:///{opencodes}")
    with pytest.raises(OpencodeSessionsError, match="opencode's own database"):
        await ocs.migrate(engine)
    await engine.dispose()
    assert contents(opencodes.parent) == before


async def test_opencodes_own_database_is_refused_while_opencode_writes(
    opencodes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(opencodes.parent)
    monkeypatch.setattr(untouched, "_is_changed", lambda _before: True)
    with pytest.raises(OpencodeSessionsError, match="opencode's own database"):
        await ocs.open(opencodes)
    assert contents(opencodes.parent) == before


async def test_opening_can_be_entered_or_awaited(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    service = await ocs.open(file)
    await service.close()
    async with ocs.open(file) as service:
        await service.get_or_create_session("ses_1")
    async with await ocs.OpencodeSessionService.open(file) as service:
        await service.get_session("ses_1")
    with pytest.raises(ZeroDivisionError):
        async with ocs.open(file) as service:
            await service.get_or_create_session("ses_2")
            raise ZeroDivisionError


async def test_a_subclass_opens_as_itself(tmp_path: Path) -> None:
    class Own(ocs.OpencodeSessionService):
        pass

    async with Own.open(tmp_path / "sessions.db", on_error="raise") as service:
        assert type(service) is Own


async def test_on_error_is_the_services(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    async with ocs.open(file, on_error="raise") as service:
        gone = await service.get_or_create_session("ses_1")
        await service.delete_session("ses_1")
        with pytest.raises(PersistenceError, match="FOREIGN KEY constraint failed"):
            await service.persist_message(gone, "user", [])


def test_moments() -> None:
    assert moment("2026-11-22T18:00Z") == datetime(2026, 11, 22, 18, tzinfo=UTC)
    assert moment(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 1, tzinfo=UTC)
    local = datetime(2026, 11, 22).astimezone()
    assert moment("2026-11-22") == moment(date(2026, 11, 22)) == moment(datetime(2026, 11, 22))
    assert moment(date(2026, 11, 22)) == local
    assert moment(date(2026, 11, 22)).utcoffset() == timedelta(0)
    assert moment(pd.Timestamp("2026-11-22")) == local  # which pandas takes for no zone's
    assert moment(pd.Timestamp("2026-11-22", tz="UTC")) == datetime(2026, 11, 22, tzinfo=UTC)
    nonsense: Any
    for nonsense in ("", "yesterday", "2026-13-01", 3, [], None, timedelta(7), pd.NaT):
        with pytest.raises(OpencodeSessionsError, match=r"is no time\. Give a datetime, or text"):
            moment(nonsense)
