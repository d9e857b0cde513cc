"""What an import left off with, and what opencode has deleted since."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIME = sa.DateTime(timezone=True)
ADDED = (
    ("opencode_sessions", "deleted_at", TIME),
    ("opencode_sessions", "imported", sa.JSON()),
    ("opencode_messages", "deleted_at", TIME),
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
