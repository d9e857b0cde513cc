"""The store of a command: the file or URL that `--db` names, or the one in the data folder.

And the options that several commands have.
"""

import asyncio
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import OpencodeSessionsError

if TYPE_CHECKING:
    from ..service import OpencodeSessionService

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="FILE|URL",
        envvar="OPENCODE_SESSIONS_DB",
        help="Where the sessions are kept: an SQLite file or a database URL. "
        "By default a file in your data folder.",
    ),
]

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object a line, times in ISO 8601, UTC.")
]

T = TypeVar("T")


def with_store(db: str | None, ask: Callable[["OpencodeSessionService"], Awaitable[T]]) -> T:
    """The answer of the store; a file that is not there is made."""
    import opencode_sessions as ocs

    async def run() -> T:
        # A file is brought up to date; a server's tables change with `migrate` alone.
        async with ocs.open(db, migrate=db is None or "://" not in db) as service:
            return await ask(service)

    return asyncio.run(run())


def with_copy(db: str | None, ask: Callable[["OpencodeSessionService"], Awaitable[T]]) -> T:
    """The answer of a copy of the store, thrown away afterwards; the store is not touched."""
    import opencode_sessions as ocs

    from ..sources.database import is_opencode_database
    from ..sources.untouched import untouched
    from ..store.engine import file_of

    file = file_of(ocs.default_database() if db is None else db)
    if file is None:
        raise OpencodeSessionsError("--dry-run tries the import on a copy: of SQLite files alone.")
    if is_opencode_database(file):
        raise OpencodeSessionsError(
            f"{file} is opencode's own database, which is only ever read. Give a file of your own."
        )
    with tempfile.TemporaryDirectory(prefix="opencode-sessions-") as folder:
        copy = Path(folder, file.name)
        if file.exists():
            with untouched(file) as kept, closing(sqlite3.connect(copy)) as connection:
                kept.backup(connection)
        return with_store(str(copy), ask)


def read(db: str | None, ask: Callable[["OpencodeSessionService"], Awaitable[T]]) -> T:
    """The answer of a store that is there: reading makes no file."""
    import opencode_sessions as ocs

    if db is None and not ocs.default_database().exists():
        say_empty(db)
        raise typer.Exit
    if db is not None and "://" not in db and not Path(db).exists():
        raise OpencodeSessionsError(
            f"There is no {db}. `opencode-sessions import{option(db)}` makes it."
        )
    return with_store(db, ask)


def option(db: str | None) -> str:
    """What names the store in a command to come."""
    return "" if db is None else f" --db {shlex.quote(db)}"


def say_empty(db: str | None) -> None:
    """Say that there is nothing yet, and what to do."""
    print(f"No sessions yet. Run: opencode-sessions import{option(db)}", file=sys.stderr)
