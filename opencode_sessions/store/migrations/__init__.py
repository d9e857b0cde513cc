"""Brings a database's tables to this version: from nothing, from the three old tables, from any version since.

Alembic keeps the version in a table of our own, so an application's own migrations are not touched. Each
upgrade is one transaction that first takes the lock every other opener waits for; a kill in the middle
leaves what was there before.
"""

from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ..sql import begin_immediate

VERSION_TABLE = "opencode_sessions_version"
ADVISORY_LOCK = 0x6F637365  # "ocse": any number, the same for every opener


async def migrate(engine: AsyncEngine) -> None:
    """Upgrades the tables behind this engine, and renews its pool: open connections hold the old schema."""
    async with engine.connect() as connection:
        await connection.execution_options(opencode_sessions_writes=True)
        await connection.run_sync(upgrade)
        await connection.commit()
    await engine.dispose()


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
