"""What a read or command put out, what a change left broken, and which calls are the same."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ADDED = (
    ("opencode_file_events", "output_bytes", sa.BigInteger()),
    ("opencode_file_events", "exit_code", sa.Integer()),
    ("opencode_file_events", "pruned_at", sa.DateTime(timezone=True)),
    ("opencode_file_events", "errors_left", sa.Integer()),
    ("opencode_tool_calls", "input_hash", sa.BigInteger()),
)


def upgrade() -> None:
    """Adds what is missing, so that tables made by `metadata.create_all` pass as well."""
    existing = sa.inspect(op.get_bind())
    for table, name, type_ in ADDED:
        if name not in {column["name"] for column in existing.get_columns(table)}:
            op.add_column(table, sa.Column(name, type_, nullable=True))


def downgrade() -> None:
    """The next import reads everything again."""
    for table, name, _type in reversed(ADDED):
        op.drop_column(table, name)
