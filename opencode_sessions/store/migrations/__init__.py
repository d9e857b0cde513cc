"""Brings a database's tables to this version, from nothing, the three old ones, or any since.

Alembic keeps the version in a table of our own, so an application's own migrations are not touched.
Each upgrade is one transaction that first takes the lock every other opener waits for; a kill in
the middle leaves what was there before.
"""

from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import PersistenceError
from ...models import TABLES
from .. import TABLE_NAMES
from ..sql import WRITES, SqlStore, Target, begin_immediate, connect

VERSION_TABLE = "opencode_sessions_version"
ADVISORY_LOCK = 0x6F637365  # "ocse": any number, the same for every opener


async def migrate(target: AsyncEngine | Target) -> None:
    """Brings the tables of a database up to date: an AsyncEngine, a file, or a URL.

    The engine's pool is renewed: connections that were open before hold the old schema.

    Raises:
        PersistenceError: the database refused; its error is the cause.
    """
    engine = target if isinstance(target, AsyncEngine) else connect(target)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            await connection.run_sync(upgrade)
            await connection.commit()
    except (SQLAlchemyError, OSError) as error:
        place = engine.url.render_as_string()
        raise PersistenceError(
            f"Could not bring the tables of {place} up to date: {error}"
        ) from error
    finally:
        await engine.dispose()


async def open_store(target: Target, do_migrate: bool) -> SqlStore:
    """A store on this file or URL, its tables brought up to date or at least looked at.

    Raises:
        SchemaError: the tables are missing or old, and `do_migrate` is False.
        PersistenceError: the database refused.
    """
    engine = connect(target)
    store = SqlStore.on_engine(engine)
    try:
        if do_migrate:
            await migrate(engine)
        for name in TABLE_NAMES:
            await store.select(name, [column.name for column in TABLES[name].columns], {"id": []})
    except BaseException:
        await store.close()
        raise
    return store


def upgrade(connection: Connection) -> None:
    """Upgrades over this connection, within its transaction."""
    # Alembic takes a tenth of a second to import; only an upgrade needs it.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    begin_immediate(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
    scripts = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "fn": lambda revision, _context: scripts._upgrade_revs("head", revision),
        },
    )
    with Operations.context(context):
        context.run_migrations()
