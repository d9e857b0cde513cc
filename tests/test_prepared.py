"""Many sessions are read by a process of their own: the same rows, and it ends when it should."""

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import RECORDINGS, TRAILMAP, TREES, Recording

from opencode_sessions import OpencodeSessionService, SourceError, prepared, sync
from opencode_sessions.models import TABLES
from opencode_sessions.prepared import CHUNK, Item, Notes, Prepared, _Sender, read, read_apart
from opencode_sessions.sources import (
    Database,
    Problem,
    Source,
    SourceChanged,
    StorageTree,
    Untold,
    surroundings,
)
from opencode_sessions.wanted import Wanted

WANTED = Wanted(origin="alice@laptop")
NONE: frozenset[str] = frozenset()
Child = subprocess.Popen[bytes]


class Loud(Database):
    """A database that prints: what is printed is no item."""

    def sessions(self, **options: Any) -> Iterator[Any]:
        print("reading")
        yield from super().sessions(**options)


class Changing(Database):
    """A database that opencode writes to before all is read."""

    def sessions(self, **options: Any) -> Iterator[Any]:
        yield Problem("part prt_1", "its JSON is broken")
        raise SourceChanged("opencode wrote meanwhile")


class Slow(Database):
    """A database of which nothing more comes for a long time."""

    def sessions(self, **options: Any) -> Iterator[Any]:
        with contextlib.closing(super().sessions(**options)) as items:
            yield next(items)
            threading.Event().wait()


# An import that has begun and waits, for ever.
IMPORT = """
import sys, threading, test_prepared
from pathlib import Path
source = getattr(test_prepared, sys.argv[1])(Path(sys.argv[2]))
items = test_prepared.read_apart(source, test_prepared.WANTED, test_prepared.NONE)
print(next(items), flush=True)
threading.Event().wait()
"""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The processes that were started."""
    found: list[Child] = []

    def started(*args: Any, **options: Any) -> Child:
        found.append(subprocess.Popen(*args, **options))
        return found[-1]

    monkeypatch.setattr(
        prepared, "subprocess", type("", (), {**vars(subprocess), "Popen": started})
    )
    return found


def summed(items: Iterator[Item]) -> dict[type, Any]:
    """What came of each kind: numbers as their sum, problems in any order."""
    kinds: dict[type, list[Any]] = defaultdict(list)
    for item in items:
        kinds[type(item)].append(item)
    untold = Untold(*map(sum, zip(*kinds.pop(Untold, [(0, 0)]), strict=True)))
    problems = sorted(map(str, kinds.pop(Problem, [])))
    return {**kinds, int: sum(kinds[int]), Problem: problems, Untold: untold}


@pytest.mark.parametrize(
    ("name", "readers"), [(TRAILMAP, 1), *((name, 2) for name in [*RECORDINGS, *TREES])]
)
def test_apart_is_the_same(
    name: str,
    readers: int,
    recordings: dict[str, Recording],
    trees: dict[str, Recording],
    children: list[Child],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surroundings, "MOST_TOGETHER", 1 if readers == 2 else 100)
    place = (recordings | trees)[name].database
    source: Source = Database(place) if place.is_file() else StorageTree(place)
    here = list(read(source, WANTED, NONE))
    assert summed(read_apart(source, WANTED, NONE)) == summed(iter(here))
    there = len(source.neighbourhoods())
    assert len(children) == min(there, 2) >= readers
    assert all(child.poll() is not None for child in children)
    *_, first, last = (item.id for item in here if isinstance(item, Prepared))
    assert isinstance(here[-1], Notes)
    some = list(read_apart(source, WANTED, frozenset({first})))
    assert last in [item.id for item in some if isinstance(item, Prepared)]
    assert first not in [item.id for item in some if isinstance(item, Prepared)]


def test_what_is_wrong_arrives(trailmap: Recording, tmp_path: Path) -> None:
    items = read_apart(Changing(trailmap.database), WANTED, NONE)
    assert next(items) == Problem("part prt_1", "its JSON is broken")
    with pytest.raises(SourceChanged, match="opencode wrote meanwhile"):
        next(items)
    nothing = tmp_path / "opencode.db"
    nothing.write_bytes(b"no database at all" * 100)
    with pytest.raises(SourceError, match="is no SQLite database"):
        list(read_apart(Database(nothing), WANTED, NONE))


def test_what_is_printed_is_no_item(trailmap: Recording) -> None:
    source = Database(trailmap.database)
    assert list(read_apart(Loud(source.path), WANTED, NONE)) == list(read(source, WANTED, NONE))


def test_it_does_not_outlive_its_use(trailmap: Recording, children: list[Child]) -> None:
    items = read_apart(Database(trailmap.database), WANTED, NONE)
    assert next(items) == 20
    assert children[0].poll() is None
    items.close()  # type: ignore[attr-defined]
    assert children[0].poll() is not None


def test_a_process_that_is_ended_is_told(trailmap: Recording, children: list[Child]) -> None:
    """As the system does it when memory runs out."""
    items = read_apart(Database(trailmap.database), WANTED, NONE)
    next(items)
    children[0].kill()
    with pytest.raises(SourceError, match=r"the process that read it ended \(exit code -9\)"):
        list(items)


def test_where_it_cannot_be_started_it_is_read_here(
    trailmap: Recording, children: list[Child], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python was replaced by another, or a program that is none runs it, or one that prints."""
    source = Database(trailmap.database)
    here = list(read(source, WANTED, NONE))
    noisy = tmp_path / "noisy"
    noisy.write_text("#!/bin/sh\nyes 'no pickle at all'\n")
    noisy.chmod(0o755)
    for program in (str(tmp_path / "gone"), "/bin/true", str(noisy)):
        monkeypatch.setattr(sys, "executable", program)
        assert list(read_apart(source, WANTED, NONE)) == here, program
    assert len(children) == 2, "of those that can be started one each"


@pytest.mark.parametrize(
    ("name", "value"), [("executable", ""), ("executable", None), ("frozen", 1)]
)
def test_without_an_interpreter_it_is_read_here(
    name: str,
    value: Any,
    trailmap: Recording,
    children: list[Child],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To start a program that is frozen into one file would be to start it again."""
    source = Database(trailmap.database)
    monkeypatch.setattr(sys, name, value, raising=False)
    assert list(read_apart(source, WANTED, NONE)) == list(read(source, WANTED, NONE))
    assert not children


def test_the_folder_it_is_started_in_is_not_its_own(
    trailmap: Recording, children: list[Child], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert next(read_apart(Database(trailmap.database), WANTED, NONE)) == 20
    assert children


def unfinished(recording: Recording, folder: Path) -> Path:
    """Its database, killed in the middle of a write: it is copied aside to be read."""
    database = Path(shutil.copy(recording.database, folder / "opencode.db"))
    database.with_name("opencode.db-journal").write_bytes(b"\0" * 512)
    return database


def test_its_temporary_files_go_with_it(
    trailmap: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    items = read_apart(Database(unfinished(trailmap, tmp_path)), WANTED, NONE)
    assert next(items) == 20
    assert [*temporary.rglob("opencode.db")]
    items.close()  # type: ignore[attr-defined]
    assert not [*temporary.iterdir()]


@pytest.mark.parametrize("source", ["Database", "Slow"])
def test_it_ends_with_an_import_that_was_killed(
    source: str, trailmap: Recording, tmp_path: Path
) -> None:
    """Whether it sends or reads; nobody else would remove the copy it made of a database."""
    (temporary := tmp_path / "temporary").mkdir()
    database = unfinished(trailmap, tmp_path)
    importing = subprocess.Popen(
        [sys.executable, "-c", IMPORT, source, str(database)],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with importing:
        assert importing.stdout
        assert importing.stdout.readline() == b"20\n"
        assert [*temporary.iterdir()]
        importing.kill()
        _rest, said = importing.communicate(timeout=60)  # until the reader has let go of it, too
    assert said == b""
    assert not [*temporary.iterdir()]


def test_a_long_text_is_sent_in_pieces() -> None:
    sender = _Sender(io.BytesIO())
    sender.write(b"x" * (3 * CHUNK + 1))
    sender.write(b"y")
    sender.flush()  # there is enough on its way
    assert [len(sender._chunks.get() or b"") for _ in range(3)] == [CHUNK] * 3
    sender.flush()
    assert sender._chunks.get() == b"xy"


async def everything(service: OpencodeSessionService) -> dict[str, list[Any]]:
    return {
        name: sorted(await service.store.select(name, [c.name for c in table.columns]))  # type: ignore[arg-type]
        for name, table in TABLES.items()
    }


@pytest.mark.parametrize("readers", [1, 2])
async def test_imports_of_many_sessions_read_apart(
    readers: int,
    service: OpencodeSessionService,
    trailmap: Recording,
    children: list[Child],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that was ended halfway is completed by the next."""
    whole = OpencodeSessionService()
    await whole.import_opencode(trailmap.database, progress=False)
    assert not children, f"{TRAILMAP} has few sessions"
    monkeypatch.setattr(surroundings, "MOST_TOGETHER", 1 if readers == 2 else 100)
    monkeypatch.setattr(sync, "MANY", 5)
    monkeypatch.setattr(sync, "ROWS_TOGETHER", 1)
    apply = service.store.apply

    async def ending(steps: Any) -> Any:
        children[-1].kill()
        return await apply(steps)

    with monkeypatch.context() as patch, pytest.raises(SourceError, match="ended"):
        patch.setattr(service.store, "apply", ending)
        patch.setattr(prepared, "CHUNKS", 1)
        await service.import_opencode(trailmap.database, progress=False)
    stored = (await service.sessions()).shape[0]
    assert 0 < stored < 20
    report = await service.import_opencode(trailmap.database, progress=False)
    assert (report.sessions.new, report.sessions.unchanged) == (20 - stored, stored)
    assert await everything(service) == await everything(whole)
    assert len(children) == 2 * readers
    report = await service.import_opencode(trailmap.database, progress=False)
    assert report.sessions.unchanged == 20
    assert len(children) == 2 * readers, "nothing is left to read"


def test_what_each_of_two_finds_of_the_whole_comes_once(
    trailmap: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without a session are seen by both, and snapshots that are gone by either."""
    monkeypatch.setattr(surroundings, "MOST_TOGETHER", 1)
    database = Path(shutil.copy(trailmap.database, tmp_path / "opencode.db"))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("CREATE TABLE newer (id text)")
        connection.execute(
            "UPDATE session SET id = 'ses_gone' WHERE id = (SELECT min(id) FROM session)"
        )
    here = list(read(Database(database), WANTED, NONE))
    apart = list(read_apart(Database(database), WANTED, NONE))
    assert summed(iter(apart)) == summed(iter(here))
    problems = [item for item in apart if isinstance(item, Problem)]
    assert len({*problems}) == len(problems) > 1
    assert [item for item in apart if isinstance(item, Notes)] == [
        ["tables newer than this version, not read: newer (0 rows)"]
    ]
    assert sum(isinstance(item, Untold) for item in apart) == 2


def test_neighbours_have_one_reader() -> None:
    def told(id: str, first: float, last: float, worktree: str) -> tuple[dict[str, Any], str]:
        return {"id": id, "time": {"created": first, "updated": last}}, worktree

    sessions = [
        told("late", 200_000, 300_000, "/a"),
        told("first", 0, 50_000, "/a"),
        told("elsewhere", 10_000, 20_000, "/b"),
        told("beside", 54_000, 60_000, "/a"),  # its last answer may end later
        told("after", 70_000, 80_000, "/a"),
    ]
    groups = [["first", "beside"], ["elsewhere"], ["after"], ["late"]]
    assert surroundings.neighbourhoods(sessions) == groups
