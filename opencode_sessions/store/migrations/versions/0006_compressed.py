"""What is large is compressed by lz4 where PostgreSQL has it: to write a row takes half as long.

What is stored already stays as it is until it is written again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

LARGE = {
    "opencode_sessions": ("info",),
    "opencode_messages": ("parts", "content", "info"),
    "opencode_tool_calls": ("input",),
    "opencode_file_events": ("diff",),
}
HAS_LZ4 = "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"


def upgrade() -> None:
    """Changes nothing on SQLite, nor on a server that was built without lz4."""
    _compress("lz4")


def downgrade() -> None:
    """What the server does by default."""
    _compress("default")


def _compress(method: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql" or not connection.scalar(sa.text(HAS_LZ4)):
        return
    for table, columns in LARGE.items():
        changes = (f"ALTER COLUMN {column} SET COMPRESSION {method}" for column in columns)
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
