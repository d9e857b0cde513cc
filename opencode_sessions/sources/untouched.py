"""Somebody else's SQLite database, opened without leaving a trace.

Opening a database the ordinary way writes beside it, so each state is opened in its own way:

- no -wal, or an empty one: ``immutable=1``, and the file must be the same before and after;
- -wal and -shm (opencode runs, or was killed): read only, the -shm too (``readonly_shm``);
- -wal without -shm, or an unfinished -journal: copied aside with the file, and the copy is opened.

`tests/test_database_source.py` builds each state and holds contents, listing and times.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import SourceError

LOCK_WAIT_S = 5.0  # opencode's own busy timeout


class SourceChanged(SourceError):
    """opencode wrote while it was read: what came may not fit together. Read again."""


class Stamp(NamedTuple):
    """What tells that a file was written to; all zero for one that is not there."""

    inode: int
    size: int
    modified: int


Stamps = dict[Path, Stamp]


@contextmanager
def untouched(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads one moment of the database; text comes as bytes.

    Raises:
        SourceError: no database, or locked, or damaged.
        SourceChanged: it was written to meanwhile.
    """
    path = path.resolve()  # SQLite's own files lie beside the database, not beside a link to it
    wal, shm, journal = (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))
    before = {file: _stamp(file) for file in (path, wal, journal)}
    unmerged = [file for file in (wal, journal) if before[file].size]
    if wal in unmerged and shm.exists():
        with closing(_connected_beside(path, before)) as connection:
            yield connection
    elif unmerged:
        with tempfile.TemporaryDirectory(prefix="opencode-sessions-") as folder:
            with _unchanging(path, before):
                for file in (path, *unmerged):
                    shutil.copyfile(file, Path(folder, file.name))
            with closing(_connected(path, Path(folder, path.name), "mode=rw")) as connection:
                yield connection
    else:
        with (
            _unchanging(path, before),
            closing(_connected(path, path, "mode=ro&immutable=1")) as connection,
        ):
            yield connection


@contextmanager
def _unchanging(path: Path, before: Stamps) -> Iterator[None]:
    """Holds that nobody writes to these files meanwhile: they are read without SQLite's locks."""
    problem: Exception | None = None
    try:
        yield
    except (SourceError, OSError) as error:
        problem = error
    if _is_changed(before):
        raise _changed(path) from problem
    if isinstance(problem, OSError):
        raise SourceError(f"{path} could not be read: {problem}.") from problem
    if problem:
        raise problem


def _connected_beside(path: Path, before: Stamps) -> sqlite3.Connection:
    """A connection beside opencode, which may start or end just now: then nothing can be opened."""
    try:
        return _connected(path, path, "mode=ro&readonly_shm=1")
    except SourceError as error:
        reason = getattr(error.__cause__, "sqlite_errorname", "")
        if reason.startswith("SQLITE_READONLY") or _is_changed(before):
            raise _changed(path) from error
        raise


def _connected(path: Path, file: Path, options: str) -> sqlite3.Connection:
    uri = f"{file.as_uri()}?{options}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=LOCK_WAIT_S, check_same_thread=False, isolation_level=None
        )
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    connection.text_factory = bytes  # text that is not UTF-8 must not end the read
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise unreadable(path, error) from error
    return connection


def _changed(path: Path) -> SourceChanged:
    return SourceChanged(f"{path} was written to while it was read. Read it again.")


def _is_changed(before: Stamps) -> bool:
    return any(_stamp(file) != stamp for file, stamp in before.items())


def _stamp(file: Path) -> Stamp:
    try:
        stat = file.stat()
    except OSError:
        return Stamp(0, 0, 0)
    return Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns)


def unreadable(path: Path, error: sqlite3.Error) -> SourceError:
    """What to tell the reader when SQLite fails on this file."""
    text = str(error)
    if "not a database" in text:
        return SourceError(f"{path} is no SQLite database. Give opencode's own opencode.db.")
    if "malformed" in text or "disk image" in text:
        return SourceError(
            f"{path} is damaged or only a part of the file ({text}). "
            "Copy it again together with its -wal, or take `opencode export`."
        )
    if "locked" in text:
        return SourceError(f"{path} is locked by another program. Close it or try again.")
    return SourceError(f"{path} could not be read: {text}.")
