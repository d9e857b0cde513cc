"""Brings a database's tables to this version, from nothing, the three old ones, or any since.

Alembic keeps the version in a table of our own, so an application's own migrations are not touched.
Each upgrade is one transaction that first takes the lock every other opener waits for; a kill in
the middle leaves what was there before.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import StaticPool
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import OpencodeSessionsError, PersistenceError, SchemaError
from ...models import TABLES
from .. import TABLE_NAMES, StoreFailed
from ..engine import WRITES, Database, Target, begin_to_write, connect, end_writing
from ..sql import SqlStore

VERSION_TABLE = "opencode_sessions_version"
ADVISORY_LOCK = 0x6F637365  # "ocse": any number, the same for every opener


async def migrate(target: Database) -> None:
    """Brings the tables up to date and renews the pool: open connections hold the old schema.

    Raises:
        PersistenceError: the database refused; its error is the cause.
        SchemaError: the tables are of a newer version.
    """
    await _change(target, upgrade)


async def downgrade(target: Database, version: str) -> None:
    """Takes the tables back to a version, by its number; what only later ones have is lost.

    Raises:
        PersistenceError: the database refused; its error is the cause.
    """
    await _change(target, partial(_run, version=version))


async def _change(target: Database, change: Callable[[Connection], None]) -> None:
    engine = target if isinstance(target, AsyncEngine) else connect(target)
    place = engine.url.render_as_string()
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            await connection.run_sync(change)
            await connection.run_sync(end_writing, "COMMIT")
            await connection.commit()
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", error)  # without SQLAlchemy's link to its manual
        raise PersistenceError(
            f"Could not bring the tables of {place} up to date: {reason}"
        ) from error
    finally:
        is_all_there_is = isinstance(engine.pool, StaticPool)  # one connection, in memory
        if not (engine is target and is_all_there_is):
            await engine.dispose()


async def open_store(target: Target, do_migrate: bool) -> SqlStore:
    """A store on this file or URL, its tables brought up to date or at least looked at; counted.

    Raises:
        SchemaError: the tables are missing or old, and `do_migrate` is False.
        PersistenceError: the database refused.
        OpencodeSessionsError: the URL has an option that its driver does not know.
    """
    engine = connect(target)
    store = SqlStore.on_engine(engine)
    try:
        if do_migrate:
            await migrate(engine)
        for name in TABLE_NAMES:
            await store.select(name, [column.name for column in TABLES[name].columns], {"id": []})
        await store.summary()
    except StoreFailed as error:
        await store.close()
        raise PersistenceError(f"Could not open {store.place}: {error}") from error
    except (TypeError, ValueError) as error:  # what a driver says of an option in the URL
        await store.close()
        raise OpencodeSessionsError(f"{store.place} cannot be opened: {error}.") from error
    except BaseException:
        await store.close()
        raise
    return store


def upgrade(connection: Connection) -> None:
    """Upgrades over this connection, within its transaction."""
    _run(connection, "head")


def _run(connection: Connection, version: str) -> None:
    # Alembic takes a tenth of a second to import; only an upgrade needs it.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    begin_to_write(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
    scripts = ScriptDirectory(str(Path(__file__).parent))
    steps = scripts._upgrade_revs if version == "head" else scripts._downgrade_revs
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "fn": lambda revision, _context: steps(version, revision),
        },
    )
    try:
        with Operations.context(context):
            context.run_migrations()
    except CommandError as error:  # it knows every revision but those of versions to come
        raise SchemaError(
            f"The tables are of a newer version than this one: {error}. "
            "Use the newer version: `pip install --upgrade opencode-sessions`."
        ) from error
