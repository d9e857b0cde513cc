"""Which sessions are as they were when they were marked; see `store.whole`. SQLite only."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

MARKS = "opencode_unchanged"
TABLES = ("messages", "tool_calls", "file_events")
CHANGED = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}


def upgrade() -> None:
    """Makes the table of marks, and the triggers that take a mark away with the first change.

    A row of a session without a mark costs a look into this table alone: nothing is written.
    """
    if op.get_bind().dialect.name != "sqlite":
        return
    present = set(sa.inspect(op.get_bind()).get_table_names())
    if MARKS not in present:
        op.execute(
            f"CREATE TABLE {MARKS} (session_id TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL) "
            "WITHOUT ROWID"
        )
    for table in TABLES:
        for event, rows in CHANGED.items():
            is_of_it = f"session_id IN ({', '.join(f'{row}.session_id' for row in rows)})"
            op.execute(
                f"CREATE TRIGGER IF NOT EXISTS {MARKS}_{table}_{event} "
                f"AFTER {event} ON opencode_{table} "
                f"WHEN EXISTS (SELECT 1 FROM {MARKS} WHERE {is_of_it}) "
                f"BEGIN DELETE FROM {MARKS} WHERE {is_of_it}; END"
            )


def downgrade() -> None:
    """What was kept beside the database is of no use any more."""
    if op.get_bind().dialect.name != "sqlite":
        return
    for table in TABLES:
        for event in CHANGED:
            op.execute(f"DROP TRIGGER IF EXISTS {MARKS}_{table}_{event}")
    op.execute(f"DROP TABLE IF EXISTS {MARKS}")
